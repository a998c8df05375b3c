//! `heartbeat.before_head`: the head of an event stream, and heartbeats, while the upstream thinks.

use std::time::Duration;

use h2::Reason;
use sse_sidecar::exchange::{end_stream, snapshots};
use sse_sidecar::metrics::Phase;
use tokio::time::{Instant, sleep, timeout};

use crate::both_protocols::{assert_at, each_way};
use crate::common::{
    Closed, GET_EVENTS, LAST_CHUNK, Peer, Sidecar, backend, chunk, moment, run, unanswering,
};
use crate::either::{self, Asker, Connection, End, Teller};

const PROMPTLY: Duration = Duration::from_millis(5);
const EARLY: &str = "heartbeat.before_head = \"10s\"\n";
const BEAT: &str = ": heartbeat\n";

/// So many seconds.
fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn early_heads(sidecar: &Sidecar) -> f64 {
    sidecar.metric("sse_sidecar_early_heads_total")
}

#[track_caller]
fn assert_is(value: f64, expected: f64) {
    assert!((value - expected).abs() < 0.1, "{value}, not {expected}");
}

/// Waits for the early head, and the heartbeat that comes with it.
async fn early(asker: &mut Asker) -> String {
    let start = Instant::now();
    let head = asker.head().await;
    assert_at(start, seconds(10));
    assert_eq!(asker.data().await, Ok(Some(BEAT.to_owned())));
    assert_at(start, seconds(10));
    head
}

/// Thinks for so long, and answers with one event.
async fn slow(mut teller: Teller, thinks: Duration) {
    sleep(thinks).await;
    teller.open_events().await;
    teller.say("data: x\n\n").await;
    teller.end().await;
    sleep(seconds(1000)).await;
}

#[test]
fn a_client_gets_heartbeats_while_its_upstream_thinks() {
    each_way(|client, upstream| async move {
        let url = either::backend(upstream, |teller| slow(teller, seconds(42))).await;
        let sidecar = Sidecar::in_front_of(&url, EARLY).await;
        let start = Instant::now();
        let mut asker = Asker::ask(&sidecar, client).await;
        let head = early(&mut asker).await;
        for part in [
            " 200",
            "content-type: text/event-stream\r\n",
            "cache-control: no-cache, no-transform\r\n",
            "x-accel-buffering: no\r\n",
            "x-request-id: ",
        ] {
            assert!(head.contains(part), "{head}");
        }
        assert_is(
            sidecar.metric("sse_sidecar_time_to_head_seconds_count"),
            0.0,
        );
        assert_is(sidecar.metric("sse_sidecar_streams_active"), 1.0);
        for beat in [25, 40] {
            assert_eq!(asker.data().await, Ok(Some(BEAT.to_owned())));
            assert_at(start, seconds(beat));
        }
        assert_eq!(asker.data().await, Ok(Some("data: x\n\n".to_owned())));
        assert_at(start, seconds(42));
        assert_eq!(asker.rest().await, (String::new(), End::Clean));
        assert_is(early_heads(&sidecar), 1.0);
        assert_is(sidecar.ends("complete", "none"), 1.0);
        assert_is(sidecar.metric("sse_sidecar_streams_total"), 1.0);
        assert_is(
            sidecar.metric("sse_sidecar_requests_total{status=\"2xx\"}"),
            1.0,
        );
        let to_head = sidecar.metric("sse_sidecar_time_to_head_seconds_sum");
        assert_is(to_head, 42.0);
    });
}

