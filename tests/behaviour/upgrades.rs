//! Connections that switch protocols.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::common::{Closed, Sidecar, backend, moment, run, watched};

const WEBSOCKET: &str = "GET /chat HTTP/1.1\r\nHost: t\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Key: x\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: y\r\n\r\n";

#[test]
fn bytes_pass_both_ways_from_the_first_one_on() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            let head = peer.head().await.to_lowercase();
            assert!(
                head.contains("connection: upgrade\r\n") && head.contains("upgrade: websocket\r\n"),
                "{head}"
            );
            assert!(head.contains("sec-websocket-key: x\r\n"), "{head}");
            peer.send([SWITCHING, "first from the server"].concat())
                .await;
            peer.until("first from the client").await;
            for n in 0..100 {
                peer.send(format!("ping {n}\r\n\r\n")).await;
                peer.until(&format!("pong {n}")).await;
            }
            assert_eq!(peer.closed().await, Closed::Fin);
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        // What the client sends before it has the answer waits for it.
        let mut client = sidecar
            .request(&[WEBSOCKET, "first from the client"].concat())
            .await;
        let head = client.head().await.to_lowercase();
        assert!(
            head.starts_with("http/1.1 101 ") && head.contains("connection: upgrade\r\n"),
            "{head}"
        );
        assert!(
            head.contains("sec-websocket-accept: y\r\n") && !head.contains("transfer-encoding"),
            "{head}"
        );
        client.until("first from the server").await;
        for n in 0..100 {
            client.until(&format!("ping {n}\r\n\r\n")).await;
            client.send(format!("pong {n}")).await;
        }
    });
}

#[test]
fn no_timeout_ends_a_tunnel() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.send(SWITCHING).await;
            peer.until("still here").await;
            peer.send("so am I").await;
            peer.closed().await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.request(WEBSOCKET).await;
        client.head().await;
        tokio::time::sleep(Duration::from_secs(100_000)).await;
        client.send("still here").await;
        client.until("so am I").await;
    });
}

#[test]
fn a_half_closed_tunnel_does_not_stay_for_ever() {
    for client_ends in [true, false] {
        run(move || async move {
            let (gone, mut seen) = moment();
            let backend = backend(move |mut peer| {
                let gone = gone.clone();
                async move {
                    use tokio::io::AsyncWriteExt;
                    peer.head().await;
                    peer.send(SWITCHING).await;
                    if client_ends {
                        for _ in 0..3 {
                            tokio::time::sleep(Duration::from_secs(6)).await;
                            peer.send("more;").await; // what moves is not silent
                        }
                    } else {
                        peer.stream.shutdown().await.unwrap();
                    }
                    peer.closed().await;
                    gone(());
                    tokio::time::sleep(Duration::from_secs(1000)).await;
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, "timeouts.read = \"7s\"").await;
            let mut client = sidecar.request(WEBSOCKET).await;
            client.head().await;
            let start = Instant::now();
            if client_ends {
                use tokio::io::AsyncWriteExt;
                client.stream.shutdown().await.unwrap();
                assert_eq!(
                    client.rest().await,
                    (b"more;more;more;".to_vec(), Closed::Fin)
                );
                assert_eq!(start.elapsed().as_secs(), 18 + 7);
            } else {
                seen.recv().await.unwrap();
                assert_eq!(start.elapsed().as_secs(), 7);
            }
        });
    }
}

#[test]
fn each_side_hears_of_the_others_end() {
    run(|| async {
        let (backend, mut seen) = watched(SWITCHING).await;
        let sidecar = Sidecar::start(backend, "").await;
        for reset in [false, true] {
            let mut client = sidecar.request(WEBSOCKET).await;
            client.head().await;
            let left = Instant::now();
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            let (at, _) = timeout(Duration::from_secs(1), seen.recv())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(at, left);
        }
        assert!(sidecar.metric("sse_sidecar_requests_active").abs() < 0.1);
    });
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.send([SWITCHING, "last words"].concat()).await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.request(WEBSOCKET).await;
        client.head().await;
        assert_eq!(client.rest().await, (b"last words".to_vec(), Closed::Fin));
    });
}

#[test]
fn a_client_that_leaves_before_the_answer_cancels_it() {
    run(|| async {
        let (backend, mut seen) = watched("").await;
        let sidecar = Sidecar::start(backend, "").await;
        let client = sidecar.request(WEBSOCKET).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(client);
        timeout(Duration::from_secs(1), seen.recv())
            .await
            .expect("the upstream is let go");
        assert!(sidecar.metric("sse_sidecar_requests_active").abs() < 0.1);
    });
}

#[test]
fn an_offer_may_be_declined() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            loop {
                peer.head().await;
                peer.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno")
                    .await;
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.connect().await;
        for _ in 0..3 {
            client.send(WEBSOCKET).await;
            assert!(client.head().await.starts_with("HTTP/1.1 426 "));
            client.until("no").await;
        }
    });
}

#[test]
fn only_what_was_offered_is_changed_to() {
    for (request, what) in [
        ("GET / HTTP/1.1\r\nHost: t\r\n\r\n", "no offer"),
        (
            "GET / HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\n\r\n",
            "not named by Connection",
        ),
        (
            "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
            "h2c",
        ),
        (
            "GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.0",
        ),
    ] {
        run(move || async move {
            let (heads, mut seen) = moment();
            let backend = backend(move |mut peer| {
                let heads = heads.clone();
                async move {
                    heads(peer.head().await.to_lowercase());
                    peer.send(SWITCHING).await;
                    peer.closed().await;
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            let mut client = sidecar.request(request).await;
            let answer = client.head().await;
            assert!(answer.contains(" 502 "), "{what}: {answer}");
            let (_, head) = seen.recv().await.unwrap();
            assert!(
                !head.contains("upgrade") && !head.contains("http2-settings"),
                "{what}: {head}"
            );
        });
    }
}
