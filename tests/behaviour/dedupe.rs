//! Requests that were sent before: one generation, whatever the client's library thinks of it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::common::{EVENTS, LAST_CHUNK, Sidecar, chunk, run};
use crate::kept::{Backends, event};

fn toml(second: &str, more: &str) -> String {
    format!("resume.grace = \"30s\"\ndedupe.second = \"{second}\"\n{more}")
}

fn post(fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /v1/chat HTTP/1.1\r\nHost: t\r\nAccept: application/json\r\nAuthorization: Bearer a\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

const KEY: &str = "Idempotency-Key: k1\r\n";

#[test]
fn two_requests_with_one_key_get_one_answer_also_before_its_head() {
    run(|| async {
        let mut backends = Backends::start().await;
        let sidecar = Sidecar::start(backends.address, &toml("join", "")).await;
        let mut first = sidecar.request(&post(KEY, "{}")).await;
        let mut backend = backends.next().await;
        assert_eq!(backend.bytes(2).await, b"{}");
        let mut second = sidecar.request(&post(KEY, "{}")).await;
        sleep(Duration::from_millis(5)).await;
        assert!(backends.no_more());
        // Another body is another request, and that is a mistake.
        let mut other = sidecar.request(&post(KEY, "{ }")).await;
        assert!(other.head().await.starts_with("HTTP/1.1 422 "));
        backend
            .send([EVENTS.as_bytes(), &chunk(event(1))].concat())
            .await;
        for client in [&mut first, &mut second] {
            client.head().await;
            assert_eq!(client.chunk().await, "data: 1\n\n");
        }
        // The first may leave, and a third may come.
        drop(first);
        sleep(Duration::from_millis(5)).await;
        backend.send(chunk(event(2))).await;
        assert_eq!(second.chunk().await, "data: 2\n\n");
        let mut third = sidecar.request(&post(KEY, "{}")).await;
        third.head().await;
        assert_eq!(third.chunk().await, "data: 1\n\ndata: 2\n\n");
        backend.send(LAST_CHUNK).await;
        assert_eq!(second.chunk().await, "");
        assert_eq!(third.chunk().await, "");
        assert!(backends.no_more());
        let joined = sidecar.metric("sse_sidecar_deduplicated_total{how=\"joined\"}");
        assert!((joined - 2.0).abs() < 0.1);
    });
}

#[test]
fn a_retry_joins_what_its_client_had_given_up_before_the_head() {
    run(|| async {
        let mut backends = Backends::start().await;
        let sidecar = Sidecar::start(backends.address, &toml("join", "")).await;
        let count = |count: u32| format!("x-stainless-retry-count: {count}\r\n");
        let first = sidecar.request(&post(&count(0), "{\"a\":1}")).await;
        let mut backend = backends.next().await;
        backend.bytes(7).await;
        // Who asks the same for the first time means it.
        let other = sidecar.request(&post(&count(0), "{\"a\":1}")).await;
        let mut others = backends.next().await;
        others.bytes(7).await;
        drop(first);
        drop(other);
        sleep(Duration::from_millis(100)).await;
        let mut retry = sidecar.request(&post(&count(1), "{\"a\":1}")).await;
        sleep(Duration::from_millis(5)).await;
        assert!(backends.no_more(), "it waits for one of them");
        for backend in [&mut backend, &mut others] {
            backend
                .send([EVENTS.as_bytes(), &chunk(event(1)), LAST_CHUNK.as_bytes()].concat())
                .await;
        }
        retry.head().await;
        assert_eq!(retry.chunk().await, "data: 1\n\n");
        assert_eq!(retry.chunk().await, "");
    });
}

#[test]
fn what_has_failed_may_be_tried_again() {
    run(|| async {
        let mut backends = Backends::start().await;
        let sidecar = Sidecar::start(backends.address, &toml("join", "")).await;
        let mut first = sidecar.request(&post(KEY, "{}")).await;
        let mut backend = backends.next().await;
        let mut second = sidecar.request(&post(KEY, "{}")).await;
        sleep(Duration::from_millis(5)).await;
        backend.bytes(2).await;
        backend
            .send("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
            .await;
        assert!(first.head().await.starts_with("HTTP/1.1 500 "));
        // On the same connection, which is kept.
        assert!(backend.head().await.starts_with("POST /v1/chat "));
        backend.bytes(2).await;
        backend
            .send([EVENTS.as_bytes(), &chunk(event(1)), LAST_CHUNK.as_bytes()].concat())
            .await;
        second.head().await;
        assert_eq!(second.chunk().await, "data: 1\n\n");
        // An ordinary answer is not kept either.
        let request = post("Idempotency-Key: k2\r\n", "{}");
        for _ in 0..2 {
            let mut client = sidecar.request(&request).await;
            backend.head().await;
            backend.bytes(2).await;
            backend
                .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                .await;
            client.head().await;
            assert_eq!(client.bytes(2).await, b"{}");
        }
    });
}

#[test]
fn the_second_may_be_refused_or_take_the_firsts_place() {
    for (second, has_head) in [
        ("reject", true),
        ("reject", false),
        ("replace", true),
        ("replace", false),
    ] {
        run(move || async move {
            let mut backends = Backends::start().await;
            let sidecar = Sidecar::start(backends.address, &toml(second, "")).await;
            let mut first = sidecar.request(&post(KEY, "{}")).await;
            let mut backend = backends.next().await;
            backend.bytes(2).await;
            if has_head {
                backend
                    .send([EVENTS.as_bytes(), &chunk(event(1))].concat())
                    .await;
                first.head().await;
                first.chunk().await;
            }
            // What takes its place may say something else.
            let body = if second == "replace" { "{ }" } else { "{}" };
            let mut client = sidecar.request(&post(KEY, body)).await;
            if second == "reject" {
                assert!(client.head().await.starts_with("HTTP/1.1 409 "));
                let rest = if has_head {
                    chunk(event(2))
                } else {
                    [EVENTS.as_bytes(), &chunk(event(2))].concat()
                };
                backend.send([rest, LAST_CHUNK.into()].concat()).await;
                if !has_head {
                    first.head().await;
                }
                assert_eq!(first.chunk().await, "data: 2\n\n");
                assert_eq!(first.chunk().await, "");
            } else {
                let asked = Instant::now();
                backend.closed().await;
                assert!(asked.elapsed() < Duration::from_millis(5));
                let mut backend = backends.next().await;
                backend
                    .send([EVENTS.as_bytes(), &chunk(event(7)), LAST_CHUNK.as_bytes()].concat())
                    .await;
                client.head().await;
                assert_eq!(client.chunk().await, "data: 7\n\n");
                assert_eq!(client.chunk().await, "");
                if has_head {
                    let (_, is_whole) = first.chunks().await;
                    assert!(!is_whole, "the first one is cut");
                } else {
                    assert!(first.head().await.starts_with("HTTP/1.1 409 "));
                }
            }
        });
    }
}

#[test]
fn equal_bodies_are_the_same_only_within_their_window_and_for_one_identity() {
    run(|| async {
        let mut backends = Backends::start().await;
        let sidecar = Sidecar::start(backends.address, &toml("join", "dedupe.body = \"2s\"")).await;
        let request = post("", "{}");
        let mut first = sidecar.request(&request).await;
        let mut backend = backends.next().await;
        backend
            .send([EVENTS.as_bytes(), &chunk(event(1))].concat())
            .await;
        first.head().await;
        sleep(Duration::from_secs(1)).await;
        let mut same = sidecar.request(&request).await;
        same.head().await;
        assert_eq!(same.chunk().await, "data: 1\n\n");
        for other in [
            request.replace("Bearer a", "Bearer b"),
            request.replace("Authorization: Bearer a\r\n", ""),
            request.replace("/v1/chat", "/v1/chat?x"),
        ] {
            let _client = sidecar.request(&other).await;
            backends.next().await;
        }
        sleep(Duration::from_millis(1100)).await;
        let _late = sidecar.request(&request).await;
        backends.next().await;
        backend.send(LAST_CHUNK).await;
        assert_eq!(same.chunk().await, "");
    });
}