#[test]
fn an_upstream_that_is_soon_enough_has_the_word() {
    each_way(|client, upstream| async move {
        let url = either::backend(upstream, |mut teller| async move {
            sleep(seconds(9)).await;
            teller.open(429, "application/json").await;
            teller.end().await;
            sleep(seconds(1000)).await;
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, EARLY).await;
        let mut asker = Asker::ask(&sidecar, client).await;
        assert!(asker.head().await.contains(" 429"));
        assert_is(early_heads(&sidecar), 0.0);
    });
}

#[test]
fn only_a_request_that_wants_a_stream_gets_an_early_head() {
    const UPGRADE: &str =
        "Connection: upgrade\r\nUpgrade: websocket\r\nAccept: text/event-stream\r\n";
    for (method, fields, toml, is_early) in [
        ("GET", "Accept: text/event-stream\r\n", "", true),
        ("GET", "Accept: a/b, text/event-stream;q=0.5\r\n", "", true),
        ("GET", "Accept: */*\r\n", "", false),
        ("GET", "", "events.streaming = true", true),
        ("GET", "", "events.detect = \"always\"", true),
        (
            "GET",
            "Accept: text/event-stream\r\n",
            "events.detect = \"never\"",
            false,
        ),
        ("HEAD", "Accept: text/event-stream\r\n", "", false),
        ("GET", UPGRADE, "", false),
        (
            "GET",
            "Accept: text/event-stream\r\n",
            "[[route]]\npath = \"/other\"\nheartbeat.before_head = \"1s\"\n[[route]]\npath = \"/\"\nheartbeat.before_head = \"off\"",
            false,
        ),
    ] {
        run(move || async move {
            let backend = backend(|mut peer| async move {
                peer.head().await;
                sleep(seconds(20)).await;
                peer.send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
                    .await;
                peer.closed().await;
            })
            .await;
            let sidecar = Sidecar::start(backend, &format!("{EARLY}{toml}")).await;
            let request = format!("{method} / HTTP/1.1\r\nHost: t\r\n{fields}\r\n");
            let start = Instant::now();
            let mut client = sidecar.request(&request).await;
            let head = client.head().await;
            let expected = if is_early {
                ("HTTP/1.1 200 ", 10)
            } else {
                ("HTTP/1.1 503 ", 20)
            };
            assert!(head.starts_with(expected.0), "{request} {toml}: {head}");
            assert_at(start, seconds(expected.1));
        });
    }
}

#[test]
fn it_is_off_by_default() {
    each_way(|client, upstream| async move {
        let url = either::backend(upstream, |teller| slow(teller, seconds(60))).await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        let start = Instant::now();
        let mut asker = Asker::ask(&sidecar, client).await;
        asker.head().await;
        assert_at(start, seconds(60));
    });
}

#[test]
fn the_frame_is_the_clients_as_usual() {
    for (fields, toml, beats) in [
        ("Accept: text/event-stream\r\n", "", vec![BEAT, BEAT]),
        (
            "Accept: */*\r\n",
            "events.streaming = true",
            vec![": heartbeat\n\n"; 2],
        ),
        (
            "Accept: text/event-stream\r\n",
            "heartbeat.frame = \"block\"\nheartbeat.text = \"x\"",
            vec![": x\n\n"; 2],
        ),
        (
            "Accept: text/event-stream\r\n",
            "heartbeat.interval = \"off\"",
            vec![],
        ),
    ] {
        run(move || async move {
            let url = either::backend(either::Http::One, |teller| slow(teller, seconds(30))).await;
            let sidecar = Sidecar::in_front_of(&url, &format!("{EARLY}{toml}")).await;
            let request = format!("GET / HTTP/1.1\r\nHost: t\r\n{fields}\r\n");
            let mut client = sidecar.request(&request).await;
            let start = Instant::now();
            client.head().await;
            assert_at(start, seconds(10));
            for beat in beats {
                assert_eq!(client.chunk().await, beat);
            }
            assert_eq!(client.chunk().await, "data: x\n\n");
        });
    }
}

/// What a backend says after its head, which is cut at `split` and a moment later goes on.
async fn say_in_two(peer: &mut Peer, body: &[u8], split: usize) {
    peer.send(&body[..split]).await;
    sleep(Duration::from_millis(1)).await;
    peer.send(&body[split..]).await;
}

#[test]
fn what_follows_is_the_upstreams_at_every_split_but_for_its_bom() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
    let gzip = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"\xEF\xBB\xBFdata: x\r\n\r\n").unwrap();
        encoder.finish().unwrap()
    };
    let plain = b"\xEF\xBB\xBFdata: x\r\n\r\n".to_vec();
    let chunked = [
        chunk(&plain[..2]),
        chunk(&plain[2..]),
        LAST_CHUNK.as_bytes().to_vec(),
    ]
    .concat();
    for (fields, body) in [
        ("Transfer-Encoding: chunked\r\n\r\n", chunked),
        ("Connection: close\r\n\r\n", plain),
        ("Content-Encoding: gzip\r\n\r\n", gzip),
    ] {
        for client in [either::Http::One, either::Http::Two] {
            let answer = [HEAD.as_bytes(), fields.as_bytes(), &body].concat();
            run(move || async move {
                for split in 0..=answer.len() {
                    let said = answer.clone();
                    let backend = backend(move |mut peer| {
                        let said = said.clone();
                        async move {
                            peer.head().await;
                            sleep(seconds(12)).await;
                            say_in_two(&mut peer, &said, split).await;
                        }
                    })
                    .await;
                    let sidecar = Sidecar::start(backend, EARLY).await;
                    let mut asker = Asker::ask(&sidecar, client).await;
                    early(&mut asker).await;
                    let rest = asker.rest().await;
                    assert_eq!(
                        rest,
                        ("data: x\r\n\r\n".to_owned(), End::Clean),
                        "{fields}split at {split}"
                    );
                }
            });
        }
    }
}

