//! NTLM and Negotiate authenticate a connection, not a request. No client gets the connection of another one's login.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};

use crate::common::{Closed, Peer, Sidecar, backend, moment, run};
use crate::frames::{Frame, Kind, PSEUDO, Raw};

/// A backend that logs connections in, in two steps, as NTLM does; and when each of them was closed, by number.
async fn logging_in(scheme: &'static str) -> (SocketAddr, UnboundedReceiver<(Instant, usize)>) {
    let (gone, seen) = moment();
    let count = Rc::new(Cell::new(0));
    let backend = backend(move |mut peer| {
        let gone = gone.clone();
        count.set(count.get() + 1);
        let number = count.get();
        async move {
            let mut user = None;
            while let Some(head) = peer.try_head().await {
                let mut lines = head.lines();
                let credentials = lines.find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("authorization").then_some(value)
                });
                let step = credentials.and_then(|credentials| credentials.split_once(' '));
                let response = match (step, &user) {
                    (Some((_, "hello")), _) => challenge(&format!("{scheme} challenge")),
                    (Some((_, name)), _) => {
                        user = Some(name.to_owned());
                        welcome(number, name)
                    }
                    (None, Some(name)) => welcome(number, name),
                    (None, None) => challenge(scheme),
                };
                peer.send(response).await;
            }
            gone(number);
        }
    })
    .await;
    (backend, seen)
}

fn challenge(value: &str) -> String {
    format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {value}\r\nContent-Length: 0\r\n\r\n")
}

fn welcome(number: usize, name: &str) -> String {
    let text = format!("{name} on {number}.");
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// Sends a request with these credentials, and returns the status and the body.
async fn ask(client: &mut Peer, credentials: &str) -> (String, String) {
    let credentials = match credentials {
        "" => String::new(),
        credentials => format!("Authorization: {credentials}\r\n"),
    };
    client
        .send(format!("GET / HTTP/1.1\r\nHost: t\r\n{credentials}\r\n"))
        .await;
    let head = client.head().await;
    let body = if head.contains("200 OK") {
        client.until(".").await
    } else {
        String::new()
    };
    (head[9..12].to_owned(), body)
}

#[test]
fn a_login_is_its_clients_alone() {
    for scheme in ["NTLM", "Negotiate"] {
        run(move || async move {
            let (backend, mut gone) = logging_in(scheme).await;
            let sidecar = Sidecar::start(backend, "").await;
            let mut alice = sidecar.connect().await;
            assert_eq!(ask(&mut alice, "").await.0, "401");
            assert_eq!(ask(&mut alice, &format!("{scheme} hello")).await.0, "401");
            let logged_in = ("200".to_owned(), "alice on 1.".to_owned());
            assert_eq!(ask(&mut alice, &format!("{scheme} alice")).await, logged_in);
            // Idle for longer than a connection of the pool would be kept.
            sleep(Duration::from_secs(10)).await;
            assert_eq!(ask(&mut alice, "").await, logged_in);

            let mut bob = sidecar.connect().await;
            assert_eq!(ask(&mut bob, "").await.0, "401");
            assert_eq!(ask(&mut bob, &format!("{scheme} bob")).await.1, "bob on 2.");
            assert_eq!(ask(&mut alice, "").await, logged_in);

            let left = Instant::now();
            drop(alice);
            let (at, number) = gone.recv().await.unwrap();
            assert!(
                number == 1 && at - left < Duration::from_millis(50),
                "{number} {:?}",
                at - left
            );
            assert_eq!(ask(&mut bob, "").await.1, "bob on 2.");
            assert!(gone.try_recv().is_err());
        });
    }
}

#[test]
fn a_login_that_comes_at_once_is_not_shared_either() {
    run(|| async {
        let (backend, _gone) = logging_in("NTLM").await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut alice = sidecar.connect().await;
        assert_eq!(ask(&mut alice, "NTLM alice").await.1, "alice on 1.");
        let mut bob = sidecar.connect().await;
        assert_eq!(ask(&mut bob, "").await.0, "401");
    });
}

#[test]
fn a_login_that_its_backend_has_ended_is_over() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.send(challenge("NTLM")).await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.connect().await;
        for _ in 0..3 {
            assert_eq!(ask(&mut client, "").await.0, "401");
            sleep(Duration::from_millis(10)).await;
        }
        drop(client);
    });
}

#[test]
fn other_schemes_share_their_connections() {
    run(|| async {
        let (backend, mut gone) = logging_in("Basic realm=\"NTLM\"").await;
        let sidecar = Sidecar::start(backend, "").await;
        for name in ["alice", "bob"] {
            let mut client = sidecar.connect().await;
            assert_eq!(
                ask(&mut client, &format!("Basic {name}")).await.1,
                format!("{name} on 1.")
            );
            drop(client);
        }
        assert!(gone.try_recv().is_err());
        let mut client = sidecar.connect().await;
        client
            .send("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(client.closed().await, Closed::Fin);
    });
}

/// Requests of many users may share an HTTP/2 connection.
#[test]
fn a_login_over_http2_is_not_shared() {
    run(|| async {
        let (backend, mut gone) = logging_in("NTLM").await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = Raw::connect(&sidecar).await;
        client.settings(&[]).await;
        let alice = [&PSEUDO[..], &[("authorization", "NTLM alice")]].concat();
        client.send(Frame::request(1, &alice)).await;
        assert_eq!(client.next_of(Kind::Data).await.payload, b"alice on 1.");
        assert_eq!(gone.recv().await.unwrap().1, 1);
        for stream in [3, 5] {
            client.send(Frame::request(stream, &PSEUDO)).await;
            let head = client.next_of(Kind::Headers).await;
            assert_ne!(head.payload[0], 0x88, "it is not `:status: 200`");
        }
    });
}
