//! Sections 1 and 2 of the contract: what is an event stream, its head, its framing, its coding, and its bytes.

use std::io::Write;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};

use crate::common::{
    Closed, EVENTS, GET_EVENTS, LAST_CHUNK, Sidecar, backend, backend_that_says, chunk, moment,
    run, watched,
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
fn identity_is_asked_for_where_a_stream_is_expected() {
    for (accept, toml, expected) in [
        ("text/event-stream", "", "identity"),
        ("*/*", "", "gzip, br"),
        ("*/*", "events.streaming = true", "identity"),
        ("*/*", "events.detect = \"always\"", "identity"),
    ] {
        run(move || async move {
            let backend = backend(|mut peer| async move {
                let head = peer.head().await.to_lowercase();
                let coding = head
                    .lines()
                    .find_map(|line| line.strip_prefix("accept-encoding: "))
                    .unwrap()
                    .to_owned();
                let body = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{coding}",
                    coding.len()
                );
                peer.send(body).await;
                peer.closed().await;
            })
            .await;
            let sidecar = Sidecar::start(backend, toml).await;
            let request = format!(
                "GET / HTTP/1.1\r\nHost: t\r\nAccept: {accept}\r\nAccept-Encoding: gzip, br\r\n\r\n"
            );
            let mut client = sidecar.request(&request).await;
            client.head().await;
            client.until(expected).await;
        });
    }
}

/// `events` in `coding`, one piece for each, flushed.
fn coded(coding: &str, events: &[&str]) -> (Vec<Vec<u8>>, Vec<u8>) {
    fn pieces<W: Write>(
        mut encoder: W,
        events: &[&str],
        take: impl Fn(&mut W) -> Vec<u8>,
    ) -> (W, Vec<Vec<u8>>) {
        let flushed = events.iter().map(|event| {
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            take(&mut encoder)
        });
        let flushed = flushed.collect();
        (encoder, flushed)
    }
    match coding {
        "gzip" => {
            let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            let (encoder, flushed) = pieces(encoder, events, |e| std::mem::take(e.get_mut()));
            (flushed, encoder.finish().unwrap())
        }
        "deflate" => {
            let encoder =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            let (encoder, flushed) = pieces(encoder, events, |e| std::mem::take(e.get_mut()));
            (flushed, encoder.finish().unwrap())
        }
        "br" => {
            let encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            let (encoder, flushed) = pieces(encoder, events, |e| std::mem::take(e.get_mut()));
            (flushed, encoder.into_inner())
        }
        "zstd" => {
            // Each event a frame of its own, as a flush would also be allowed to make it.
            let frame = |event: &&str| {
                let mut frame = vec![0; zstd_safe::compress_bound(event.len())];
                let length = zstd_safe::compress(&mut frame[..], event.as_bytes(), 3).unwrap();
                frame.truncate(length);
                frame
            };
            (events.iter().map(frame).collect(), Vec::new())
        }
        _ => unreachable!(),
    }
}

