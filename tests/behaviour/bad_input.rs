//! Bad input gets a clear error, reaches no backend, and costs no other stream anything.

use std::net::SocketAddr;

use crate::common::{Closed, EVENTS, LAST_CHUNK, Sidecar, backend, backend_that_says, chunk, run};

/// A backend that must never be reached.
async fn unreached() -> SocketAddr {
    backend(|mut peer| async move { panic!("the backend got {:?}", peer.until("\r\n").await) })
        .await
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn malformed_requests_are_refused_and_never_reach_the_backend() {
    for (what, request, status, says) in [
        (
            "bare LF",
            "GET / HTTP/1.1\nHost: t\n\n",
            400,
            "LF without CR",
        ),
        (
            "bare CR",
            "GET / HTTP/1.1\r\nHost: t\rX: y\r\n\r\n",
            400,
            "CR that is not followed by LF",
        ),
        (
            "obs-fold",
            "GET / HTTP/1.1\r\nHost: t\r\n folded\r\n\r\n",
            400,
            "folded",
        ),
        (
            "space before colon",
            "GET / HTTP/1.1\r\nHost : t\r\n\r\n",
            400,
            "whitespace before its colon",
        ),
        (
            "fragment",
            "GET /a#b HTTP/1.1\r\nHost: t\r\n\r\n",
            400,
            "fragment",
        ),
        (
            "control character",
            "GET / HTTP/1.1\r\nHost: t\r\nX: \0\r\n\r\n",
            400,
            "control character",
        ),
        (
            "length and coding",
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "both",
        ),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            400,
            "request_malformed",
        ),
        (
            "a signed length",
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: +3\r\n\r\n",
            400,
            "request_malformed",
        ),
        (
            "not chunked at last",
            "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip\r\n\r\n",
            400,
            "request_malformed",
        ),
        (
            "chunked twice",
            "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "not just `chunked`",
        ),
        (
            "a transfer coding besides chunked",
            "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            400,
            "not just `chunked`",
        ),
        (
            "no Host",
            "GET / HTTP/1.1\r\n\r\n",
            400,
            "Host header field is missing",
        ),
        (
            "two Hosts",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            400,
            "more than one Host",
        ),
        (
            "a Host that is none",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            400,
            "is no host",
        ),
        (
            "another host in the target",
            "GET http://example.com/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
            400,
            "another host than the target",
        ),
        (
            "another port in the target",
            "GET http://example.com:8080/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
            400,
            "another host than the target",
        ),
        (
            "user information in the target",
            "GET http://user@example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
            400,
            "user information",
        ),
        (
            "a host for a target",
            "GET example.com HTTP/1.1\r\nHost: example.com\r\n\r\n",
            400,
            "neither a path nor a URL",
        ),
        ("no version", "GET /\r\n\r\n", 400, "request_malformed"),
        (
            "a version that is none",
            "GET / HTTP/3.1\r\nHost: t\r\n\r\n",
            400,
            "request_malformed",
        ),
        (
            "no HTTP at all",
            "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
            400,
            "request_malformed",
        ),
        (
            "CONNECT",
            "CONNECT t:443 HTTP/1.1\r\nHost: t\r\n\r\n",
            405,
            "CONNECT is refused",
        ),
    ] {
        run(move || async move {
            let sidecar = Sidecar::start(unreached().await, "").await;
            let mut client = sidecar.request(request).await;
            let head = client.head().await;
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status} ")),
                "{what}: {head}"
            );
            assert!(head.contains("application/problem+json"), "{what}: {head}");
            let body = client.until("}").await;
            assert!(body.contains(says), "{what}: {body}");
        });
    }
}

#[test]
fn heads_that_are_too_large_are_refused() {
    for (what, request) in [
        (
            "one long field",
            format!(
                "GET / HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n",
                "x".repeat(70_000)
            ),
        ),
        (
            "many fields",
            format!(
                "GET / HTTP/1.1\r\nHost: t\r\n{}\r\n",
                "X: y\r\n".repeat(101)
            ),
        ),
        (
            "no end",
            format!("GET / HTTP/1.1\r\nHost: t\r\n{}", "X: y\r\n".repeat(12_000)),
        ),
    ] {
        run(move || async move {
            let sidecar = Sidecar::start(unreached().await, "").await;
            let mut client = sidecar.request(&request).await;
            let head = client.head().await;
            assert!(head.starts_with("HTTP/1.1 431 "), "{what}: {head}");
            assert!(
                client.until("}").await.contains("request_head_too_large"),
                "{what}"
            );
        });
    }
}

