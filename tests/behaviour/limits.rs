//! What a client may send, and how long its connection is used.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;

use crate::common::{Closed, EVENTS, GET_EVENTS, LAST_CHUNK, Sidecar, backend, chunk, run};

const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn answering() -> SocketAddr {
    backend(|mut peer| async move {
        loop {
            peer.head().await;
            peer.send(OK).await;
        }
    })
    .await
}

/// A request whose head has so many bytes.
fn head_of(length: usize) -> String {
    let head = |value: &str| format!("GET / HTTP/1.1\r\nHost: t\r\nX: {value}\r\n\r\n");
    head(&"x".repeat(length - head("").len()))
}

#[test]
fn the_length_of_a_request_head() {
    for (toml, limit) in [
        ("", 65_536),
        ("server.max_request_head = 1024", 1024),
        ("server.max_request_head = 200000", 200_000),
    ] {
        run(move || async move {
            let sidecar = Sidecar::start(answering().await, toml).await;
            let mut client = sidecar.connect().await;
            for _ in 0..2 {
                client.send(head_of(limit)).await;
                assert_eq!(client.head().await + &client.until("ok").await, OK);
            }
            client.send(head_of(limit + 1)).await;
            assert!(client.head().await.starts_with("HTTP/1.1 431 "), "{limit}");
            let says = format!("the request head is longer than {limit} bytes");
            assert!(client.until("}").await.contains(&says));
        });
    }
}

#[test]
fn the_number_of_request_headers() {
    for (toml, limit) in [
        ("", 100),
        ("server.max_request_headers = 10", 10),
        ("server.max_request_headers = 1000", 1000),
    ] {
        run(move || async move {
            let request = |fields: usize| {
                format!(
                    "GET / HTTP/1.1\r\nHost: t\r\n{}\r\n",
                    "X: y\r\n".repeat(fields - 1)
                )
            };
            let sidecar = Sidecar::start(answering().await, toml).await;
            let mut client = sidecar.connect().await;
            client.send(request(limit)).await;
            assert_eq!(client.head().await + &client.until("ok").await, OK);
            client.send(request(limit + 1)).await;
            assert!(client.head().await.starts_with("HTTP/1.1 431 "), "{limit}");
            assert!(client.until("}").await.contains("request_head_too_large"));
        });
    }
}

#[test]
fn the_length_of_a_target() {
    run(|| async {
        let sidecar = Sidecar::start(answering().await, "server.max_request_head = 100000").await;
        let target = "x".repeat(65_535);
        let mut client = sidecar
            .request(&format!("GET /{target} HTTP/1.1\r\nHost: t\r\n\r\n"))
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 414 "));
        assert!(client.until("}").await.contains("request_uri_too_long"));
    });
}

#[test]
fn an_old_connection_ends_with_its_next_response() {
    run(|| async {
        let sidecar = Sidecar::start(answering().await, "timeouts.connection_age = \"100s\"").await;
        let mut client = sidecar.connect().await;
        for _ in 0..2 {
            client.send(GET).await;
            assert_eq!(client.head().await + &client.until("ok").await, OK);
            sleep(Duration::from_secs(44)).await;
        }
        sleep(Duration::from_secs(12)).await; // 100 s in all
        client.send(GET.repeat(2)).await;
        let head = client.head().await;
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        client.until("ok").await;
        assert_eq!(client.rest().await, (Vec::new(), Closed::Fin));
    });
}

#[test]
fn age_ends_nothing_that_is_open() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            loop {
                peer.head().await;
                peer.send(EVENTS).await;
                sleep(Duration::from_secs(20)).await;
                peer.send([chunk("data: x\n\n"), LAST_CHUNK.into()].concat())
                    .await;
            }
        })
        .await;
        let toml = "timeouts.connection_age = \"10s\"\nheartbeat.interval = \"off\"";
        let sidecar = Sidecar::start(backend, toml).await;
        let mut client = sidecar.get_events().await;
        let head = client.head().await;
        assert!(!head.to_lowercase().contains("connection"), "{head}");
        assert_eq!(client.chunk().await, "data: x\n\n");
        assert_eq!(client.chunk().await, "");
        client.send(GET_EVENTS).await;
        let head = client.head().await;
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        assert_eq!(client.chunk().await, "data: x\n\n");
        assert_eq!(client.chunk().await, "");
        assert_eq!(client.closed().await, Closed::Fin);
    });
}

#[test]
fn connections_that_opened_together_do_not_end_together() {
    run(|| async {
        let toml = "timeouts = { connection_age = \"20s\", request_head = \"off\" }";
        let sidecar = Sidecar::start(answering().await, toml).await;
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(sidecar.connect().await);
        }
        sleep(Duration::from_secs(19)).await; // half of the tenth that is left to chance
        let mut ended = 0;
        for client in &mut clients {
            client.send(GET).await;
            ended += usize::from(client.head().await.contains("connection: close"));
            client.until("ok").await;
        }
        assert!((10..90).contains(&ended), "{ended}");
    });
}

#[test]
fn a_connection_may_be_used_for_ever() {
    run(|| async {
        let toml = "timeouts = { connection_age = \"off\", keep_alive = \"off\" }";
        let sidecar = Sidecar::start(answering().await, toml).await;
        let mut client = sidecar.connect().await;
        for _ in 0..3 {
            client.send(GET).await;
            assert_eq!(client.head().await + &client.until("ok").await, OK);
            sleep(Duration::from_hours(1000)).await;
        }
    });
}
