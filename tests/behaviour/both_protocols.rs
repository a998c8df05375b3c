//! Event streams behave the same whichever HTTP each side speaks.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use crate::common::{GET_EVENTS, Sidecar, moment, run};
use crate::either::{Asker, Cancelled, End, Http, Teller, WAYS, backend};

const PROMPTLY: Duration = Duration::from_millis(5);

/// Runs `test` for all four ways through the sidecar.
#[expect(clippy::print_stdout, reason = "cargo shows it when a test fails")]
pub(crate) fn each_way<F: Future<Output = ()>>(
    test: impl Fn(Http, Http) -> F + Send + Copy + 'static,
) {
    for (client, upstream) in WAYS {
        run(move || async move {
            println!("from {client:?} to {upstream:?}");
            test(client, upstream).await;
        });
    }
}

/// It is so long after `start`, to the moment.
pub(crate) fn assert_at(start: Instant, after: Duration) {
    let late = start.elapsed().checked_sub(after);
    assert!(late.is_some_and(|late| late < PROMPTLY), "{late:?}");
}

async fn streaming(teller: Teller) {
    let mut teller = teller;
    teller.open_events().await;
    for index in 0..3 {
        sleep(Duration::from_secs(1)).await;
        teller.say(&format!("data: {index}\n\n")).await;
    }
    sleep(Duration::from_secs(1)).await;
    teller.end().await;
    sleep(Duration::from_secs(1000)).await;
}

#[test]
fn events_pass_one_by_one_at_the_moment_they_are_born() {
    each_way(|client, upstream| async move {
        let url = backend(upstream, streaming).await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        let start = Instant::now();
        let mut asker = Asker::ask(&sidecar, client).await;
        let head = asker.head().await;
        assert!(start.elapsed() < PROMPTLY, "the head waits for nothing");
        for field in [
            "content-type: text/event-stream\r\n",
            "cache-control: no-cache, no-transform\r\n",
            "x-accel-buffering: no\r\n",
        ] {
            assert!(head.contains(field), "{head}");
        }
        for index in 0..3 {
            let data = asker.data().await.unwrap().unwrap();
            assert_eq!(data, format!("data: {index}\n\n"));
            assert_at(start, Duration::from_secs(index + 1));
        }
        assert_eq!(asker.rest().await, (String::new(), End::Clean));
        assert!((sidecar.ends("complete", "none") - 1.0).abs() < 0.1);
    });
}

#[test]
fn a_silent_stream_gets_heartbeats() {
    each_way(|client, upstream| async move {
        let url = backend(upstream, |mut teller| async move {
            assert!(teller.asked().contains("identity"));
            teller.open_events().await;
            teller.say("data: x\n\n").await;
            sleep(Duration::from_secs(1000)).await;
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, "timeouts.read = \"40s\"").await;
        let mut asker = Asker::ask(&sidecar, client).await;
        asker.head().await;
        assert_eq!(asker.data().await.unwrap().unwrap(), "data: x\n\n");
        let start = Instant::now();
        for beat in 1..=2 {
            assert_eq!(asker.data().await.unwrap().unwrap(), ": heartbeat\n");
            assert_at(start, Duration::from_secs(15 * beat));
        }
        // They do not count as a sign of life from the upstream.
        assert_eq!(asker.rest().await, (String::new(), End::Cut));
        assert_eq!(start.elapsed().as_secs(), 40);
        assert!((sidecar.ends("upstream_read_timeout", "upstream") - 1.0).abs() < 0.1);
    });
}

/// In which phase a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    WaitingForHead,
    Streaming,
    Body,
}

#[test]
fn a_client_that_leaves_cancels_its_request_upstream() {
    for phase in [Phase::WaitingForHead, Phase::Streaming, Phase::Body] {
        for body in ["the first part", ""] {
            each_way(move |client, upstream| async move {
                let (gone, mut seen) = moment();
                let url = backend(upstream, move |mut teller| {
                    let gone = gone.clone();
                    async move {
                        match phase {
                            Phase::WaitingForHead => {}
                            Phase::Streaming => teller.open_events().await,
                            Phase::Body => teller.open(200, "text/plain").await,
                        }
                        gone(teller.cancelled().await);
                    }
                })
                .await;
                let sidecar = Sidecar::in_front_of(&url, "").await;
                let mut asker = Asker::upload(&sidecar, client, body).await;
                if phase != Phase::WaitingForHead {
                    asker.head().await;
                }
                sleep(Duration::from_millis(100)).await;
                let left = Instant::now();
                let connection = asker.leave();
                let (at, how) = timeout(Duration::from_secs(1), seen.recv())
                    .await
                    .unwrap_or_else(|_| panic!("never seen: {phase:?}, body {body:?}"))
                    .unwrap();
                assert!(at - left < PROMPTLY, "{:?} after {phase:?}", at - left);
                assert!(how.is_proper(), "{how:?}");
                if let (Some(connection), Http::Two) = (connection, upstream) {
                    // Neither connection suffers from it.
                    let mut next = connection.ask("").await;
                    if phase != Phase::WaitingForHead {
                        assert!(next.head().await.contains("200"));
                    }
                    assert!(
                        (sidecar.metric("sse_sidecar_upstream_connects_total") - 1.0).abs() < 0.1
                    );
                }
            });
        }
    }
}

