//! Everything that is no event stream passes unchanged, over upstream connections that are kept.

mod bodies;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::Response;
use tokio::time::{Instant, sleep, timeout};

use crate::common::{Closed, Sidecar, backend, moment, run};
use crate::either::{Http, url};

const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn heads_keep_their_case_and_their_fields() {
    run(|| async {
        let response = "HTTP/1.1 299 Very Fine\r\nX-Mixed-Case: a\r\nETag: \"x\"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                        Accept-Ranges: bytes\r\nContent-Length: 2\r\n\r\n";
        let backend = backend(move |mut peer| async move {
            let head = peer.head().await;
            assert_eq!(
                head,
                "POST /a%2Fb?c=%20d HTTP/1.1\r\nHost: t:80\r\nX-OWN: 1\r\nX-Request-ID: 7\r\nContent-Length: 4\r\n\
                 forwarded: for=127.0.0.1;host=\"t:80\";proto=http\r\nx-forwarded-for: 127.0.0.1\r\nx-real-ip: 127.0.0.1\r\n\
                 x-forwarded-proto: http\r\nx-forwarded-host: t:80\r\nx-forwarded-port: 80\r\n\r\n"
            );
            peer.until("body").await;
            peer.send(format!("{response}ok")).await;
            peer.closed().await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar
            .request("POST /a%2Fb?c=%20d HTTP/1.1\r\nHost: t:80\r\nX-OWN: 1\r\nX-Request-ID: 7\r\nContent-Length: 4\r\n\r\nbody")
            .await;
        assert_eq!(client.head().await, response);
        client.until("ok").await;
    });
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            let head = peer.head().await.to_lowercase();
            for gone in ["keep-alive", "proxy-connection", "x-hop", "upgrade"] {
                assert!(!head.contains(gone), "{gone} in {head}");
            }
            assert!(head.contains("\r\nhost: t\r\n"), "{head}");
            peer.send("HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Back\r\nX-Back: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok")
                .await;
            peer.closed().await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar
            .request(
                "GET / HTTP/1.1\r\nHost: t\r\nConnection: keep-alive, X-Hop, Host\r\nConnection: Upgrade\r\nX-Hop: 1\r\nUpgrade: h2c\r\n\
                 Keep-Alive: 1\r\nProxy-Connection: x\r\n\r\n",
            )
            .await;
        let head = client.head().await.to_lowercase();
        assert!(
            !head.contains("x-back") && !head.contains("keep-alive"),
            "{head}"
        );
    });
}

#[test]
fn absolute_targets_become_origin_form() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            let head = peer.head().await;
            assert!(
                head.starts_with("GET /x?y HTTP/1.1\r\n")
                    && head.contains("Host: Example.com:8080\r\n"),
                "{head}"
            );
            peer.send(OK).await;
            peer.closed().await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar
            .request("GET http://Example.com:8080/x?y HTTP/1.1\r\nHost: example.com:8080\r\n\r\n")
            .await;
        client.until("ok").await;
    });
}

#[test]
fn an_http_1_0_request_goes_up_as_1_1_with_a_host() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            let head = peer.head().await.to_lowercase();
            assert!(
                head.starts_with("get / http/1.1\r\n") && head.contains("host: 127.0.0.1:"),
                "{head}"
            );
            peer.send("HTTP/1.0 200 OK\r\n\r\nuntil the end").await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.request("GET / HTTP/1.0\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.0 200 OK\r\n"));
        assert_eq!(
            client.rest().await,
            (b"until the end".to_vec(), Closed::Fin)
        );
    });
}

