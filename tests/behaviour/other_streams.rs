//! Streams of other formats on routes with `events.streaming`: passed, cancelled and timed like event streams, and never touched.

use std::io::Write;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use crate::common::{
    LAST_CHUNK, Sidecar, backend, backend_that_says, chunk, full_sockets, moment, run,
};
use crate::either::{self, Asker, End, WAYS};

const STREAMING: &str = "events = { streaming = true, on_upstream_failure = 'event' }\n";
const LINE: &str = "{\"response\":\"x\",\"done\":false}\n";
const TYPES: [&str; 3] = [
    "application/x-ndjson; charset=utf-8",
    "Application/JSON-Seq",
    "multipart/x-mixed-replace; boundary=\"a,b\"",
];

/// How many streams were opened so far.
fn opened(sidecar: &Sidecar) -> String {
    sidecar.metric("sse_sidecar_streams_total").to_string()
}

#[test]
fn they_pass_at_once_and_untouched_over_each_http() {
    for (client, upstream) in WAYS {
        for media_type in TYPES {
            run(move || async move {
                let url = either::backend(upstream, move |mut teller| async move {
                    assert!(teller.asked().contains("identity"), "{}", teller.asked());
                    teller.open(200, media_type).await;
                    sleep(Duration::from_secs(1)).await;
                    teller.say(LINE).await;
                    sleep(Duration::from_secs(60)).await; // four heartbeats of an event stream
                    teller.say(LINE).await;
                    teller.end().await;
                })
                .await;
                let sidecar = Sidecar::in_front_of(&url, STREAMING).await;
                let start = Instant::now();
                let mut asker = Asker::ask(&sidecar, client).await;
                let head = asker.head().await;
                assert!(
                    start.elapsed() < Duration::from_millis(500),
                    "before any byte"
                );
                let media_type = media_type.to_lowercase();
                assert!(
                    head.contains(&format!("content-type: {media_type}\r\n")),
                    "{head}"
                );
                assert!(head.contains("x-accel-buffering: no\r\n"), "{head}");
                assert!(head.contains("no-transform"), "{head}");
                assert_eq!(asker.data().await.unwrap().unwrap(), LINE);
                let elapsed = start.elapsed().as_millis();
                assert!((1000..1500).contains(&elapsed), "{elapsed}");
                assert_eq!(asker.rest().await, (LINE.to_owned(), End::Clean));
                assert_eq!(opened(&sidecar), "1");
                assert!((sidecar.ends("complete", "none") - 1.0).abs() < 0.1);
            });
        }
    }
}

#[test]
fn silence_ends_them_and_nothing_is_said_of_it() {
    for (client, upstream) in WAYS {
        for (timeout, reason, lines) in [
            ("first_event", "upstream_first_event_timeout", 0),
            ("read", "upstream_read_timeout", 2),
        ] {
            run(move || async move {
                let (gone, mut seen) = moment();
                let url = either::backend(upstream, move |mut teller| {
                    let gone = gone.clone();
                    async move {
                        teller.open(200, TYPES[0]).await;
                        for _ in 0..lines {
                            teller.say(LINE).await;
                        }
                        gone(teller.cancelled().await.is_proper());
                    }
                })
                .await;
                let toml = format!("{STREAMING}timeouts.{timeout} = '20s'");
                let sidecar = Sidecar::in_front_of(&url, &toml).await;
                let start = Instant::now();
                let mut asker = Asker::ask(&sidecar, client).await;
                asker.head().await;
                assert_eq!(asker.rest().await, (LINE.repeat(lines), End::Cut));
                assert_eq!(start.elapsed().as_secs(), 20);
                assert!(seen.recv().await.unwrap().1);
                assert!((sidecar.ends(reason, "upstream") - 1.0).abs() < 0.1);
            });
        }
    }
}

