//! What is no event stream passes untouched, over upstream connections that are kept.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use crate::common::{Closed, Sidecar, backend, backend_that_says, moment, run, watched};
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
fn uploads_and_downloads_are_streamed_both_ways() {
    const MEGABYTES: usize = 20;
    run(|| async {
        tokio::time::resume(); // so much takes the kernel a while, in which a paused clock would run ahead
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                MEGABYTES << 20
            ))
            .await;
            // Echoes as it reads: both directions are open at once.
            let (mut reader, mut writer) = peer.stream.split();
            let mut buffer = vec![0; 64 * 1024];
            let mut left = MEGABYTES << 20;
            while left > 0 {
                let read = reader.read(&mut buffer).await.unwrap();
                writer.write_all(&buffer[..read]).await.unwrap();
                left -= read;
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar
            .request(&format!(
                "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n",
                MEGABYTES << 20
            ))
            .await;
        client.head().await;
        let (mut reader, mut writer) = client.stream.split();
        let send = async {
            for index in 0..MEGABYTES {
                writer
                    .write_all(&vec![u8::try_from(index).unwrap(); 1 << 20])
                    .await
                    .unwrap();
            }
        };
        let receive = async {
            let mut megabyte = vec![0; 1 << 20];
            for index in 0..MEGABYTES {
                reader.read_exact(&mut megabyte).await.unwrap();
                assert!(
                    megabyte.iter().all(|&byte| usize::from(byte) == index),
                    "megabyte {index}"
                );
            }
        };
        tokio::join!(send, receive);
    });
}