#[test]
fn what_follows_over_http2_is_the_upstreams_but_for_its_bom() {
    each_way(|client, upstream| async move {
        let url = either::backend(upstream, |mut teller| async move {
            sleep(seconds(12)).await;
            teller.open_events().await;
            for part in ["\u{FEFF}", "da", "ta: \u{FEFF}\r", "\n\r\n"] {
                sleep(Duration::from_millis(1)).await;
                teller.say(part).await;
            }
            teller.end().await;
            sleep(seconds(1000)).await;
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, EARLY).await;
        let mut asker = Asker::ask(&sidecar, client).await;
        early(&mut asker).await;
        let expected = "data: \u{FEFF}\r\n\r\n".to_owned();
        assert_eq!(asker.rest().await, (expected, End::Clean));
    });
}

#[test]
fn a_client_that_leaves_cancels_its_request_at_once() {
    for body in ["", "the first part"] {
        each_way(move |client, upstream| async move {
            let (gone, mut seen) = moment();
            let url = either::backend(upstream, move |teller| {
                let gone = gone.clone();
                async move { gone(teller.cancelled().await) }
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, EARLY).await;
            let mut asker = Asker::upload(&sidecar, client, body).await;
            early(&mut asker).await;
            sleep(seconds(20)).await;
            let left = Instant::now();
            let _connection = asker.leave();
            let (at, how) = seen.recv().await.unwrap();
            assert!(at - left < PROMPTLY && how.is_proper(), "{how:?}");
            assert_is(sidecar.ends("client_gone", "client"), 1.0);
            let cancels = "sse_sidecar_upstream_cancels_total{phase=\"waiting_for_head\"}";
            assert_is(sidecar.metric(cancels), 1.0);
            assert_is(sidecar.metric("sse_sidecar_streams_active"), 0.0);
        });
    }
}

#[test]
fn a_client_that_leaves_while_connecting_is_noticed_too() {
    for client in [either::Http::One, either::Http::Two] {
        run(move || async move {
            let (address, _queue) = unanswering();
            let toml = "heartbeat.before_head = \"10s\"\ntimeouts.connect = \"60s\"";
            let sidecar = Sidecar::start(address, toml).await;
            let mut asker = Asker::ask(&sidecar, client).await;
            early(&mut asker).await;
            let _connection = asker.leave();
            sleep(Duration::from_millis(1)).await;
            assert_is(sidecar.metric("sse_sidecar_requests_active"), 0.0);
            let cancels = "sse_sidecar_upstream_cancels_total{phase=\"connecting\"}";
            assert_is(sidecar.metric(cancels), 1.0);
        });
    }
}

#[test]
fn a_client_that_takes_nothing_is_dropped() {
    each_way(|client, upstream| async move {
        let (gone, mut seen) = moment();
        let url = either::backend(upstream, move |teller| {
            let gone = gone.clone();
            async move { gone(teller.cancelled().await) }
        })
        .await;
        let toml = format!(
            "{EARLY}heartbeat.interval = \"10ms\"\nheartbeat.text = \"{}\"\ntimeouts.response_head = \"off\"",
            "x".repeat(256)
        );
        let sidecar = Sidecar::in_front_of(&url, &toml).await;
        let _asker = match client {
            either::Http::One => Asker::ask(&sidecar, client).await,
            either::Http::Two => {
                let little = |builder: &mut h2::client::Builder| {
                    builder.initial_window_size(1000);
                };
                Connection::with(&sidecar, little).await.ask("").await
            }
        };
        let (_, how) = seen.recv().await.unwrap();
        assert!(how.is_proper(), "{how:?}");
        assert_is(sidecar.ends("client_stalled", "client"), 1.0);
        let skipped = sidecar.metric("sse_sidecar_heartbeats_skipped_total");
        // 30 s, less what the kernel took while the clock ran ahead, or twice that if the client acknowledged its last bytes late.
        assert!((2000.0..6100.0).contains(&skipped), "{skipped}");
    });
}

#[test]
fn the_upstreams_clocks_begin_with_its_head() {
    for (clock, reason) in [
        ("first_event", "upstream_first_event_timeout"),
        ("read", "upstream_read_timeout"),
    ] {
        each_way(move |client, upstream| async move {
            let url = either::backend(upstream, |mut teller| async move {
                sleep(seconds(50)).await;
                teller.open_events().await;
                sleep(seconds(1000)).await;
            })
            .await;
            let toml = format!("{EARLY}timeouts.{clock} = \"20s\"");
            let sidecar = Sidecar::in_front_of(&url, &toml).await;
            let start = Instant::now();
            let mut asker = Asker::ask(&sidecar, client).await;
            early(&mut asker).await;
            assert_eq!(asker.rest().await.1, End::Cut);
            assert_at(start, seconds(70));
            assert_is(sidecar.ends(reason, "upstream"), 1.0);
        });
    }
}

#[test]
fn the_life_of_a_stream_begins_with_the_clients_head() {
    each_way(|client, upstream| async move {
        let (gone, mut seen) = moment();
        let url = either::backend(upstream, move |teller| {
            let gone = gone.clone();
            async move { gone(teller.cancelled().await) }
        })
        .await;
        let toml = format!("{EARLY}timeouts.total = \"60s\"");
        let sidecar = Sidecar::in_front_of(&url, &toml).await;
        let start = Instant::now();
        let mut asker = Asker::ask(&sidecar, client).await;
        early(&mut asker).await;
        assert_eq!(asker.rest().await.1, End::Clean);
        assert!((64..=70).contains(&start.elapsed().as_secs()));
        assert!(seen.recv().await.unwrap().1.is_proper());
        assert_is(sidecar.ends("total", "proxy"), 1.0);
    });
}

#[test]
fn an_operator_sees_what_is_waited_for_and_can_end_it() {
    each_way(|client, upstream| async move {
        let url = either::backend(upstream, |teller| slow(teller, seconds(1000))).await;
        let sidecar = Sidecar::in_front_of(&url, EARLY).await;
        let mut asker = Asker::ask(&sidecar, client).await;
        early(&mut asker).await;
        let (open, _) = snapshots(10);
        assert_eq!(open[0].phase, Phase::WaitingForHead);
        assert_eq!(open[0].counts.heartbeats, 1);
        assert_eq!(open[0].silence.unwrap().as_secs(), 10);
        assert!(end_stream(open[0].number));
        sidecar.wake().await;
        assert_eq!(asker.rest().await, (String::new(), End::Clean));
        assert_is(sidecar.ends("ended_by_operator", "proxy"), 1.0);
    });
}

#[test]
fn a_drain_waits_for_the_upstream_and_a_cut_is_clean() {
    for thinks in [20, 1000] {
        each_way(move |client, upstream| async move {
            let url = either::backend(upstream, move |teller| slow(teller, seconds(thinks))).await;
            let sidecar = Sidecar::in_front_of(&url, EARLY).await;
            let mut asker = Asker::ask(&sidecar, client).await;
            early(&mut asker).await;
            sidecar.drain(seconds(30));
            sleep(seconds(25)).await;
            sidecar.cut();
            let (seen, end) = asker.rest().await;
            assert_eq!(end, End::Clean);
            if thinks == 20 {
                assert_eq!(seen, "data: x\n\n");
            } else {
                assert_eq!(seen, BEAT);
                assert_is(sidecar.ends("shutdown", "proxy"), 1.0);
            }
        });
    }
}

#[test]
fn an_upload_goes_on_while_heartbeats_come_down() {
    each_way(|client, upstream| async move {
        let url = either::backend(upstream, |mut teller| async move {
            let body = match &mut teller {
                Teller::One { peer, .. } => String::from_utf8(peer.chunks().await.0).unwrap(),
                Teller::Two { request, .. } => {
                    let mut seen = Vec::new();
                    while let Some(data) = request.body_mut().data().await {
                        seen.extend_from_slice(&data.unwrap());
                    }
                    String::from_utf8(seen).unwrap()
                }
            };
            sleep(seconds(30)).await;
            teller.open_events().await;
            teller.say(&format!("data: {body}\n\n")).await;
            teller.end().await;
            sleep(seconds(1000)).await;
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, EARLY).await;
        let start = Instant::now();
        let mut asker = Asker::upload(&sidecar, client, "one ").await;
        early(&mut asker).await;
        sleep(seconds(10)).await;
        match &mut asker {
            Asker::One(peer) => {
                peer.send([&chunk("two")[..], LAST_CHUNK.as_bytes()].concat())
                    .await;
            }
            Asker::Two { upload, .. } => upload.send_data("two".into(), true).unwrap(),
        }
        let (seen, end) = asker.rest().await;
        assert_at(start, seconds(50));
        let expected = format!("{BEAT}{BEAT}data: one two\n\n");
        assert_eq!((seen, end), (expected, End::Clean));
    });
}

#[test]
fn a_whole_upload_is_answered_past_hyper() {
    run(|| async {
        let url = either::backend(either::Http::One, |teller| slow(teller, seconds(20))).await;
        let sidecar = Sidecar::in_front_of(&url, EARLY).await;
        let post = "POST / HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\nContent-Length: 2\r\n\r\nok";
        let mut client = sidecar.request(post).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        assert_eq!(
            client.chunks().await.0,
            format!("{BEAT}data: x\n\n").as_bytes()
        );
        client.send(post).await;
        client.head().await;
        assert!(client.chunks().await.1, "the connection goes on");
    });
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked_before_the_head() {
    // The upstream never asks, so the client is asked after a second.
    let early = "heartbeat.before_head = \"500ms\"";
    run(move || async move {
        let url = either::backend(either::Http::One, |teller| slow(teller, seconds(20))).await;
        let sidecar = Sidecar::in_front_of(&url, early).await;
        let start = Instant::now();
        let request = "POST / HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        let mut client = sidecar.request(request).await;
        assert!(client.head().await.starts_with("HTTP/1.1 100 "));
        assert_at(start, seconds(1));
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        assert_at(start, seconds(1));
        client.send("ok").await;
        let (seen, complete) = client.chunks().await;
        assert!(complete && seen.ends_with(b"data: x\n\n"));
    });
    run(move || async move {
        let url = either::backend(either::Http::Two, |teller| slow(teller, seconds(20))).await;
        let sidecar = Sidecar::in_front_of(&url, early).await;
        let client = Connection::to(&sidecar).await;
        let request = either::request("POST")
            .header("accept", "text/event-stream")
            .header("expect", "100-continue");
        let (mut response, mut upload) =
            client.send(request.body(()).unwrap(), true).await.unwrap();
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
        assert_eq!(interim.unwrap().unwrap().status(), 100);
        let head = response.await.unwrap();
        assert_eq!(head.status(), 200);
        upload.send_data("ok".into(), true).unwrap();
    });
    // Nothing to be asked for.
    run(move || async move {
        let url = either::backend(either::Http::One, |teller| slow(teller, seconds(20))).await;
        let sidecar = Sidecar::in_front_of(&url, early).await;
        let start = Instant::now();
        let request = GET_EVENTS.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
        let mut client = sidecar.request(&request).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        assert_at(start, Duration::from_millis(500));
    });
}

#[test]
fn interim_responses_after_an_early_head_are_dropped() {
    for client in [either::Http::One, either::Http::Two] {
        run(move || async move {
            let backend = backend(|mut peer| async move {
                loop {
                    peer.head().await;
                    sleep(seconds(5)).await;
                    peer.send("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n")
                        .await;
                    sleep(seconds(10)).await;
                    peer.send("HTTP/1.1 103 Early Hints\r\nLink: <b>\r\n\r\n")
                        .await;
                    sleep(seconds(5)).await;
                    peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\ndata: x\n\n")
                        .await;
                    if timeout(seconds(2), peer.closed()).await.is_ok() {
                        return;
                    }
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, EARLY).await;
            let mut asker = match client {
                either::Http::One => Asker::One(sidecar.get_events().await),
                either::Http::Two => Asker::ask(&sidecar, client).await,
            };
            if let Asker::One(peer) = &mut asker {
                let hints = peer.head().await;
                assert!(hints.contains("103") && hints.contains("<a>"), "{hints}");
            }
            assert!(asker.head().await.contains(" 200"));
            let expected = format!("{BEAT}data: x\n\n");
            assert_eq!(asker.rest().await, (expected, End::Clean));
            if let Asker::One(peer) = &mut asker {
                peer.send(GET_EVENTS).await;
                let next = peer.head().await;
                assert!(next.contains("103") && next.contains("<a>"), "{next}");
            }
        });
    }
}

#[test]
fn a_request_on_a_stale_connection_is_sent_again() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            if peer.head().await.contains("/first") {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
                peer.head().await; // and closes, but not at once
                sleep(seconds(15)).await;
            } else {
                slow(
                    Teller::One {
                        peer,
                        head: String::new(),
                    },
                    seconds(5),
                )
                .await;
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, EARLY).await;
        let mut client = sidecar
            .request("GET /first HTTP/1.1\r\nHost: t\r\n\r\n")
            .await;
        client.until("\r\n\r\nok").await;
        let start = Instant::now();
        client.send(GET_EVENTS).await;
        client.head().await;
        assert_at(start, seconds(10));
        let (seen, complete) = client.chunks().await;
        assert_at(start, seconds(20));
        assert!(complete);
        assert_eq!(seen, format!("{BEAT}data: x\n\n").as_bytes());
        assert_is(sidecar.metric("sse_sidecar_upstream_connects_total"), 2.0);
    });
}

#[test]
fn a_client_with_http_1_0_gets_the_rest_of_the_connection() {
    run(|| async {
        let url = either::backend(either::Http::One, |teller| slow(teller, seconds(30))).await;
        let sidecar = Sidecar::in_front_of(&url, EARLY).await;
        let request = "GET / HTTP/1.0\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n";
        let mut client = sidecar.request(request).await;
        let head = client.head().await.to_lowercase();
        assert!(head.starts_with("http/1.0 200 "), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        let expected = format!("{BEAT}{BEAT}data: x\n\n");
        assert_eq!(client.rest().await, (expected.into_bytes(), Closed::Fin));
    });
}

#[test]
fn an_upstream_that_breaks_off_after_its_late_head_is_an_abort() {
    each_way(|client, upstream| async move {
        let url = either::backend(upstream, |mut teller| async move {
            sleep(seconds(20)).await;
            teller.open_events().await;
            teller.say("data: x\n\n").await;
            sleep(seconds(1)).await;
            teller.cut();
        })
        .await;
        let toml = format!("{EARLY}events.on_upstream_failure = \"event\"");
        let sidecar = Sidecar::in_front_of(&url, &toml).await;
        let mut asker = Asker::ask(&sidecar, client).await;
        early(&mut asker).await;
        let (seen, end) = asker.rest().await;
        assert!(
            seen.contains("event: error\ndata: {\"reason\":\"upstream_closed\""),
            "{seen}"
        );
        assert_eq!(
            end,
            End::Cut,
            "what the upstream has begun is never a clean end"
        );
    });
}

#[test]
fn streams_of_one_connection_go_their_own_ways() {
    run(|| async {
        let url = either::backend(either::Http::Two, |teller| slow(teller, seconds(30))).await;
        let sidecar = Sidecar::in_front_of(&url, EARLY).await;
        let connection = Connection::to(&sidecar).await;
        let mut first = connection.ask("").await;
        early(&mut first).await;
        let mut second = connection.ask("").await;
        early(&mut second).await;
        if let Asker::Two { upload, .. } = &mut first {
            upload.send_reset(Reason::CANCEL);
        }
        let (seen, end) = second.rest().await;
        assert_eq!(
            (seen.as_str(), end),
            (": heartbeat\ndata: x\n\n", End::Clean)
        );
    });
}
