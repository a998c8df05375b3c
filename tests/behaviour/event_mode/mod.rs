//! Event streams: which responses are, their head, framing, coding, and bytes.

mod coding;
mod connections;
mod framing;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::common::{
    EVENTS, GET_EVENTS, LAST_CHUNK, Sidecar, backend, backend_that_says, chunk, moment, run,
};

const EVENT: &str = "data: x\n\n";

#[test]
fn the_head_goes_out_before_any_byte_of_the_body() {
    run(|| async {
        let sidecar = Sidecar::start(backend_that_says(EVENTS).await, "").await;
        let start = Instant::now();
        let mut client = sidecar.get_events().await;
        let head = client.head().await.to_lowercase();
        assert_eq!(start.elapsed(), Duration::ZERO);
        for field in [
            "cache-control: no-cache, no-transform",
            "x-accel-buffering: no",
            "transfer-encoding: chunked",
        ] {
            assert!(head.contains(field), "{field} is not in {head}");
        }
    });
}

#[test]
fn every_read_is_written_at_once() {
    run(|| async {
        let (sent, mut times) = moment();
        let backend = backend(move |mut peer| {
            let sent = sent.clone();
            async move {
                peer.head().await;
                peer.send(EVENTS).await;
                for part in ["d", "ata: x", "\n", "\n", "data: y\n\nda", "ta: z\n\n"] {
                    sleep(Duration::from_secs(1)).await;
                    sent(part);
                    peer.send(chunk(part)).await;
                }
                peer.send(LAST_CHUNK).await;
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        for _ in 0..6 {
            let seen = client.chunk().await;
            let (at, part) = times.recv().await.unwrap();
            assert_eq!((seen.as_str(), at), (part, Instant::now()));
        }
        assert_eq!(client.chunk().await, "");
    });
}

#[test]
fn what_came_in_one_read_leaves_in_one_write() {
    run(|| async {
        let burst: Vec<u8> = (0..200)
            .flat_map(|n| chunk(format!("data: {n}\n\n")))
            .collect();
        let sidecar = Sidecar::start(
            backend_that_says([EVENTS.as_bytes(), &burst].concat()).await,
            "",
        )
        .await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        let expected: String = (0..200).map(|n| format!("data: {n}\n\n")).collect();
        assert_eq!(client.chunk().await, expected, "one chunk for two hundred");
    });
}

#[test]
fn a_stream_is_known_by_its_media_type() {
    for (content_type, detect, is_stream) in [
        ("text/event-stream", "auto", true),
        ("Text/Event-Stream ; Charset=UTF-8", "auto", true),
        ("text/plain", "auto", false),
        ("text/event-streams", "auto", false),
        ("text/plain", "always", true),
        ("text/event-stream", "never", false),
    ] {
        run(move || async move {
            let says = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            let sidecar = Sidecar::start(
                backend_that_says(says).await,
                &format!("events.detect = \"{detect}\""),
            )
            .await;
            let head = sidecar.get_events().await.head().await.to_lowercase();
            assert_eq!(
                head.contains("x-accel-buffering: no"),
                is_stream,
                "{content_type}, {detect}: {head}"
            );
            let labelled = if detect == "always" {
                "text/event-stream".to_owned()
            } else {
                content_type.to_lowercase()
            };
            assert!(
                head.contains(&format!("content-type: {labelled}\r\n")),
                "{head}"
            );
        });
    }
}

#[test]
fn an_error_page_is_never_relabelled() {
    run(|| async {
        let says = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
        let sidecar =
            Sidecar::start(backend_that_says(says).await, "events.detect = \"always\"").await;
        let mut client = sidecar.get_events().await;
        let head = client.head().await;
        assert!(
            head.contains("text/html") && head.contains("Content-Length: 6"),
            "{head}"
        );
        client.until("<html>").await;
    });
}

#[test]
fn a_stream_while_the_request_is_still_going_up() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.until("first").await;
            peer.send([EVENTS.as_bytes(), &chunk("data: early\n\n")].concat())
                .await;
            peer.until("second").await;
            peer.send(chunk("data: late\n\n")).await;
            peer.send(LAST_CHUNK).await;
            peer.closed().await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar
            .request("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\nfirst")
            .await;
        assert!(client.head().await.contains("200"));
        assert_eq!(client.chunk().await, "data: early\n\n");
        assert_eq!(client.chunk().await, ": heartbeat\n\n");
        client.send("second").await;
        assert_eq!(client.chunk().await, "data: late\n\n");
        assert_eq!(client.chunk().await, "");
    });
}

