//! What an operator sees of open requests, and how one is ended.

use std::time::Duration;

use http::Version;
use sse_sidecar::exchange::{Snapshot, end_stream, snapshots};
use sse_sidecar::metrics::Phase;
use tokio::time::{Instant, sleep};

use crate::common::{
    EVENTS, LAST_CHUNK, Sidecar, backend, backend_that_says, chunk, moment, run, unanswering,
};
use crate::either::{self, Asker, End, Http, WAYS};

/// The only request that is open.
fn only() -> Snapshot {
    let (mut open, all) = snapshots(10);
    assert_eq!((open.len(), all), (1, 1), "{open:?}");
    open.remove(0)
}

fn seconds(duration: Duration) -> u64 {
    (duration + Duration::from_millis(5)).as_secs()
}

#[test]
fn an_open_stream_shows_what_it_has_carried_and_is_gone_with_its_end() {
    for (client, upstream) in WAYS {
        run(move || async move {
            let url = either::backend(upstream, |mut teller| async move {
                teller.open_events().await;
                sleep(Duration::from_secs(2)).await;
                teller.say("data: 1\n\ndata: 2\n\n").await;
                sleep(Duration::from_secs(20)).await;
                teller.say("data: 3\n\n").await;
                teller.end().await;
                sleep(Duration::from_secs(1000)).await;
            })
            .await;
            let route = "[[route]]\npath = \"/events\"\nheader = \"Accept: text/event-stream\"\n";
            let sidecar = Sidecar::in_front_of(&url, route).await;
            let mut asker = Asker::ask(&sidecar, client).await;
            asker.head().await;
            sleep(Duration::from_secs(20)).await;
            let open = only();
            assert_eq!(
                (open.path.as_str(), open.method.as_str()),
                ("/events", "GET")
            );
            let version = match client {
                Http::One => Version::HTTP_11,
                Http::Two => Version::HTTP_2,
            };
            assert_eq!((open.version, open.is_tls), (version, false));
            assert!(open.peer.is_some_and(|peer| peer.ip().is_loopback()));
            let route_info = open.route_info.unwrap();
            assert_eq!(route_info.route, "/events accept");
            assert_eq!(route_info.upstream, url);
            assert_eq!(open.phase, Phase::Streaming);
            assert_eq!(seconds(open.age), 20);
            assert_eq!(
                seconds(open.silence.unwrap()),
                18,
                "heartbeats do not count"
            );
            assert_eq!(open.time_to_first_event.map(seconds), Some(2));
            let counts = open.counts;
            assert_eq!((counts.events, counts.bytes, counts.heartbeats), (2, 18, 1));
            assert!(!open.is_stalled && !open.is_ending);

            asker.rest().await;
            assert_eq!(snapshots(10).1, 0);
            assert!(sidecar.metric("sse_sidecar_requests_active") < 0.1);
            let [health] = &*sidecar.metrics.upstreams.report() else {
                panic!("one upstream")
            };
            assert_eq!((health.connects, health.failures, health.active), (1, 0, 0));
        });
    }
}

#[test]
fn a_request_shows_its_phase() {
    run(|| async {
        let (nobody, _queue) = unanswering();
        let sidecar = Sidecar::start(nobody, "").await;
        let client = sidecar
            .request("GET /a?secret HTTP/1.1\r\nHost: t\r\n\r\n")
            .await;
        sleep(Duration::from_secs(1)).await;
        let open = only();
        assert_eq!((open.phase, open.path.as_str()), (Phase::Connecting, "/a"));
        assert_eq!(sidecar.metrics.upstreams.report()[0].active, 1);
        drop(client);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(snapshots(10).1, 0, "the client has left");
        assert_eq!(sidecar.metrics.upstreams.report()[0].active, 0);

        for (says, phase) in [
            ("", Phase::WaitingForHead),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Phase::Body),
            (EVENTS, Phase::Streaming),
        ] {
            let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
            let client = sidecar.get_events().await;
            sleep(Duration::from_secs(1)).await;
            assert_eq!(only().phase, phase);
            drop(client);
            sleep(Duration::from_millis(1)).await;
            assert_eq!(snapshots(10).1, 0);
        }
    });
}

