//! Bodies and trailers.

use std::future::poll_fn;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;

use super::each_way;
use crate::common::{LAST_CHUNK, Sidecar, chunk};
use crate::either::{Connection, Http, Teller, Whole, backend, request};

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("42"))])
}

/// Answers with the request's trailers as the body, and trailers of its own.
async fn trail(teller: Teller) {
    match teller {
        Teller::One { mut peer, .. } => loop {
            peer.until("4\r\nbody\r\n0\r\n").await;
            let trailers = peer.head().await.to_lowercase();
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
                .await;
            peer.send(chunk(trailers.trim())).await;
            peer.send("0\r\nX-Sum: 42\r\n\r\n").await;
            if peer.try_head().await.is_none() {
                return;
            }
        },
        Teller::Two {
            request,
            mut respond,
            ..
        } => {
            let mut body = request.into_body();
            while let Some(data) = body.data().await {
                data.unwrap();
            }
            let seen = body.trailers().await.unwrap().unwrap_or_default();
            let seen = seen
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            let head = Response::builder()
                .header("trailer", "x-sum")
                .body(())
                .unwrap();
            let mut body = respond.send_response(head, false).unwrap();
            body.send_data(seen.collect::<String>().into(), false)
                .unwrap();
            body.send_trailers(trailers()).unwrap();
        }
    }
}

#[test]
fn trailers_pass_both_ways() {
    each_way(|client, upstream| async move {
        let url = backend(upstream, trail).await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        if client == Http::One {
            for welcome in [true, false] {
                let te = if welcome {
                    "TE: trailers\r\nConnection: te\r\n"
                } else {
                    ""
                };
                let mut client = sidecar
                    .request(&format!(
                        "POST / HTTP/1.1\r\nHost: t\r\nTrailer: X-Sum\r\n{te}Transfer-Encoding: chunked\r\n\r\n"
                    ))
                    .await;
                client.send(chunk("body")).await;
                client.send("0\r\nX-Sum: 42\r\n\r\n").await;
                let head = client.head().await;
                assert!(head.contains(" 200 "), "{head}");
                assert_eq!(client.chunk().await, "x-sum: 42");
                let end = client.until("\r\n\r\n").await.to_lowercase();
                let expected = if welcome {
                    "0\r\nx-sum: 42\r\n\r\n"
                } else {
                    "0\r\n\r\n"
                };
                assert_eq!(end, expected);
            }
            return;
        }
        let client = Connection::to(&sidecar).await;
        let asked = request("POST")
            .header("te", "trailers")
            .header("trailer", "x-sum");
        let (response, mut upload) = client.send(asked.body(()).unwrap(), true).await.unwrap();
        upload.send_data("body".into(), false).unwrap();
        upload.send_trailers(trailers()).unwrap();
        let whole = Whole::of(response).await.unwrap();
        assert_eq!(whole.summary(), (200, "x-sum: 42".to_owned(), true));
        assert_eq!(whole.end.unwrap(), Some(trailers()));
    });
}

const LENGTH: usize = 10_000_000;

/// This many bytes, which show their position.
fn body() -> Vec<u8> {
    (0..LENGTH as u64 / 8).flat_map(u64::to_le_bytes).collect()
}

/// Sends `data` as the peer takes it.
async fn send(stream: &mut h2::SendStream<Bytes>, data: Bytes) {
    let mut rest = data;
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let capacity = poll_fn(|cx| stream.poll_capacity(cx))
            .await
            .unwrap()
            .unwrap();
        let part = rest.split_to(capacity.min(rest.len()));
        stream.send_data(part, false).unwrap();
    }
}

/// Sends back what it gets, while it gets it.
async fn reflect(teller: Teller) {
    match teller {
        Teller::One { mut peer, .. } => {
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"
            ))
            .await;
            let mut chunked = sse_sidecar::wire::Chunked::new();
            let mut read = peer.take();
            while !chunked.is_done() {
                let (kept, _) = chunked.decode_in_place(&mut read, |_| {}).unwrap();
                peer.send(&read[..kept]).await;
                read.clear();
                if !chunked.is_done() {
                    peer.stream.read_buf(&mut read).await.unwrap();
                }
            }
            peer.closed().await;
        }
        Teller::Two {
            request,
            mut respond,
            ..
        } => {
            let head = Response::builder().header("content-length", LENGTH);
            let mut down = respond
                .send_response(head.body(()).unwrap(), false)
                .unwrap();
            let mut up = request.into_body();
            while let Some(data) = up.data().await {
                let data = data.unwrap();
                up.flow_control().release_capacity(data.len()).unwrap();
                send(&mut down, data).await;
            }
            down.send_data(Bytes::new(), true).unwrap();
        }
    }
}

#[test]
fn large_bodies_pass_both_ways_at_once() {
    each_way(|client, upstream| async move {
        tokio::time::resume(); // the kernel needs a while for this, and a paused clock would advance
        let url = backend(upstream, reflect).await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        let sent = body();
        if client == Http::One {
            let head = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
            let peer = sidecar.request(head).await;
            let (mut reading, mut writing) = peer.stream.into_split();
            let up = sent.clone();
            let upload = spawn_local(async move {
                for part in up.chunks(50_000) {
                    writing.write_all(&chunk(part)).await.unwrap();
                }
                writing.write_all(LAST_CHUNK.as_bytes()).await.unwrap();
                writing
            });
            let mut seen = Vec::new();
            while !seen.ends_with(&sent[sent.len() - 100..]) {
                assert!(reading.read_buf(&mut seen).await.unwrap() > 0);
            }
            upload.await.unwrap();
            return assert!(seen.ends_with(&sent));
        }
        let client = Connection::to(&sidecar).await;
        let (response, mut upload) = client
            .send(request("POST").body(()).unwrap(), true)
            .await
            .unwrap();
        let up = Bytes::from(sent.clone());
        spawn_local(async move {
            send(&mut upload, up).await;
            upload.send_data(Bytes::new(), true).unwrap();
        });
        let whole = Whole::of(response).await.unwrap();
        assert!(whole.end.is_ok() && whole.body == sent);
    });
}
