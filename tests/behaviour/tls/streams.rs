//! Event streams over TLS, and how they end.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};

use super::{GET, PLAIN, STREAM, Setup, VERSIONS, connect, say_goodbye, speak, tls_backend, url};
use crate::common::{
    Closed, EVENTS, GET_EVENTS, LAST_CHUNK, Sidecar, backend, chunk, full_sockets, moment, run,
    watched,
};

#[test]
fn an_event_stream_passes_with_its_heartbeats() {
    for versions in VERSIONS {
        for encrypted_upstream in [false, true] {
            run(move || async move {
                let setup = Setup::new();
                let sidecar = if encrypted_upstream {
                    let backend = tls_backend(setup.server(), speak).await;
                    let toml = setup.upstream("") + &setup.listener("");
                    Sidecar::in_front_of(&url(backend), &toml).await
                } else {
                    let backend = backend(speak).await;
                    Sidecar::start(backend, &setup.listener("")).await
                };
                let mut client = connect(&sidecar, setup.client(versions)).await;
                client.send(GET_EVENTS).await;
                client.head().await;
                let start = Instant::now();
                for n in 0..5 {
                    assert_eq!(client.chunk().await, format!("data: {n}\n\n"));
                    assert_eq!(start.elapsed(), Duration::from_secs(20 * n));
                    assert_eq!(client.chunk().await, ": heartbeat\n");
                    assert_eq!(start.elapsed(), Duration::from_secs(20 * n + 15));
                }
                assert_eq!(client.chunk().await, "");
            });
        }
    }
}