#[test]
fn the_youngest_are_shown_when_there_are_too_many() {
    run(|| async {
        let sidecar = Sidecar::start(backend_that_says(EVENTS).await, "").await;
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut client = sidecar.get_events().await;
            client.head().await;
            clients.push(client);
            sleep(Duration::from_secs(1)).await;
        }
        drop(clients.remove(1)); // from the middle of the list
        sleep(Duration::from_secs(1)).await;
        let (open, all) = snapshots(2);
        let mut ages: Vec<_> = open.iter().map(|open| seconds(open.age)).collect();
        ages.sort_unstable();
        assert_eq!((ages, all), (vec![2, 3], 4));
        drop(clients);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(snapshots(2).1, 0);
    });
}

#[test]
fn what_an_upstream_fails_is_its_failure() {
    run(|| async {
        let cut = backend_that_says(EVENTS).await;
        let sidecar = Sidecar::start(cut, "timeouts.read = \"3s\"").await;
        sidecar.get_events().await.closed().await;
        sleep(Duration::from_secs(2)).await;
        let [health] = &*sidecar.metrics.upstreams.report() else {
            panic!("one upstream")
        };
        let (reason, ago) = health.last_failure.unwrap();
        assert_eq!(reason.name(), "upstream_read_timeout");
        assert_eq!((seconds(ago), health.failures, health.active), (2, 1, 0));
    });
}

#[test]
fn a_stream_is_ended_between_two_events_and_its_upstream_cancelled() {
    for (client, upstream) in WAYS {
        run(move || async move {
            let (gone, mut seen) = moment();
            let url = either::backend(upstream, move |mut teller| {
                let gone = gone.clone();
                async move {
                    teller.open_events().await;
                    teller.say("data: x\n\ndata: ha").await;
                    sleep(Duration::from_secs(3)).await;
                    teller.say("lf\n\ndata: not this\n\n").await;
                    gone(teller.cancelled().await);
                }
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let start = Instant::now();
            let mut asker = Asker::ask(&sidecar, client).await;
            asker.head().await;
            sleep(Duration::from_secs(1)).await;
            let number = only().number;
            assert!(!end_stream(number + 1), "there is no such stream");
            assert!(end_stream(number));
            sidecar.shutdown.wake();
            sleep(Duration::from_secs(1)).await;
            assert!(only().is_ending);
            let whole = "data: x\n\ndata: half\n\n".to_owned();
            assert_eq!(asker.rest().await, (whole, End::Clean));
            assert_eq!(seconds(start.elapsed()), 3);
            assert!(seen.recv().await.unwrap().1.is_proper());
            assert!((sidecar.ends("ended_by_operator", "proxy") - 1.0).abs() < 0.1);
        });
    }
}

#[test]
fn a_silent_stream_is_ended_at_once_and_nothing_else_is() {
    for client in [Http::One, Http::Two] {
        run(move || async move {
            let backend = backend(|mut peer| async move {
                peer.head().await;
                peer.send(EVENTS).await;
                peer.send(chunk("data: x\n\n")).await;
                sleep(Duration::from_secs(30)).await;
                peer.send(LAST_CHUNK).await;
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            let mut asker = Asker::ask(&sidecar, client).await;
            asker.head().await;
            let mut other = Asker::ask(&sidecar, client).await;
            other.head().await;
            sleep(Duration::from_secs(1)).await;
            let oldest = snapshots(10).0.into_iter().map(|open| open.number).min();
            assert!(end_stream(oldest.unwrap()));
            sidecar.shutdown.wake();
            let ordered = Instant::now();
            assert_eq!(asker.rest().await, ("data: x\n\n".to_owned(), End::Clean));
            assert_eq!(ordered.elapsed().as_millis(), 0);
            let (seen, end) = other.rest().await;
            assert_eq!((seen.matches("data: x").count(), end), (1, End::Clean));
            assert_eq!(seconds(ordered.elapsed()), 29);
        });
    }
}

#[test]
fn what_is_no_stream_is_not_ended() {
    run(|| async {
        let says = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        assert!(!end_stream(only().number));
    });
}
