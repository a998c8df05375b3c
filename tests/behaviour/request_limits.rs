//! How much of the backend one client may have.

use std::time::Duration;

use tokio::time::sleep;

use crate::common::{EVENTS, Peer, Sidecar, backend, chunk, run};
use crate::either::Connection;

const TRUSTING: &str = "[server]\ntrusted_proxies = ['127.0.0.1']\n";

/// A sidecar in front of a backend that answers as the path says.
async fn limited(limits: &str) -> Sidecar {
    let backend = backend(|mut peer| async move {
        while let Some(head) = peer.try_head().await {
            if head.contains(" /events ") {
                peer.send(EVENTS).await;
                peer.send(chunk("data: 1\n\n")).await;
                peer.closed().await;
                return;
            }
            if head.contains(" /upgrade ") {
                peer.send(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
                )
                .await;
                peer.closed().await;
                return;
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
        }
    })
    .await;
    Sidecar::start(backend, &format!("{TRUSTING}{limits}")).await
}

/// Sends a request as `client`, and returns the response's head; the connection stays open as long as the other half lives.
async fn ask(sidecar: &Sidecar, path: &str, client: &str, more: &str) -> (String, Peer) {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n{more}\r\n");
    let mut peer = sidecar.request(&request).await;
    (peer.head().await, peer)
}

async fn status(sidecar: &Sidecar, path: &str, client: &str, more: &str) -> String {
    let (head, _) = ask(sidecar, path, client, more).await;
    head.split(' ').nth(1).unwrap().to_owned()
}

fn retry_after(head: &str) -> u64 {
    let value = head.split("retry-after: ").nth(1);
    let value = value.unwrap_or_else(|| panic!("no Retry-After: {head}"));
    value.split("\r\n").next().unwrap().parse().unwrap()
}

#[test]
fn a_client_that_asks_too_often_is_told_when_to_come_back_and_others_are_not() {
    run(|| async {
        let sidecar = limited("[limits]\nrequests_per_client = '1/s, burst 3'\n").await;
        for _ in 0..3 {
            assert_eq!(status(&sidecar, "/", "192.0.2.1", "").await, "200");
        }
        let (head, mut peer) = ask(&sidecar, "/", "192.0.2.1", "").await;
        assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
        assert!((1..=2).contains(&retry_after(&head)), "{head}");
        assert!(
            peer.until("}")
                .await
                .contains("\"reason\":\"too_many_requests\"")
        );
        assert_eq!(status(&sidecar, "/events", "192.0.2.1", "").await, "429");
        assert_eq!(status(&sidecar, "/", "192.0.2.2", "").await, "200");
        let http2 = Connection::to(&sidecar).await;
        let with = |client| http::Request::get("http://a/").header("x-forwarded-for", client);
        let refused = http2.get(with("192.0.2.1")).await.unwrap();
        assert_eq!(refused.head.status, 429);
        assert!(refused.head.headers.contains_key("retry-after"));
        assert_eq!(
            http2.get(with("2001:db8::1")).await.unwrap().head.status,
            200
        );
        sleep(Duration::from_secs(1)).await;
        assert_eq!(status(&sidecar, "/", "192.0.2.1", "").await, "200");
        assert_eq!(status(&sidecar, "/", "192.0.2.1", "").await, "429");
    });
}

#[test]
fn a_whole_ipv6_network_is_one_client_and_so_is_a_key() {
    run(|| async {
        let sidecar = limited("[limits]\nrequests_per_client = '1/m'\n").await;
        assert_eq!(status(&sidecar, "/", "2001:db8::1", "").await, "200");
        assert_eq!(status(&sidecar, "/", "2001:db8::2", "").await, "429");
        assert_eq!(status(&sidecar, "/", "2001:db8:0:1::1", "").await, "200");
        let toml = "[limits]\nrequests_per_client = '1/m'\nby = 'header:X-Api-Key'\n";
        let sidecar = limited(toml).await;
        let key = "X-Api-Key: one\r\n";
        assert_eq!(status(&sidecar, "/", "192.0.2.1", key).await, "200");
        assert_eq!(status(&sidecar, "/", "192.0.2.2", key).await, "429");
        assert_eq!(
            status(&sidecar, "/", "192.0.2.2", "X-Api-Key: two\r\n").await,
            "200"
        );
        assert_eq!(status(&sidecar, "/", "192.0.2.2", "").await, "200");
        assert_eq!(status(&sidecar, "/", "192.0.2.2", "").await, "429");
    });
}

#[test]
fn routes_share_the_limits_of_the_top_level_and_count_their_own_apart() {
    run(|| async {
        let routes = "[[route]]\npath = '/a'\n[[route]]\npath = '/b'\nlimits.requests_per_client = '2/m'\n\
            [[route]]\npath = '/c'\nlimits.requests_per_client = 'off'\n";
        let toml = format!("[limits]\nrequests_per_client = '1/m'\n{routes}");
        let sidecar = limited(&toml).await;
        for (path, expected) in [
            ("/", "200"),
            ("/a", "429"),
            ("/b", "200"),
            ("/b", "200"),
            ("/b", "429"),
            ("/c", "200"),
            ("/c", "200"),
        ] {
            assert_eq!(
                status(&sidecar, path, "192.0.2.1", "").await,
                expected,
                "{path}"
            );
        }
    });
}

#[test]
fn so_many_streams_are_open_and_one_that_ends_makes_room() {
    run(|| async {
        let sidecar = limited("[limits]\nstreams_per_client = 2\n").await;
        let asks = "Accept: text/event-stream\r\n";
        // Whether a response is a stream may show only when it comes.
        let (first, one) = ask(&sidecar, "/events", "192.0.2.1", asks).await;
        let (second, two) = ask(&sidecar, "/events", "192.0.2.1", "").await;
        assert!(first.starts_with("HTTP/1.1 200") && second.starts_with("HTTP/1.1 200"));
        let upgrade = "Connection: upgrade\r\nUpgrade: x\r\n";
        for more in ["", asks] {
            let (head, mut peer) = ask(&sidecar, "/events", "192.0.2.1", more).await;
            assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
            assert!((5..=10).contains(&retry_after(&head)), "{head}");
            assert!(
                peer.until("}")
                    .await
                    .contains("\"reason\":\"too_many_streams\"")
            );
        }
        assert_eq!(
            status(&sidecar, "/upgrade", "192.0.2.1", upgrade).await,
            "429"
        );
        assert_eq!(
            status(&sidecar, "/", "192.0.2.1", "").await,
            "200",
            "it is no stream"
        );
        assert_eq!(status(&sidecar, "/events", "192.0.2.2", asks).await, "200");
        let http2 = Connection::to(&sidecar).await;
        let events = http::Request::get("http://a/events").header("x-forwarded-for", "192.0.2.1");
        assert_eq!(http2.get(events).await.unwrap().head.status, 429);
        drop(one);
        sleep(Duration::from_millis(100)).await;
        let (head, three) = ask(&sidecar, "/upgrade", "192.0.2.1", upgrade).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(status(&sidecar, "/events", "192.0.2.1", "").await, "429");
        drop((two, three));
        sleep(Duration::from_millis(100)).await;
        for _ in 0..5 {
            assert_eq!(status(&sidecar, "/events", "192.0.2.1", "").await, "200");
            sleep(Duration::from_millis(100)).await; // its client has left
        }
    });
}

#[test]
fn a_body_that_is_too_long_is_refused_before_or_while_it_comes() {
    run(|| async {
        let (came, mut seen) = crate::common::moment();
        let backend = backend(move |mut peer| {
            let came = came.clone();
            async move {
                while let Some(head) = peer.try_head().await {
                    let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
                    let (body, is_whole) = if is_chunked {
                        peer.chunks().await
                    } else {
                        (peer.bytes(10).await, true)
                    };
                    came((body.len(), is_whole));
                    if !is_whole {
                        return;
                    }
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .await;
                }
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "[limits]\nrequest_body = '10B'\n").await;
        let post = async |fields: &str, body: Vec<u8>| {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
            let mut peer = sidecar.request(&head).await;
            peer.send(body).await;
            peer.head().await
        };
        let head = post("Content-Length: 11", b"01234567890".to_vec()).await;
        assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
        assert!(
            seen.try_recv().is_err(),
            "the backend has seen nothing of it"
        );
        let waits = post("Content-Length: 11\r\nExpect: 100-continue", Vec::new()).await;
        assert!(waits.starts_with("HTTP/1.1 413 "), "{waits}");
        let head = post("Content-Length: 10", b"0123456789".to_vec()).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(seen.recv().await.unwrap().1, (10, true));
        let chunks = [chunk("01234"), chunk("56789")].concat();
        let whole = [&chunks[..], b"0\r\n\r\n"].concat();
        let head = post("Transfer-Encoding: chunked", whole).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(seen.recv().await.unwrap().1, (10, true));
        let longer = [&chunks[..], &chunk("x"), b"0\r\n\r\n"].concat();
        let head = post("Transfer-Encoding: chunked", longer).await;
        assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
        let (length, is_whole) = seen.recv().await.unwrap().1;
        assert!(length <= 10 && !is_whole, "it was cut: {length}");
        let http2 = Connection::to(&sidecar).await;
        let mut asker = http2.ask("01234567890").await;
        let head = asker.head().await;
        assert!(head.starts_with("http/2 413"), "{head}");
    });
}