#[test]
fn an_encrypted_upstream_of_a_plain_listener() {
    run(|| async {
        let setup = Setup::new();
        let backend = tls_backend(setup.server(), |mut peer| async move {
            let head = peer.head().await.to_lowercase();
            assert!(head.contains("x-forwarded-proto: http\r\n"), "{head}");
            peer.send(STREAM).await;
            sleep(Duration::from_secs(1)).await;
            peer.send("data: y\n\n").await;
            peer.stream.shutdown().await.unwrap();
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        let (body, complete) = client.chunks().await;
        assert_eq!(body, b"data: x\n\ndata: y\n\n");
        assert!(complete);
    });
}

#[test]
fn a_client_that_leaves_cancels_its_request() {
    for says in ["", STREAM, PLAIN] {
        for pipelined in [false, true] {
            for how in ["in order", "close_notify", "FIN", "RST"] {
                if pipelined && how == "close_notify" {
                    continue; // it is behind bytes that may not be read yet
                }
                run(move || async move {
                    let setup = Setup::new();
                    let (backend, mut seen) = watched(says).await;
                    let sidecar = Sidecar::start(backend, &setup.listener("")).await;
                    let mut client = setup.request(&sidecar, GET_EVENTS).await;
                    if !says.is_empty() {
                        client.head().await;
                    }
                    sleep(Duration::from_millis(10)).await;
                    if pipelined {
                        client.send(GET).await;
                        sleep(Duration::from_millis(10)).await;
                    }
                    let left = Instant::now();
                    match how {
                        "in order" => client.stream.shutdown().await.unwrap(),
                        "close_notify" => say_goodbye(&mut client).await,
                        "FIN" => drop(client),
                        "RST" => {
                            let (stream, _) = client.stream.get_ref();
                            let socket = socket2::SockRef::from(stream);
                            socket.set_linger(Some(Duration::ZERO)).unwrap();
                            drop(client);
                        }
                        _ => unreachable!(),
                    }
                    let case = format!("{says:?}, {pipelined}, {how}");
                    let seen = timeout(Duration::from_secs(1), seen.recv()).await;
                    let (at, _) = seen
                        .unwrap_or_else(|_| panic!("never seen: {case}"))
                        .unwrap();
                    assert_eq!(at, left, "{case}");
                });
            }
        }
    }
}

/// How a backend ends a response over TLS.
#[derive(Debug, Clone, Copy)]
enum Ends {
    InOrder,
    /// Without `close_notify`.
    Cut,
}

#[test]
fn what_an_upstream_leaves_unfinished() {
    let whole = [
        EVENTS.as_bytes(),
        &chunk("data: x\n\n"),
        LAST_CHUNK.as_bytes(),
    ]
    .concat();
    let no_last_chunk = [EVENTS.as_bytes(), &chunk("data: x\n\n")].concat();
    let close = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it".to_vec();
    let half = [STREAM.as_bytes(), b"data: ha"].concat();
    let length = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
    for (says, ends, complete) in [
        (whole, Ends::Cut, true),
        (no_last_chunk, Ends::Cut, false),
        (STREAM.as_bytes().to_vec(), Ends::InOrder, true),
        (STREAM.as_bytes().to_vec(), Ends::Cut, true),
        (half.clone(), Ends::InOrder, true),
        (half, Ends::Cut, false),
        (PLAIN.as_bytes().to_vec(), Ends::InOrder, false),
        (close.clone(), Ends::InOrder, true),
        (close, Ends::Cut, false),
        (length, Ends::Cut, true),
    ] {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let says = says.clone();
            run(move || async move {
                let case = format!("{} {ends:?} {version}", says.escape_ascii());
                let setup = Setup::new();
                let backend = tls_backend(setup.server(), move |mut peer| {
                    let says = says.clone();
                    async move {
                        peer.head().await;
                        peer.send(says).await;
                        sleep(Duration::from_secs(1)).await;
                        if let Ends::InOrder = ends {
                            peer.stream.shutdown().await.unwrap();
                        }
                    }
                })
                .await;
                let toml = setup.upstream("") + &setup.listener("");
                let sidecar = Sidecar::in_front_of(&url(backend), &toml).await;
                let request = format!("GET / {version}\r\nHost: t\r\nConnection: close\r\n\r\n");
                let mut client = setup.request(&sidecar, &request).await;
                client.head().await;
                let (body, closed) = client.rest().await;
                match closed {
                    Closed::Fin => assert!(complete, "{case}"),
                    Closed::Cut | Closed::Reset => assert!(!complete, "{case}"),
                }
                if version == "HTTP/1.1" && body.starts_with(b"9\r\n") {
                    assert_eq!(body.ends_with(b"\r\n0\r\n\r\n"), complete, "{case}");
                }
            });
        }
    }
}

#[test]
fn what_an_upstream_leaves_unfinished_while_it_is_still_sent_to() {
    let chunked = [EVENTS.as_bytes(), &chunk("data: x\n\n")].concat();
    let half = [STREAM.as_bytes(), b"data: ha"].concat();
    for (says, complete, reason) in [
        (STREAM.as_bytes().to_vec(), true, ("complete", "none")),
        (half, false, ("upstream_closed", "upstream")),
        (chunked, false, ("upstream_closed", "upstream")),
    ] {
        run(move || async move {
            let setup = Setup::new();
            let backend = tls_backend(setup.server(), move |mut peer| {
                let says = says.clone();
                async move {
                    peer.until("the first part").await;
                    peer.send(says).await;
                    sleep(Duration::from_secs(1)).await;
                }
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
            let upload = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nthe first part";
            let mut client = sidecar.request(upload).await;
            client.head().await;
            assert_eq!(client.chunks().await.1, complete);
            assert!(
                (sidecar.ends(reason.0, reason.1) - 1.0).abs() < 0.1,
                "{reason:?}"
            );
        });
    }
}

#[test]
fn a_client_that_takes_nothing_is_dropped() {
    // Large events wait in hyper, small ones may wait in the TLS session alone.
    for size in [100_000, 100] {
        run(move || async move {
            let setup = Setup::new();
            let (stalled, mut seen) = moment();
            let backend = backend(move |mut peer| {
                let stalled = stalled.clone();
                async move {
                    peer.head().await;
                    peer.send(EVENTS).await;
                    let event = chunk(format!("data: {}\n\n", "x".repeat(size)));
                    for _ in 0..100_000_000 / size {
                        if peer.stream.write_all(&event).await.is_err() {
                            break;
                        }
                    }
                    stalled(peer.closed().await);
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, &setup.listener("")).await;
            let mut client = setup.request(&sidecar, GET_EVENTS).await;
            client.head().await;
            full_sockets(&sidecar).await;
            let start = Instant::now();
            let (at, _) = seen.recv().await.unwrap();
            let after = (at - start).as_secs_f64();
            assert!((29.9..38.0).contains(&after), "{after}");
            assert!((sidecar.ends("client_stalled", "client") - 1.0).abs() < 0.1);
        });
    }
}