#[test]
fn a_client_that_leaves_cancels_them_and_a_backend_that_breaks_off_is_seen() {
    for (client, upstream) in WAYS {
        run(move || async move {
            let (gone, mut seen) = moment();
            let url = either::backend(upstream, move |mut teller| {
                let gone = gone.clone();
                async move {
                    teller.open(200, TYPES[0]).await;
                    teller.say(LINE).await;
                    gone(teller.cancelled().await.is_proper());
                }
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, STREAMING).await;
            let mut asker = Asker::ask(&sidecar, client).await;
            asker.head().await;
            asker.data().await.unwrap();
            let left = Instant::now();
            let _connection = asker.leave();
            let (at, is_proper) = seen.recv().await.unwrap();
            assert!(is_proper && at - left < Duration::from_millis(100));
            assert!((sidecar.ends("client_gone", "client") - 1.0).abs() < 0.1);
        });
        run(move || async move {
            let url = either::backend(upstream, |mut teller| async move {
                teller.open(200, TYPES[0]).await;
                teller.say(LINE).await;
                sleep(Duration::from_secs(1)).await; // a reset discards what has not left
                teller.cut();
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, STREAMING).await;
            let mut asker = Asker::ask(&sidecar, client).await;
            asker.head().await;
            assert_eq!(asker.rest().await, (LINE.to_owned(), End::Cut));
        });
    }
}

#[test]
fn a_client_that_takes_nothing_is_dropped() {
    run(|| async {
        let (gone, mut seen) = moment();
        let backend = backend(move |mut peer| {
            let gone = gone.clone();
            async move {
                peer.head().await;
                peer.send("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n")
                    .await;
                let line = LINE.repeat(300);
                while peer.stream.write_all(line.as_bytes()).await.is_ok() {}
                gone(());
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, STREAMING).await;
        let mut client = sidecar.get_events().await;
        full_sockets(&sidecar).await;
        let start = Instant::now();
        let (at, ()) = seen.recv().await.unwrap();
        let after = (at - start).as_secs_f64();
        assert!((29.9..38.0).contains(&after), "{after}");
        assert!((sidecar.ends("client_stalled", "client") - 1.0).abs() < 0.1);
        client.closed().await;
    });
}

/// What a client gets of a whole response.
async fn got(toml: &str, says: Vec<u8>) -> (Sidecar, String, Vec<u8>, bool) {
    let sidecar = Sidecar::start(backend_that_says(says).await, toml).await;
    let mut client = sidecar.get_events().await;
    let head = client.head().await.to_lowercase();
    let (body, is_whole) = client.chunks().await;
    (sidecar, head, body, is_whole)
}

#[test]
fn compressed_ones_are_decoded() {
    run(|| async {
        let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        coder.write_all(LINE.as_bytes()).unwrap();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Encoding: gzip\r\n\
                    ETag: \"a\"\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = chunk(coder.finish().unwrap());
        let says = [head.as_bytes(), &body, LAST_CHUNK.as_bytes()].concat();
        let (_, head, body, is_whole) = got(STREAMING, says).await;
        assert_eq!((&*body, is_whole), (LINE.as_bytes(), true));
        assert!(
            !head.contains("content-encoding") && !head.contains("etag"),
            "{head}"
        );
    });
}

#[test]
fn a_length_that_does_not_come_is_no_end() {
    for (length, is_whole) in [(LINE.len(), true), (LINE.len() + 1, false)] {
        run(move || async move {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nETag: \"a\"\r\nContent-Length: {length}\r\n\r\n{LINE}"
            );
            let backend = backend(move |mut peer| {
                let head = head.clone();
                async move {
                    peer.head().await;
                    peer.send(head).await;
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, STREAMING).await;
            let mut client = sidecar.get_events().await;
            let head = client.head().await.to_lowercase();
            assert!(
                !head.contains("content-length") && head.contains("etag: \"a\""),
                "{head}"
            );
            assert_eq!(client.chunks().await, (LINE.as_bytes().to_vec(), is_whole));
        });
    }
}

#[test]
fn only_where_the_route_says_so() {
    let says = || {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
        [head.as_bytes(), &chunk(LINE), LAST_CHUNK.as_bytes()].concat()
    };
    for (toml, streams, content_type) in [
        ("", 0, "application/x-ndjson"),
        (
            "events = { streaming = true, detect = 'never' }",
            0,
            "application/x-ndjson",
        ),
        (
            "events = { streaming = true, detect = 'always' }",
            1,
            "text/event-stream",
        ),
        ("events.streaming = true", 1, "application/x-ndjson"),
    ] {
        run(move || async move {
            let (sidecar, head, body, is_whole) = got(toml, says()).await;
            assert_eq!((&*body, is_whole), (LINE.as_bytes(), true));
            assert_eq!(opened(&sidecar), streams.to_string(), "{toml}");
            assert!(
                head.contains(&format!("content-type: {content_type}\r\n")),
                "{head}"
            );
            let is_edited = head.contains("x-accel-buffering: no\r\n");
            assert_eq!(is_edited, streams == 1, "{head}");
        });
    }
}

#[test]
fn after_an_early_head_they_are_no_event_stream() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            sleep(Duration::from_secs(5)).await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n")
                .await;
            peer.send(LINE).await;
        })
        .await;
        let toml = format!("{STREAMING}heartbeat.before_head = '2s'");
        let sidecar = Sidecar::start(backend, &toml).await;
        let mut client = sidecar.get_events().await;
        assert!(client.head().await.contains("text/event-stream"));
        let (body, is_whole) = client.chunks().await;
        let body = String::from_utf8(body).unwrap();
        assert!(
            is_whole && body.contains("event: error") && body.contains("upstream_not_events"),
            "{body}"
        );
        assert!(!body.contains("\n{"), "{body}");
    });
}