#[test]
fn the_head_of_a_stream_is_spelt_as_the_upstream_did() {
    run(|| async {
        let says = "HTTP/1.1 200 Fine\r\nCONTENT-type: text/event-stream\r\nX-One: 1\r\nETag: x\r\nx-two: caf\u{e9}\r\n\
            X-ONE: 2\r\nKeep-Alive: x\r\n\r\n";
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        let request = GET_EVENTS.replace("Host", "X-Request-Id: one\r\nHost");
        let mut client = sidecar.request(&request).await;
        assert_eq!(
            client.head().await,
            "HTTP/1.1 200 Fine\r\nCONTENT-type: text/event-stream\r\nX-One: 1\r\nx-two: caf\u{e9}\r\nX-ONE: 2\r\n\
            cache-control: no-cache, no-transform\r\nx-accel-buffering: no\r\n\
            x-request-id: one\r\ntransfer-encoding: chunked\r\n\r\n"
        );
    });
}

#[test]
fn interim_responses_pass_and_do_not_hide_a_stream() {
    run(|| async {
        let says = [
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".as_bytes(),
            EVENTS.as_bytes(),
            &chunk(EVENT),
        ]
        .concat();
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        let mut client = sidecar.get_events().await;
        assert_eq!(
            client.head().await,
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        );
        assert!(client.head().await.contains("x-accel-buffering: no"));
        assert_eq!(client.chunk().await, EVENT);
    });
}

#[test]
fn a_head_request_gets_the_same_head() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            loop {
                let kind = if peer.head().await.contains("/page") {
                    "html"
                } else {
                    "event-stream"
                };
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/{kind}\r\nContent-Length: 7\r\n\r\n"
                ))
                .await;
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.connect().await;
        for _ in 0..2 {
            client.send("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n").await;
            let head = client.head().await;
            assert!(
                head.contains("x-accel-buffering: no") && !head.contains("Content-Length"),
                "{head}"
            );
            client.send("HEAD /page HTTP/1.1\r\nHost: t\r\n\r\n").await;
            let head = client.head().await;
            assert!(
                !head.contains("x-accel-buffering") && head.contains("Content-Length: 7"),
                "{head}"
            );
        }
    });
}

#[test]
fn what_passes_is_measured() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.send(EVENTS).await;
            sleep(Duration::from_secs(3)).await;
            peer.send(chunk(EVENT.repeat(10))).await; // as something that collects them would
            sleep(Duration::from_secs(4)).await;
            peer.send(chunk(EVENT)).await;
            peer.send(LAST_CHUNK).await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        assert!(client.chunks().await.1);
        for (series, expected) in [
            ("suspected_upstream_buffering_total", 1.0),
            ("streams_total", 1.0),
            ("streams_active", 0.0),
            ("events_total", 11.0),
            ("stream_bytes_total", 99.0),
            ("time_to_head_seconds_sum", 0.0),
            ("time_to_first_event_seconds_sum", 3.0),
            ("event_gap_seconds_sum", 4.0),
            ("event_gap_seconds_count", 1.0),
            ("stream_age_seconds_sum", 7.0),
        ] {
            let seen = sidecar.metric(&format!("sse_sidecar_{series}"));
            assert!((seen - expected).abs() < 0.1, "{series}: {seen}");
        }
    });
}