#[test]
fn what_follows_a_refused_head_is_not_read_as_a_request() {
    run(|| async {
        let sidecar = Sidecar::start(unreached().await, "").await;
        let mut client = sidecar
            .request("GET / HTTP/1.1\r\nHost : t\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n")
            .await;
        let (answer, closed) = client.rest().await;
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert_eq!(closed, Closed::Fin);
    });
}

#[test]
fn a_body_that_is_not_chunked_as_it_says() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.closed().await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar
            .request("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 400 "));
        assert!(client.until("}").await.contains("request_body_failed"));
    });
}

#[test]
fn an_upstream_that_speaks_garbage_is_a_bad_gateway() {
    for (garbage, reason) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", "upstream_invalid_head"),
        ("HTTP/1.1 abc\r\n\r\n", "upstream_invalid_head"),
        (
            "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
            "upstream_invalid_head",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "upstream_invalid_head",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "upstream_invalid_head",
        ),
        ("HTTP/1.1 200 OK\r\nX: ha", "upstream_closed_before_head"),
        ("", "upstream_closed_before_head"),
    ] {
        run(move || async move {
            let backend = backend(move |mut peer| async move {
                peer.head().await;
                peer.send(garbage).await;
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            let mut client = sidecar.get_events().await;
            let head = client.head().await;
            assert!(head.starts_with("HTTP/1.1 502 "), "{garbage:?}: {head}");
            let body = client.until("}").await;
            assert!(
                body.contains(&format!("\"reason\":\"{reason}\",\"side\":\"upstream\"")),
                "{garbage:?}: {body}"
            );
        });
    }
}

#[test]
fn an_upstream_head_without_end_is_a_bad_gateway() {
    run(|| async {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{}",
            "X: y\r\n".repeat(20_000)
        );
        let sidecar = Sidecar::start(backend_that_says(head).await, "").await;
        let mut client = sidecar.get_events().await;
        assert!(client.head().await.starts_with("HTTP/1.1 502 "));
    });
}

#[test]
fn an_upstream_that_is_not_there() {
    run(|| async {
        let nobody = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let sidecar = Sidecar::start(nobody, "").await;
        let mut client = sidecar.get_events().await;
        assert!(client.head().await.starts_with("HTTP/1.1 502 "));
        assert!(client.until("}").await.contains("upstream_unreachable"));
        // The connection continues.
        client
            .send("GET / HTTP/1.1\r\nHost: t\r\nAccept: text/plain\r\n\r\n")
            .await;
        assert!(client.head().await.contains("text/plain"));
        client.until("(upstream_unreachable)").await;
    });
}

#[test]
fn an_upstream_that_breaks_its_chunks_is_an_abort() {
    run(|| async {
        let says = [
            EVENTS.as_bytes(),
            &chunk("data: x\n\n"),
            b"not a size\r\n",
            LAST_CHUNK.as_bytes(),
        ]
        .concat();
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        assert!(!client.chunks().await.1);
        assert!((sidecar.ends("upstream_failed", "upstream") - 1.0).abs() < 0.1);
    });
}

#[test]
fn a_request_that_no_route_takes() {
    run(|| async {
        let toml = r#"
            [[route]]
            path = "/api"
            upstream.url = "http://127.0.0.1:1"
        "#;
        let overrides = sse_sidecar::config::Overrides::default();
        let (config, _) = sse_sidecar::config::parse(toml, "test.toml", &overrides).unwrap();
        let sidecar = Sidecar::with_config(&config).await;
        let mut client = sidecar.get_events().await;
        assert!(client.head().await.starts_with("HTTP/1.1 404 "));
        assert!(
            client
                .until("}")
                .await
                .contains("\"reason\":\"no_route\",\"side\":\"proxy\"")
        );
    });
}
