//! `heartbeat.before_head`: the head of an event stream, and heartbeats, while the upstream thinks.

mod ends;
mod requests;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::both_protocols::{assert_at, each_way};
use crate::common::{LAST_CHUNK, Peer, Sidecar, backend, chunk, run};
use crate::either;
use crate::either::{Asker, End, Teller};

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