#[test]
fn connections_are_kept_and_requests_pipelined() {
    run(|| async {
        let connections = Rc::new(Cell::new(0));
        let counted = connections.clone();
        let backend = backend(move |mut peer| {
            counted.set(counted.get() + 1);
            async move {
                loop {
                    peer.head().await;
                    peer.send(OK).await;
                }
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.request(&GET.repeat(50)).await;
        for _ in 0..50 {
            client.until("\r\n\r\nok").await;
        }
        assert_eq!(connections.get(), 1);
    });
}

/// A backend that answers one request on each connection and closes it `after` that, or before answering if `None`.
async fn closing(after: Option<Duration>) -> std::net::SocketAddr {
    let first = Rc::new(Cell::new(true));
    backend(move |mut peer| {
        let first = first.clone();
        async move {
            peer.head().await;
            peer.send(OK).await;
            match after {
                Some(after) => sleep(after).await,
                None if first.replace(false) => {
                    // Takes the second request, and closes without a word.
                    peer.head().await;
                }
                None => {
                    peer.closed().await;
                }
            }
        }
    })
    .await
}

#[test]
fn a_kept_connection_that_the_upstream_closed_is_not_used() {
    run(|| async {
        let sidecar = Sidecar::start(closing(Some(Duration::from_secs(1))).await, "").await;
        let mut client = sidecar.connect().await;
        for _ in 0..3 {
            client
                .send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx")
                .await;
            assert!(client.head().await.starts_with("HTTP/1.1 200 "));
            client.until("ok").await;
            sleep(Duration::from_secs(2)).await;
        }
    });
}

#[test]
fn an_idempotent_request_on_a_stale_connection_is_sent_again() {
    run(|| async {
        let sidecar = Sidecar::start(closing(None).await, "").await;
        let mut client = sidecar.connect().await;
        for _ in 0..2 {
            client.send(GET).await;
            assert!(client.head().await.starts_with("HTTP/1.1 200 "));
            client.until("ok").await;
        }
        assert!((sidecar.metric("sse_sidecar_upstream_connects_total") - 2.0).abs() < 0.1);
    });
}

#[test]
fn a_request_that_may_have_been_seen_is_not_sent_again() {
    run(|| async {
        let sidecar = Sidecar::start(closing(None).await, "").await;
        let mut client = sidecar.connect().await;
        client.send(GET).await;
        client.until("\r\n\r\nok").await;
        client
            .send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 502 "));
        assert!(
            client
                .until("}")
                .await
                .contains("upstream_closed_before_head")
        );
    });
}

#[test]
fn an_unused_connection_is_closed_even_if_no_request_comes() {
    for (http, seconds) in [(Http::One, 4.0), (Http::Two, 60.0)] {
        run(move || async move {
            let (gone, mut seen) = moment();
            let address = backend(move |mut peer| {
                let gone = gone.clone();
                async move {
                    if http == Http::One {
                        peer.head().await;
                        peer.send(OK).await;
                        peer.closed().await;
                    } else {
                        let mut connection = h2::server::handshake(peer.stream).await.unwrap();
                        while let Some(Ok((_, mut respond))) = connection.accept().await {
                            respond.send_response(Response::new(()), true).unwrap();
                        }
                    }
                    gone(());
                }
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url(http, address), "").await;
            for _ in 0..2 {
                let mut client = sidecar.request(GET).await;
                assert!(client.head().await.contains(" 200 "));
                let start = Instant::now();
                let (at, ()) = timeout(Duration::from_secs(100), seen.recv())
                    .await
                    .unwrap_or_else(|_| panic!("never closed: {http:?}"))
                    .unwrap();
                let idle = (at - start).as_secs_f64();
                assert!((seconds..seconds + 2.1).contains(&idle), "{idle}");
            }
        });
    }
}

/// Many backends take these paths and hosts for the same: a route that keeps something apart must too. The backend still gets the
/// target as it was sent.
#[test]
fn no_other_spelling_bypasses_a_route() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            loop {
                let head = peer.head().await;
                let target = head.split(' ').nth(1).unwrap();
                let length = target.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                peer.send(head + target).await;
            }
        })
        .await;
        // Nothing listens at the routes' upstream, so a request that matches one gets a 502.
        let nobody = "upstream.url = \"http://127.0.0.1:1\"";
        let toml = format!(
            "[[route]]\npath = \"/v1/%63hat\"\n{nobody}\n[[route]]\nhost = \"kept.example.com\"\n{nobody}"
        );
        let sidecar = Sidecar::start(backend, &toml).await;
        for target in [
            "/v1/chat",
            "/v1/%63hat/x?y",
            "//v1///chat",
            "/./v1/chat",
            "/v1/../v1/chat",
            "/%2e/v1/x/%2E./chat",
            "http://t/v1/x/../chat",
        ] {
            let mut client = sidecar
                .request(&format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n"))
                .await;
            let head = client.head().await;
            assert!(head.starts_with("HTTP/1.1 502 "), "{target}: {head}");
        }
        for host in [
            "kept.example.com",
            "KEPT.example.com.",
            "kept.example.com.:81",
        ] {
            let mut client = sidecar
                .request(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
                .await;
            let head = client.head().await;
            assert!(head.starts_with("HTTP/1.1 502 "), "{host}: {head}");
        }
        for target in ["/v1//chats/./%63", "/v1%2Fchat", "/v1/chat/../x", "/"] {
            let mut client = sidecar
                .request(&format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n"))
                .await;
            assert!(client.head().await.starts_with("HTTP/1.1 200 "), "{target}");
            assert_eq!(client.until(target).await, target);
        }
    });
}
