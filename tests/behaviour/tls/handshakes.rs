//! Handshakes of clients.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::{Instant, sleep};

use super::{GET, PLAIN, STREAM, Setup, connect, parsed, tls_backend, try_connect, url};
use crate::certificates::{Authority, Pair};
use crate::common::{Closed, GET_EVENTS, Sidecar, moment, run, watched};

#[test]
fn a_handshake_that_stops_is_dropped_in_time() {
    for (says, after) in [
        (&b""[..], 10),
        // A ClientHello of which the greater part is missing.
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdef", 10),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 0),
        (b"\x00\xff\x80\x17", 0),
    ] {
        run(move || async move {
            let setup = Setup::new();
            let (backend, _seen) = watched(STREAM).await;
            let sidecar = Sidecar::start(backend, &setup.listener("")).await;
            // Another client notices nothing.
            let mut good = setup.request(&sidecar, GET_EVENTS).await;
            good.head().await;
            let mut bad = sidecar.connect().await;
            let start = Instant::now();
            bad.send(says).await;
            bad.closed().await;
            let case = says.escape_ascii();
            assert_eq!(start.elapsed(), Duration::from_secs(after), "{case}");
            assert!((sidecar.metric("sse_sidecar_tls_handshakes_failed_total") - 1.0).abs() < 0.1);
            let mut another = setup.request(&sidecar, GET_EVENTS).await;
            another.head().await;
        });
    }
}

#[test]
fn plain_http_on_a_tls_port_gets_an_explanation() {
    for says in [
        "GET / HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(),
        "G".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        // As much as it likes to send: none of it resets the connection before the answer is read.
        format!("POST / HTTP/1.1\r\nHost: t\r\n\r\n{}", "x".repeat(500_000)),
    ] {
        run(move || async move {
            let setup = Setup::new();
            let (backend, _seen) = watched(STREAM).await;
            let sidecar = Sidecar::start(backend, &setup.listener("")).await;
            let mut client = sidecar.request(&says).await;
            let start = Instant::now();
            let (answer, closed) = client.rest().await;
            let answer = String::from_utf8(answer).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
                "{answer}"
            );
            assert!(answer.contains("content-type: text/plain; charset=utf-8\r\n"));
            assert!(answer.contains("connection: close\r\n"), "{answer}");
            assert!(answer.ends_with("This port speaks TLS: use https:// (tls_expected)\n"));
            assert_eq!(closed, Closed::Fin);
            assert_eq!(start.elapsed(), Duration::ZERO);
            sleep(Duration::from_secs(2)).await; // it is listened to for a second
            let refused = "sse_sidecar_refused_total{reason=\"tls_expected\",side=\"client\"}";
            assert!((sidecar.metric(refused) - 1.0).abs() < 0.1);
            assert!(sidecar.metric("sse_sidecar_tls_handshakes_failed_total") < 0.1);
            let mut another = setup.request(&sidecar, GET_EVENTS).await;
            another.head().await;
        });
    }
}

#[test]
fn a_client_that_leaves_in_the_handshake_is_dropped() {
    run(|| async {
        let setup = Setup::new();
        let (backend, _seen) = watched(STREAM).await;
        let sidecar = Sidecar::start(backend, &setup.listener("")).await;
        for (failed, says) in [(1.0, &b""[..]), (2.0, b"\x16\x03\x01\x02\x00\x01")] {
            let mut client = sidecar.connect().await;
            client.send(says).await;
            drop(client);
            sleep(Duration::from_millis(1)).await;
            let counted = sidecar.metric("sse_sidecar_tls_handshakes_failed_total");
            assert!((counted - failed).abs() < 0.1);
        }
    });
}

#[test]
fn a_client_certificate_is_required_where_its_ca_is_named() {
    run(|| async {
        let setup = Setup::new();
        let (backend, _seen) = watched(STREAM).await;
        let client_ca = format!("tls.client_ca = '{}'", setup.path("ca.crt"));
        let sidecar = Sidecar::start(backend, &setup.listener(&client_ca)).await;
        let with = |pair: &Pair| {
            let (chain, key) = parsed(pair);
            let builder = ClientConfig::builder().with_root_certificates(setup.roots());
            Arc::new(builder.with_client_auth_cert(chain, key).unwrap())
        };
        let mut right = connect(&sidecar, with(&setup.ca.issue("me"))).await;
        right.send(GET_EVENTS).await;
        assert!(right.head().await.starts_with("HTTP/1.1 200 "));

        let of_another = with(&Authority::new().issue("me"));
        for wrong in [setup.client(rustls::ALL_VERSIONS), of_another] {
            // With TLS 1.3 the client learns of it when it reads.
            let refused = match try_connect(&sidecar, wrong).await {
                Err(error) => error,
                Ok(mut client) => {
                    use tokio::io::AsyncReadExt;
                    client.stream.read(&mut [0]).await.unwrap_err()
                }
            };
            assert!(refused.to_string().contains("alert"), "{refused}");
        }
        assert!((sidecar.metric("sse_sidecar_tls_handshakes_failed_total") - 2.0).abs() < 0.1);
    });
}

#[test]
fn both_sides_agree_on_the_protocol() {
    run(|| async {
        let setup = Setup::new();
        let mut config = Arc::unwrap_or_clone(setup.server());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (agreed, mut seen) = moment();
        let backend = tls_backend(Arc::new(config), move |mut peer| {
            let (_, session) = peer.stream.get_ref();
            agreed(session.alpn_protocol().map(<[u8]>::to_vec));
            async move {
                peer.head().await;
                peer.send(PLAIN).await;
            }
        })
        .await;
        let toml = setup.upstream("") + &setup.listener("");
        let sidecar = Sidecar::in_front_of(&url(backend), &toml).await;
        for (offered, agreed) in [
            (
                &[&b"acme/1"[..], b"http/1.0", b"http/1.1"][..],
                &b"http/1.1"[..],
            ),
            (&[b"http/1.0"], b"http/1.0"), // by curl
        ] {
            let mut config = Arc::unwrap_or_clone(setup.client(rustls::ALL_VERSIONS));
            config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
            let mut client = connect(&sidecar, Arc::new(config)).await;
            let (_, session) = client.stream.get_ref();
            assert_eq!(session.alpn_protocol(), Some(agreed));
            client.send(GET).await;
            assert!(client.head().await.starts_with("HTTP/1.1 200 "));
            assert_eq!(seen.recv().await.unwrap().1, Some(b"http/1.1".to_vec()));
        }
    });
}
