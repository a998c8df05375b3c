//! Connections to a backend that restarts, that closes them when they are idle, or that answers slowly.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use crate::common::{Peer, Sidecar, backend, moment, run, unanswering};

const ORDINARY: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const EVENTS: &str = "GET / HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A backend whose port refuses connections until `after` has passed, and then responds.
fn restarting(after: Duration) -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    spawn_local(async move {
        sleep(after).await;
        let listener = socket.listen(16).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            spawn_local(async move {
                let mut peer = Peer::new(stream);
                while peer.try_head().await.is_some() {
                    peer.send(OK).await;
                }
            });
        }
    });
    address
}

/// The status of the answer to `request`, and after how many milliseconds it came.
async fn answer(sidecar: &Sidecar, request: &str) -> (String, u128) {
    let start = Instant::now();
    let head = sidecar.request(request).await.head().await;
    (head[9..12].to_owned(), start.elapsed().as_millis())
}

#[test]
fn a_backend_that_restarts_is_waited_for() {
    for (toml, request, restart, status, at) in [
        // Who asks for events waits as long as `connect` says, others for a second.
        ("", EVENTS, 3_000, "200", 3_000..=3_700),
        ("", EVENTS, 7_000, "502", 5_000..=5_050),
        (
            "timeouts.connect = \"9s\"",
            EVENTS,
            7_000,
            "200",
            7_000..=7_700,
        ),
        (
            "events.streaming = true",
            ORDINARY,
            3_000,
            "200",
            3_000..=3_700,
        ),
        ("", ORDINARY, 500, "200", 500..=1_000),
        ("", ORDINARY, 3_000, "502", 1_000..=1_050),
        (
            "timeouts.connect_retry = \"4s\"",
            ORDINARY,
            3_000,
            "200",
            3_000..=3_700,
        ),
        (
            "timeouts.connect_retry = \"off\"",
            EVENTS,
            3_000,
            "502",
            0..=50,
        ),
        (
            "timeouts.connect = \"off\"",
            EVENTS,
            60_000,
            "200",
            60_000..=60_700,
        ),
    ] {
        run(move || async move {
            let backend = restarting(Duration::from_millis(restart));
            let sidecar = Sidecar::start(backend, toml).await;
            let (got, after) = answer(&sidecar, request).await;
            assert!(
                got == status && at.contains(&after),
                "{toml} {request}: {got} after {after} ms"
            );
        });
    }
}