#[test]
fn a_cut_upstream_is_no_clean_end() {
    each_way(|client, upstream| async move {
        for (content_type, says) in [
            ("text/event-stream", "data: x\n\n"),
            ("text/event-stream", "data: ha"),
            ("text/plain", "some"),
        ] {
            let url = backend(upstream, move |mut teller| async move {
                teller.open(200, content_type).await;
                teller.say(says).await;
                sleep(Duration::from_secs(1)).await;
                teller.cut();
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let start = Instant::now();
            let mut asker = Asker::ask(&sidecar, client).await;
            asker.head().await;
            assert_eq!(asker.rest().await, (says.to_owned(), End::Cut));
            assert!(start.elapsed() < Duration::from_secs(1) + PROMPTLY);
        }
    });
}

#[test]
fn a_failure_can_be_reported_in_band_first() {
    each_way(|client, upstream| async move {
        let url = backend(upstream, |mut teller| async move {
            teller.open_events().await;
            teller.say("data: x\n\n").await;
            sleep(Duration::from_secs(1)).await;
            teller.cut();
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, "events.on_upstream_failure = \"event\"").await;
        let mut asker = Asker::ask(&sidecar, client).await;
        asker.head().await;
        let (seen, end) = asker.rest().await;
        assert!(
            seen.starts_with("data: x\n\nevent: error\ndata: {"),
            "{seen}"
        );
        assert_eq!(end, End::Cut);
    });
}

#[test]
fn a_planned_end_is_clean_and_cancels_the_upstream() {
    each_way(|client, upstream| async move {
        let (gone, mut seen) = moment();
        let url = backend(upstream, move |mut teller| {
            let gone = gone.clone();
            async move {
                teller.open_events().await;
                teller.say("data: x\n\n").await;
                gone(teller.cancelled().await);
            }
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, "timeouts.total = \"10s\"").await;
        let start = Instant::now();
        let mut asker = Asker::ask(&sidecar, client).await;
        asker.head().await;
        assert_eq!(asker.rest().await, ("data: x\n\n".to_owned(), End::Clean));
        assert!((9..=10).contains(&start.elapsed().as_secs()));
        let (at, how) = seen.recv().await.unwrap();
        assert!(at - start <= start.elapsed() + PROMPTLY && how.is_proper());
        assert!((sidecar.ends("total", "proxy") - 1.0).abs() < 0.1);
    });
}

#[test]
fn planned_ends_of_streams_that_began_together_are_spread() {
    each_way(|client, upstream| async move {
        let url = backend(upstream, |mut teller| async move {
            teller.open_events().await;
            teller.cancelled().await;
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, "timeouts.total = \"100s\"").await;
        let start = Instant::now();
        let mut streams = Vec::new();
        for _ in 0..40 {
            let mut asker = Asker::ask(&sidecar, client).await;
            asker.head().await;
            streams.push(spawn_local(async move {
                let (_, end) = asker.rest().await;
                (end, start.elapsed().as_secs())
            }));
        }
        let mut seconds = BTreeSet::new();
        for stream in streams {
            let (end, after) = stream.await.unwrap();
            assert_eq!(end, End::Clean);
            assert!((90..=100).contains(&after), "{after}");
            seconds.insert(after);
        }
        assert!(seconds.len() >= 5, "{seconds:?}");
    });
}

#[test]
fn after_a_planned_end_the_connection_is_there_for_the_next_request() {
    each_way(|client, upstream| async move {
        let url = backend(upstream, |mut teller| async move {
            teller.open_events().await;
            teller.say("data: x\n\n").await;
            teller.cancelled().await;
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, "timeouts.total = \"10s\"").await;
        let mut asker = Asker::ask(&sidecar, client).await;
        for round in 1..=3 {
            let head = asker.head().await;
            assert!(head.contains(" 200"), "{head}");
            assert_eq!(asker.rest().await, ("data: x\n\n".to_owned(), End::Clean));
            asker = match asker {
                Asker::One(mut peer) => {
                    peer.send(GET_EVENTS).await;
                    Asker::One(peer)
                }
                Asker::Two { connection, .. } => connection.ask("").await,
            };
            assert!((sidecar.ends("total", "proxy") - f64::from(round)).abs() < 0.1);
        }
    });
}

#[test]
fn a_silent_upstream_times_out_before_its_head_too() {
    each_way(|client, upstream| async move {
        let (gone, mut seen) = moment();
        let url = backend(upstream, move |teller| {
            let gone = gone.clone();
            async move { gone(teller.cancelled().await) }
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, "timeouts.response_head = \"20s\"").await;
        let start = Instant::now();
        let mut asker = Asker::ask(&sidecar, client).await;
        let head = asker.head().await;
        assert!(head.contains(" 504 "), "{head}");
        assert_eq!(start.elapsed().as_secs(), 20);
        let (body, end) = asker.rest_of_length(&head).await;
        assert!(body.contains("upstream_head_timeout"), "{body}");
        assert_eq!(end, End::Clean);
        let (_, how) = seen.recv().await.unwrap();
        assert!(how.is_proper(), "{how:?}");
    });
}

#[test]
fn an_upstream_that_answers_early_is_not_leaked_with_its_upload() {
    each_way(|client, upstream| async move {
        let (gone, mut seen) = moment();
        let url = backend(upstream, move |mut teller| {
            let gone = gone.clone();
            async move {
                teller.open_events().await;
                teller.say("data: x\n\n").await;
                teller.end().await;
                gone(teller.cancelled().await);
            }
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        let mut asker = Asker::upload(&sidecar, client, "the first part").await;
        asker.head().await;
        assert_eq!(asker.rest().await, ("data: x\n\n".to_owned(), End::Clean));
        let ended = Instant::now();
        let _connection = asker.leave();
        let (at, how) = timeout(Duration::from_secs(1), seen.recv())
            .await
            .unwrap()
            .unwrap();
        assert!(at - ended < PROMPTLY);
        assert!(
            matches!(how, Cancelled::Closed(_)) || how.is_proper(),
            "{how:?}"
        );
    });
}