#[test]
fn compressed_streams_are_decoded_event_by_event() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        run(move || async move {
            let (sent, mut times) = moment();
            let backend = backend(move |mut peer| {
                let sent = sent.clone();
                async move {
                    let events = ["data: one\n\n", "data: two\n\n", "data: three\n\n"];
                    let (pieces, end) = coded(coding, &events);
                    peer.head().await;
                    peer.send(EVENTS.replace(
                        "\r\n\r\n",
                        &format!("\r\nContent-Encoding: {coding}\r\nETag: \"x\"\r\n\r\n"),
                    ))
                    .await;
                    for (piece, event) in pieces.iter().zip(events) {
                        sent(event);
                        peer.send(chunk(piece)).await;
                        sleep(Duration::from_secs(20)).await;
                    }
                    if !end.is_empty() {
                        peer.send(chunk(end)).await;
                    }
                    peer.send(LAST_CHUNK).await;
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            let mut client = sidecar.get_events().await;
            let head = client.head().await.to_lowercase();
            assert!(
                !head.contains("content-encoding") && !head.contains("etag"),
                "{head}"
            );
            for _ in 0..3 {
                let seen = client.chunk().await;
                let (at, event) = times.recv().await.unwrap();
                assert_eq!((seen.as_str(), at), (event, Instant::now()), "{coding}");
                assert_eq!(client.chunk().await, ": heartbeat\n", "{coding}");
            }
            assert_eq!(client.chunk().await, "", "{coding}");
        });
    }
}

#[test]
fn a_compressed_stream_that_is_cut_is_an_abort() {
    run(|| async {
        let (pieces, _) = coded("gzip", &[EVENT]);
        let head = EVENTS.replace("\r\n\r\n", "\r\nContent-Encoding: gzip\r\n\r\n");
        let says = [head.as_bytes(), &chunk(&pieces[0]), LAST_CHUNK.as_bytes()].concat();
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        assert_eq!(client.chunks().await, (EVENT.as_bytes().to_vec(), false));
    });
}

#[test]
fn a_stream_that_is_not_what_its_coding_says_is_an_abort() {
    run(|| async {
        let head = EVENTS.replace("\r\n\r\n", "\r\nContent-Encoding: gzip\r\n\r\n");
        let sidecar = Sidecar::start(
            backend_that_says([head.as_bytes(), &chunk(EVENT)].concat()).await,
            "",
        )
        .await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        assert_eq!(client.chunks().await, (Vec::new(), false));
        assert!((sidecar.ends("upstream_failed", "upstream") - 1.0).abs() < 0.1);
    });
}

#[test]
fn ordinary_pages_stay_compressed() {
    run(|| async {
        let says = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nETag: \"x\"\r\nContent-Length: 4\r\n\r\nGZIP";
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        let mut client = sidecar.request("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
        assert_eq!(client.head().await + "GZIP", says, "head and all");
        client.until("GZIP").await;
    });
}

#[test]
fn framing_is_healed() {
    let type_only = "Content-Type: text/event-stream\r\n";
    for (what, head, body, complete) in [
        (
            "HTTP/1.0",
            format!("HTTP/1.0 200 OK\r\n{type_only}\r\n"),
            EVENT,
            true,
        ),
        (
            "close-delimited",
            format!("HTTP/1.1 200 OK\r\n{type_only}\r\n"),
            EVENT,
            true,
        ),
        (
            "too short a length",
            format!("HTTP/1.1 200 OK\r\n{type_only}Content-Length: 3\r\n\r\n"),
            EVENT,
            true,
        ),
        (
            "too long a length",
            format!("HTTP/1.1 200 OK\r\n{type_only}Content-Length: 3000\r\n\r\n"),
            EVENT,
            true,
        ),
        (
            "an absurd length",
            format!("HTTP/1.1 200 OK\r\n{type_only}Content-Length: 18446744073709551615\r\n\r\n"),
            EVENT,
            true,
        ),
        (
            "two lengths",
            format!("HTTP/1.1 200 OK\r\n{type_only}Content-Length: 3\r\nContent-Length: 4\r\n\r\n"),
            EVENT,
            true,
        ),
        (
            "a length of zero",
            format!("HTTP/1.1 200 OK\r\n{type_only}Content-Length: 0\r\n\r\n"),
            EVENT,
            true,
        ),
        (
            "no last chunk",
            EVENTS.to_owned(),
            "9\r\ndata: x\n\n\r\n",
            false,
        ),
        (
            "no last chunk after [DONE]",
            EVENTS.to_owned(),
            "e\r\ndata: [DONE]\n\n\r\n",
            true,
        ),
        (
            "too long a length, inside an event",
            format!("HTTP/1.1 200 OK\r\n{type_only}Content-Length: 3000\r\n\r\n"),
            "data: ",
            false,
        ),
    ] {
        run(move || async move {
            let says = format!("{head}{body}");
            let backend = backend(move |mut peer| {
                let says = says.clone();
                async move {
                    peer.head().await;
                    peer.send(says).await;
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            let mut client = sidecar.get_events().await;
            let head = client.head().await.to_lowercase();
            assert!(
                head.contains("transfer-encoding: chunked") && !head.contains("content-length"),
                "{what}: {head}"
            );
            let (seen, ended) = client.chunks().await;
            let text =
                body.trim_start_matches(|c: char| c.is_ascii_hexdigit() && body.contains("\r\n"));
            assert_eq!(
                String::from_utf8(seen).unwrap().trim_end(),
                text.trim(),
                "{what}"
            );
            assert_eq!(ended, complete, "{what}");
        });
    }
}

#[test]
fn a_false_length_does_not_end_a_stream_that_goes_on() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 12\r\n\r\n",
            )
            .await;
            for _ in 0..3 {
                peer.send(EVENT).await;
                sleep(Duration::from_secs(20)).await;
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        let (body, complete) = client.chunks().await;
        assert_eq!(
            String::from_utf8(body).unwrap(),
            format!("{EVENT}: heartbeat\n").repeat(3)
        );
        assert!(complete);
    });
}

#[test]
fn a_true_length_ends_a_stream_on_a_connection_that_stays_open() {
    run(|| async {
        let says = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\n{EVENT}"
        );
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        let start = Instant::now();
        let mut client = sidecar.get_events().await;
        client.head().await;
        assert_eq!(client.chunks().await, (EVENT.as_bytes().to_vec(), true));
        assert!(start.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn an_http_1_0_client_gets_a_close_delimited_stream() {
    run(|| async {
        let says = [EVENTS.as_bytes(), &chunk(EVENT), LAST_CHUNK.as_bytes()].concat();
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        let mut client = sidecar
            .request("GET / HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n")
            .await;
        let head = client.head().await.to_lowercase();
        assert!(
            head.starts_with("http/1.0 200") && !head.contains("transfer-encoding"),
            "{head}"
        );
        assert_eq!(
            client.rest().await,
            (EVENT.as_bytes().to_vec(), Closed::Fin)
        );
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
fn after_a_stream_the_connection_goes_on() {
    run(|| async {
        let says = [EVENTS.as_bytes(), &chunk(EVENT), LAST_CHUNK.as_bytes()].concat();
        let backend = backend(move |mut peer| {
            let says = says.clone();
            async move {
                loop {
                    peer.head().await;
                    peer.send(&says).await;
                }
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.connect().await;
        client.send([GET_EVENTS, GET_EVENTS].concat()).await; // the second one pipelined
        for _ in 0..2 {
            client.head().await;
            assert_eq!(client.chunks().await, (EVENT.as_bytes().to_vec(), true));
        }
        client.send(GET_EVENTS).await;
        client.head().await;
        assert_eq!(client.chunks().await, (EVENT.as_bytes().to_vec(), true));
    });
}

#[test]
fn after_a_stream_the_connection_ends_where_its_client_wants_that() {
    run(|| async {
        let says = [EVENTS.as_bytes(), &chunk(EVENT), LAST_CHUNK.as_bytes()].concat();
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        let request = GET_EVENTS.replace("Host", "Connection: close\r\nHost");
        let mut client = sidecar.request(&request).await;
        assert!(client.head().await.contains("\r\nconnection: close\r\n"));
        let (rest, closed) = client.rest().await;
        let expected = [chunk(EVENT), LAST_CHUNK.into()].concat();
        assert_eq!((rest, closed), (expected, Closed::Fin));
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
fn a_client_that_reads_now_and_then_gets_every_byte() {
    const EVENTS_SENT: usize = 60_000;
    let event = |n: usize| format!("id: {n}\ndata: {}\n\n", "x".repeat(n % 200));
    run(move || async move {
        let backend = backend(move |mut peer| async move {
            peer.head().await;
            peer.send(EVENTS).await;
            for n in (0..EVENTS_SENT).step_by(100) {
                let events: String = (n..n + 100).map(event).collect();
                peer.send(chunk(events)).await;
            }
            peer.send(LAST_CHUNK).await;
        })
        .await;
        let toml = "heartbeat.interval = \"off\"\ntimeouts.write = \"off\"";
        let sidecar = Sidecar::start(backend, toml).await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        sleep(Duration::from_secs(20)).await; // every buffer on the way is full
        tokio::time::resume(); // so much takes the kernel a while, in which a paused clock would run ahead
        let (seen, ended) = client.chunks().await;
        let expected: String = (0..EVENTS_SENT).map(event).collect();
        assert!(ended && seen == expected.as_bytes());
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

#[test]
fn a_stream_that_is_there_at_once_leaves_in_one_write() {
    run(|| async {
        let whole = [EVENTS.as_bytes(), &chunk(EVENT), LAST_CHUNK.as_bytes()].concat();
        let sidecar = Sidecar::start(backend_that_says(whole).await, "").await;
        let mut client = sidecar.get_events().await;
        let mut seen = Vec::with_capacity(4096);
        client.stream.read_buf(&mut seen).await.unwrap();
        let end = [&*chunk(EVENT), LAST_CHUNK.as_bytes()].concat();
        assert!(seen.ends_with(&end), "{}", seen.escape_ascii().to_string());
    });
}

#[test]
fn the_connection_of_a_stream_that_has_ended_is_kept() {
    for (head, end, connects) in [
        (EVENTS, LAST_CHUNK, 1.0),
        // More than was asked for.
        (EVENTS, "0\r\n\r\nHTTP", 3.0),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            LAST_CHUNK,
            3.0,
        ),
    ] {
        run(move || async move {
            let backend = backend(move |mut peer| async move {
                loop {
                    peer.head().await;
                    peer.send(head).await;
                    sleep(Duration::from_secs(1)).await;
                    peer.send([&*chunk(EVENT), end.as_bytes()].concat()).await;
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            for _ in 0..3 {
                let mut client = sidecar.get_events().await;
                client.head().await;
                assert_eq!(client.chunk().await, EVENT);
                assert_eq!(client.chunk().await, "");
            }
            let seen = sidecar.metric("sse_sidecar_upstream_connects_total");
            assert!((seen - connects).abs() < 0.1, "{seen} after {head}{end}");
        });
    }
}

#[test]
fn the_connection_of_a_stream_that_the_sidecar_ended_is_closed() {
    run(|| async {
        let (backend, mut closed) = watched(EVENTS).await;
        let sidecar = Sidecar::start(backend, "timeouts.total = \"10s\"").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        assert_eq!(client.chunk().await, "");
        assert_eq!(closed.recv().await.unwrap().0, Instant::now());
    });
}
