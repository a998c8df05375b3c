//! Connections that are kept, upgraded and filled.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::{GET, Setup, connect, say_goodbye, tls_backend, url};
use crate::common::{Closed, Sidecar, run, watched};

#[test]
fn large_bodies_pass_unharmed_both_ways() {
    const SIZE: usize = 10_000_000;
    run(|| async {
        tokio::time::resume(); // the kernel needs a while for this, and a paused clock would advance
        let setup = Setup::new();
        let body: Arc<Vec<u8>> = Arc::new((0..=250).cycle().take(SIZE).collect());
        let expected = body.clone();
        let backend = tls_backend(setup.server(), move |mut peer| {
            let body = expected.clone();
            async move {
                use tokio::io::AsyncReadExt;
                let head = peer.head().await;
                assert!(head.to_lowercase().contains("content-length: 10000000\r\n"));
                let mut seen = peer.take();
                let read = seen.len();
                seen.resize(SIZE, 0);
                peer.stream.read_exact(&mut seen[read..]).await.unwrap();
                assert!(seen == *body, "the upload is another");
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))
                    .await;
                peer.send(&*body).await;
                peer.closed().await;
            }
        })
        .await;
        let toml = setup.upstream("") + &setup.listener("");
        let sidecar = Sidecar::in_front_of(&url(backend), &toml).await;
        let head = format!(
            "POST / HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n"
        );
        let mut client = setup.request(&sidecar, &head).await;
        client.send(&*body).await;
        client.head().await;
        let (seen, closed) = client.rest().await;
        assert!(seen == *body, "the download is another");
        assert_eq!(closed, Closed::Fin);
    });
}

#[test]
fn connections_are_kept_on_both_sides() {
    run(|| async {
        let setup = Setup::new();
        let backend = tls_backend(setup.server(), |mut peer| async move {
            loop {
                peer.head().await;
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
            }
        })
        .await;
        let toml = setup.upstream("") + &setup.listener("");
        let sidecar = Sidecar::in_front_of(&url(backend), &toml).await;
        let mut client = connect(&sidecar, setup.client(rustls::ALL_VERSIONS)).await;
        client.send(GET.repeat(3)).await; // pipelined
        for _ in 0..3 {
            client.head().await;
            client.until("ok").await;
        }
        for _ in 0..3 {
            sleep(Duration::from_secs(1)).await;
            client.send(GET).await;
            client.head().await;
            client.until("ok").await;
        }
        assert!((sidecar.metric("sse_sidecar_upstream_connects_total") - 1.0).abs() < 0.1);
        assert!((sidecar.metric("sse_sidecar_upstream_reuses_total") - 5.0).abs() < 0.1);
        assert_eq!(
            client.closed().await,
            Closed::Fin,
            "`keep_alive` ends it in order"
        );
    });
}

#[test]
fn a_kept_connection_that_the_upstream_closed_is_not_used() {
    for in_order in [true, false] {
        run(move || async move {
            let setup = Setup::new();
            let backend = tls_backend(setup.server(), move |mut peer| async move {
                peer.head().await;
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
                if in_order {
                    peer.stream.shutdown().await.unwrap();
                }
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
            let mut client = sidecar.connect().await;
            for _ in 0..3 {
                client.send(GET.replace("GET", "POST")).await;
                let head = client.head().await;
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                client.until("ok").await;
                sleep(Duration::from_millis(1)).await;
            }
        });
    }
}

#[test]
fn a_refused_request_gets_a_response() {
    run(|| async {
        let setup = Setup::new();
        let (backend, _seen) = watched("").await;
        let sidecar = Sidecar::start(backend, &setup.listener("")).await;
        let mut client = setup
            .request(&sidecar, "GET / HTTP/1.1\nbare: LF\n\n")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 400 "));
        assert_eq!(client.closed().await, Closed::Fin);
    });
}

#[test]
fn a_connection_that_changes_its_protocol() {
    run(|| async {
        let setup = Setup::new();
        let backend = tls_backend(setup.server(), |mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst")
                .await;
            for n in 0..100 {
                peer.send(format!("ping {n};")).await;
                peer.until(&format!("pong {n};")).await;
            }
            assert_eq!(peer.closed().await, Closed::Fin);
            peer.send("last words").await;
            peer.stream.shutdown().await.unwrap();
        })
        .await;
        let toml = setup.upstream("") + &setup.listener("");
        let sidecar = Sidecar::in_front_of(&url(backend), &toml).await;
        let offer =
            "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let mut client = setup.request(&sidecar, offer).await;
        assert!(client.head().await.starts_with("HTTP/1.1 101 "));
        client.until("first").await;
        for n in 0..100 {
            client.until(&format!("ping {n};")).await;
            client.send(format!("pong {n};")).await;
        }
        say_goodbye(&mut client).await;
        assert_eq!(client.rest().await, (b"last words".to_vec(), Closed::Fin));
    });
}
