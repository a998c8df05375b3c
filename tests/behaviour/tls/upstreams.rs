//! Certificates of upstreams, and for them.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::time::Instant;

use super::{CLOSE, GET, PLAIN, Setup, VERSIONS, parsed, server, tls_backend, url};
use crate::certificates::Authority;
use crate::common::{Sidecar, backend, run, watched};

#[test]
fn an_upstream_that_is_not_the_right_one_is_502() {
    run(|| async {
        let setup = Setup::new();
        let ca = &setup.ca;
        for (pair, detail) in [
            (ca.issue("elsewhere.example"), "is only valid for"),
            (Authority::new().issue("localhost"), "unknown issuer"),
            (ca.issue_expired("localhost"), "has expired"),
        ] {
            let backend = tls_backend(server(&pair), |mut peer| async move {
                peer.head().await;
                panic!("a request went to the wrong upstream");
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
            let mut client = sidecar.request(CLOSE).await;
            let head = client.head().await;
            let (body, _) = client.rest().await;
            let body = String::from_utf8(body).unwrap();
            assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
            assert!(body.contains("\"upstream_tls_failed\""), "{body}");
            assert!(body.contains(detail), "{body}");
        }
        for (says, detail) in [
            ("HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer in TLS"),
            ("", "closed the connection"),
        ] {
            let backend = backend(move |mut peer| async move {
                peer.stream.readable().await.unwrap();
                let _ = peer.stream.try_read(&mut [0; 4096]);
                peer.send(says).await;
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
            let (body, _) = sidecar.request(CLOSE).await.rest().await;
            let body = String::from_utf8(body).unwrap();
            assert!(body.contains("\"upstream_tls_failed\""), "{body}");
            assert!(body.contains(detail), "{body}");
        }
    });
}

#[test]
fn an_upstream_that_is_its_own_ca_is_named_itself() {
    run(|| async {
        let setup = Setup::new();
        let own = Authority::issue_to_itself("localhost", 2999);
        let others = Authority::issue_to_itself("localhost", 2999);
        let elsewhere = Authority::issue_to_itself("elsewhere.example", 2999);
        let expired = Authority::issue_to_itself("localhost", 2001);
        for (shown, named, accepted) in [
            (&own, &own, true),
            (&own, &others, false),
            (&elsewhere, &elsewhere, false),
            (&expired, &expired, false),
        ] {
            setup.folder.write("ca.crt", &named.certificate);
            let backend = tls_backend(server(shown), |mut peer| async move {
                peer.head().await;
                peer.send(PLAIN).await;
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
            let head = sidecar.request(GET).await.head().await;
            assert_eq!(head.starts_with("HTTP/1.1 200 "), accepted, "{head}");
        }
    });
}

#[test]
fn the_connect_timeout_covers_the_handshake() {
    run(|| async {
        let setup = Setup::new();
        let (backend, _seen) = watched("").await; // waits for a head that is none
        let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
        let start = Instant::now();
        let (answer, _) = sidecar.request(CLOSE).await.rest().await;
        assert!(answer.starts_with(b"HTTP/1.1 504 "));
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    });
}

#[test]
fn an_upstream_is_known_by_another_name_or_by_its_address() {
    run(|| async {
        let setup = Setup::new();
        for (issued, host, more) in [
            (
                "api.example",
                "localhost",
                "tls.server_name = 'api.example'",
            ),
            ("127.0.0.1", "127.0.0.1", ""),
        ] {
            let config = server(&setup.ca.issue(issued));
            let backend = tls_backend(config, |mut peer| async move {
                peer.head().await;
                peer.send(PLAIN).await;
            })
            .await;
            let url = format!("https://{host}:{}", backend.port());
            let sidecar = Sidecar::in_front_of(&url, &setup.upstream(more)).await;
            let head = sidecar.request(GET).await.head().await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        }
    });
}

#[test]
fn an_upstream_may_ask_for_a_certificate() {
    for versions in VERSIONS {
        run(move || async move {
            let setup = Setup::new();
            let verifier = WebPkiClientVerifier::builder(Arc::new(setup.roots())).build();
            let (chain, key) = parsed(&setup.ca.issue("localhost"));
            let config = ServerConfig::builder_with_protocol_versions(versions)
                .with_client_cert_verifier(verifier.unwrap())
                .with_single_cert(chain, key)
                .unwrap();
            let backend = tls_backend(Arc::new(config), |mut peer| async move {
                peer.head().await;
                peer.send(PLAIN).await;
            })
            .await;
            let identity = format!(
                "tls.certificate = '{}'\ntls.private_key = '{}'",
                setup.path("own/tls.crt"),
                setup.path("own/tls.key")
            );
            for (more, status) in [(identity.as_str(), 200), ("", 502)] {
                let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream(more)).await;
                let mut client = sidecar.request(GET).await;
                let head = client.head().await;
                assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
                if status == 502 {
                    let body = client.until("}").await;
                    assert!(body.contains("\"upstream_tls_failed\""), "{body}");
                }
            }
        });
    }
}
