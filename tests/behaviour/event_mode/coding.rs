//! Compressed event streams.

use std::io::Write;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::EVENT;
use crate::common::{EVENTS, LAST_CHUNK, Sidecar, backend, backend_that_says, chunk, moment, run};

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