#[test]
fn an_early_answer_leaks_no_upstream() {
    run(|| async {
        let (backend, mut seen) =
            watched("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await;
        let sidecar = Sidecar::start(backend, "timeouts.request_body = \"10s\"").await;
        for leaves in [true, false] {
            let mut client = sidecar
                .request("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\nstart")
                .await;
            assert!(client.head().await.starts_with("HTTP/1.1 413 "));
            client.until("no").await;
            let answered = Instant::now();
            let kept = (!leaves).then_some(client); // who sends nothing more, and does not leave
            let (at, _) = seen.recv().await.unwrap();
            let patience = Duration::from_secs(if leaves { 0 } else { 10 });
            assert!((at - answered).saturating_sub(patience) < Duration::from_secs(1));
            assert!(at - answered >= patience);
            drop(kept);
        }
    });
}

#[test]
fn the_last_of_a_request_reaches_an_upstream_that_has_answered_it() {
    run(|| async {
        let (whole, mut seen) = moment();
        let backend = backend(move |mut peer| {
            let whole = whole.clone();
            async move {
                while let Some(head) = peer.try_head().await {
                    peer.send(OK).await;
                    if head.starts_with("POST") {
                        peer.until("the end").await;
                        whole(());
                    }
                }
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        for connection in ["keep-alive", "close"] {
            let mut client = sidecar
                .request(&format!(
                    "POST / HTTP/1.1\r\nHost: t\r\nConnection: {connection}\r\nContent-Length: 100007\r\n\r\nstart"
                ))
                .await;
            client.until("\r\n\r\nok").await;
            client.send("x".repeat(99_995)).await;
            client.send("the end").await;
            seen.recv().await.unwrap();
            if connection == "keep-alive" {
                client.send(GET).await;
                client.until("\r\n\r\nok").await;
            } else {
                assert_eq!(client.closed().await, Closed::Fin);
            }
        }
    });
}

#[test]
fn statuses_without_a_body() {
    for says in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
    ] {
        run(move || async move {
            let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
            let mut client = sidecar.request(GET).await;
            assert_eq!(client.head().await, says);
        });
    }
}

#[test]
fn a_304_tells_the_length_of_what_it_leaves_out() {
    let not_modified =
        |fields: &str| format!("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n{fields}\r\n");
    for (says, passes) in [
        ("Content-Length: 5\r\n", "Content-Length: 5\r\n"),
        ("Content-Length: 0\r\n", "Content-Length: 0\r\n"),
        (
            "content-length: 18446744073709551615\r\n",
            "content-length: 18446744073709551615\r\n",
        ),
        // What is no length is no use to anybody.
        ("Content-Length: 5\r\nContent-Length: 6\r\n", ""),
        ("Content-Length: +5\r\n", ""),
        ("Content-Length: x\r\n", ""),
        ("Content-Length: \r\n", ""),
        ("Transfer-Encoding: chunked\r\n", ""),
        ("", ""),
    ] {
        for method in ["GET", "HEAD"] {
            run(move || async move {
                let response = not_modified(says);
                let backend = backend(move |mut peer| {
                    let response = response.clone();
                    async move {
                        loop {
                            peer.head().await;
                            peer.send(&response).await;
                            peer.head().await;
                            peer.send(OK).await;
                        }
                    }
                })
                .await;
                let sidecar = Sidecar::start(backend, "").await;
                let mut client = sidecar.connect().await;
                let conditional =
                    format!("{method} / HTTP/1.1\r\nHost: t\r\nIf-None-Match: \"x\"\r\n\r\n");
                // One after the other, and pipelined.
                for _ in 0..2 {
                    client.send(&conditional).await;
                    assert_eq!(client.head().await, not_modified(passes), "{method} {says}");
                    client.send(GET).await;
                    assert_eq!(client.head().await + &client.until("ok").await, OK);
                }
                client.send([&conditional, GET].concat()).await;
                assert_eq!(client.head().await, not_modified(passes), "{method} {says}");
                assert_eq!(client.head().await + &client.until("ok").await, OK);
                assert!((sidecar.metric("sse_sidecar_upstream_connects_total") - 1.0).abs() < 0.1);
                assert!(sidecar.metric("sse_sidecar_requests_active").abs() < 0.1);
            });
        }
    }
}

const EXPECTS: &str =
    "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";

#[test]
fn a_client_is_asked_for_its_body_when_the_upstream_asks() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            assert!(
                peer.head()
                    .await
                    .to_lowercase()
                    .contains("expect: 100-continue")
            );
            sleep(Duration::from_millis(300)).await;
            peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            peer.until("body").await;
            peer.send(OK).await;
            peer.closed().await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let start = Instant::now();
        let mut client = sidecar.request(EXPECTS).await;
        assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(start.elapsed().as_millis(), 300);
        client.send("body").await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn a_client_whose_body_is_not_wanted_is_not_asked_for_it() {
    run(|| async {
        let backend =
            backend_that_says("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
                .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.request(EXPECTS).await;
        assert!(client.head().await.starts_with("HTTP/1.1 417 "));
        client.until("no").await;
    });
}

#[test]
fn an_upstream_that_never_asks_gets_the_body_all_the_same() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.until("body").await;
            peer.send(OK).await;
            peer.closed().await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let start = Instant::now();
        let mut client = sidecar.request(EXPECTS).await;
        assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(start.elapsed().as_secs(), 1);
        client.send("body").await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn trailers_pass_to_a_client_that_takes_them() {
    for (te, passes) in [("TE: trailers\r\nConnection: TE\r\n", true), ("", false)] {
        run(move || async move {
            let backend = backend(move |mut peer| async move {
                let head = peer.head().await.to_lowercase();
                assert_eq!(head.contains("te: trailers\r\n"), passes, "{head}");
                let head =
                    "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n";
                peer.send([head, "2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"].concat())
                    .await;
                peer.closed().await;
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            let mut client = sidecar
                .request(&format!("GET / HTTP/1.1\r\nHost: t\r\n{te}\r\n"))
                .await;
            client.head().await;
            assert_eq!(client.until("0\r\n").await, "2\r\nok\r\n0\r\n");
            let end = client.until("\r\n").await.to_lowercase();
            assert_eq!(end == "x-sum: 7\r\n", passes, "{end:?}");
        });
    }
}

#[test]
fn a_connection_that_nobody_uses_is_closed_also_if_no_request_comes() {
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
fn nobody_gets_past_a_route_by_spelling_it_otherwise() {
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
        // Nobody listens at the routes' upstream: whoever takes one of them is told 502.
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