#[test]
fn a_body_is_not_lost_while_its_backend_restarts() {
    run(|| async {
        let sidecar = Sidecar::start(restarting(Duration::from_millis(500)), "").await;
        let body = "x".repeat(300_000);
        let request = format!(
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(answer(&sidecar, &request).await.0, "200");
    });
}

#[test]
fn a_client_that_leaves_meanwhile_is_forgotten() {
    run(|| async {
        let sidecar = Sidecar::start(restarting(Duration::from_secs(600)), "").await;
        let client = sidecar.request(EVENTS).await;
        sleep(Duration::from_secs(2)).await;
        drop(client);
        sleep(Duration::from_millis(100)).await;
        let cancels = sidecar.metric("sse_sidecar_upstream_cancels_total{phase=\"connecting\"}");
        assert!((cancels - 1.0).abs() < f64::EPSILON, "{cancels}");
    });
}

#[test]
fn a_backend_that_does_not_answer_has_the_whole_timeout() {
    run(|| async {
        let (backend, _full) = unanswering();
        let sidecar = Sidecar::start(backend, "").await;
        let (status, after) = answer(&sidecar, EVENTS).await;
        assert!(
            status == "504" && (5_000..5_100).contains(&after),
            "{status} after {after}"
        );
    });
}

/// Which of the backend's connections answers each of these requests, sent one after the other with such pauses between them.
async fn connections_of(response: &'static str, requests: &[&str], pause: Duration) -> Vec<usize> {
    let (answered, mut seen) = moment();
    let count = std::rc::Rc::new(std::cell::Cell::new(0));
    let backend = backend(move |mut peer| {
        let answered = answered.clone();
        count.set(count.get() + 1);
        let number = count.get();
        async move {
            while peer.try_head().await.is_some() {
                answered(number);
                peer.send(response).await;
            }
        }
    })
    .await;
    let sidecar = Sidecar::start(backend, "timeouts.keep_alive = \"off\"").await;
    let mut client = sidecar.connect().await;
    let mut connections = Vec::new();
    for request in requests {
        client.send(request).await;
        client.until("ok").await;
        connections.push(seen.recv().await.unwrap().1);
        sleep(pause).await;
    }
    connections
}

#[test]
fn what_cannot_be_repeated_takes_no_connection_that_may_be_about_to_close() {
    run(|| async {
        let post = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n";
        let put = "PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n";
        let large = "PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let pause = Duration::from_millis(1_500);
        let connections = connections_of(OK, &[ORDINARY, ORDINARY, put, post, large], pause).await;
        assert_eq!(connections, [1, 1, 1, 2, 3]);
        let soon = Duration::from_millis(500);
        let connections = connections_of(OK, &[post, post, ORDINARY, post], soon).await;
        assert_eq!(connections, [1, 1, 1, 1]);
    });
}

#[test]
fn a_connection_is_not_used_longer_than_its_backend_keeps_it() {
    run(|| async {
        const TWO: &str =
            "HTTP/1.1 200 OK\r\nKeep-Alive: max=9, Timeout=2\r\nContent-Length: 2\r\n\r\nok";
        const ONE: &str = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok";
        const ODD: &str =
            "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=soon\r\nContent-Length: 2\r\n\r\nok";
        let requests = [ORDINARY, ORDINARY, ORDINARY];
        for (response, pause, expected) in [
            (TWO, 900, [1, 1, 1]),
            (TWO, 1_100, [1, 2, 3]),
            (ONE, 400, [1, 1, 1]),
            (ONE, 600, [1, 2, 3]),
            (ODD, 3_000, [1, 1, 1]),
        ] {
            let connections =
                connections_of(response, &requests, Duration::from_millis(pause)).await;
            assert_eq!(connections, expected, "{response} {pause}");
        }
    });
}

/// Answers the first request of a connection, and closes it when the second one comes.
async fn closes_on_the_second() -> (
    SocketAddr,
    tokio::sync::mpsc::UnboundedReceiver<(Instant, String)>,
) {
    let (said, seen) = moment();
    let backend = backend(move |mut peer| {
        let said = said.clone();
        async move {
            let head = peer.head().await;
            let body = if head.contains("ontent-Length: 5") {
                peer.bytes(5).await
            } else {
                Vec::new()
            };
            said(format!(
                "{} {}",
                &head[..3],
                String::from_utf8(body).unwrap()
            ));
            peer.send(OK).await;
            peer.head().await; // and then the end
        }
    })
    .await;
    (backend, seen)
}

#[test]
fn what_may_be_repeated_is_sent_again_when_its_connection_closes() {
    for (request, again) in [
        (
            "PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
            Some("PUT hello"),
        ),
        (
            "DELETE / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
            Some("DEL hello"),
        ),
        (ORDINARY, Some("GET ")),
        (
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
            None,
        ),
    ] {
        run(move || async move {
            let (backend, mut seen) = closes_on_the_second().await;
            let sidecar = Sidecar::start(backend, "").await;
            let mut client = sidecar.request(ORDINARY).await;
            client.until("ok").await;
            seen.recv().await.unwrap();
            client.send(request).await;
            let head = client.head().await;
            if let Some(again) = again {
                assert!(head.starts_with("HTTP/1.1 200"), "{request}: {head}");
                assert_eq!(seen.recv().await.unwrap().1, again);
            } else {
                assert!(head.starts_with("HTTP/1.1 502"), "{request}: {head}");
                assert!(seen.try_recv().is_err());
            }
        });
    }
}
