//! When one side leaves, the other side learns of it at once, in every phase.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::common::{
    Closed, EVENTS, GET_EVENTS, LAST_CHUNK, Peer, Sidecar, backend, chunk, moment, run,
    unanswering, watched,
};

/// How a client leaves.
fn leave(how: &str, client: Peer) {
    match how {
        "FIN" => drop(client),
        "RST" => client.reset(),
        "half" => {
            let socket = socket2::SockRef::from(&client.stream);
            socket.shutdown(std::net::Shutdown::Write).unwrap();
            tokio::task::spawn_local(async move {
                sleep(Duration::from_secs(1000)).await;
                drop(client);
            });
        }
        _ => unreachable!(),
    }
}

const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nthe first part";
const CHUNKED_UPLOAD: &str =
    "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nok";
const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n";
const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe first part";

#[test]
fn a_client_that_leaves_cancels_its_request_in_every_phase() {
    for (phase, request, says) in [
        ("waiting_for_head", GET_EVENTS, ""),
        ("waiting_for_head", POST, ""),
        ("waiting_for_head", UPLOAD, ""),
        ("waiting_for_head", CHUNKED_UPLOAD, ""),
        (
            "waiting_for_head",
            "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
            "",
        ),
        ("streaming", GET_EVENTS, STREAM),
        ("streaming", POST, STREAM),
        ("streaming", UPLOAD, STREAM),
        ("streaming", CHUNKED_UPLOAD, STREAM),
        ("body", GET_EVENTS, PLAIN),
        ("body", UPLOAD, PLAIN),
    ] {
        for after in ["", "\r\n", "GET /pipelined HTTP/1.1\r\nHost: t\r\n\r\n"] {
            if !after.is_empty() && [UPLOAD, CHUNKED_UPLOAD].contains(&request)
                || request.contains("Expect") && !after.is_empty()
            {
                continue; // what follows would be the body
            }
            for how in ["FIN", "RST", "half"] {
                run(move || async move {
                    let (backend, mut seen) = watched(says).await;
                    let sidecar = Sidecar::start(backend, "heartbeat.interval = \"off\"").await;
                    let mut client = sidecar.request(request).await;
                    if says.is_empty() {
                        sleep(Duration::from_millis(10)).await;
                    } else {
                        client.head().await;
                        sleep(Duration::from_millis(10)).await;
                    }
                    client.send(after).await;
                    sleep(Duration::from_millis(10)).await;
                    let left = Instant::now();
                    leave(how, client);
                    let case = format!("{phase}: {request:?}, then {after:?}, then {how}");
                    let seen = timeout(Duration::from_secs(1), seen.recv()).await;
                    let (at, _) = seen
                        .unwrap_or_else(|_| panic!("never seen: {case}"))
                        .unwrap();
                    assert!(at - left < Duration::from_millis(5), "{case}");
                    let cancels =
                        format!("sse_sidecar_upstream_cancels_total{{phase=\"{phase}\"}}");
                    assert!((sidecar.metric(&cancels) - 1.0).abs() < 0.1, "{case}");
                    if phase == "streaming" {
                        assert!(
                            (sidecar.ends("client_gone", "client") - 1.0).abs() < 0.1,
                            "{case}"
                        );
                    }
                });
            }
        }
    }
}

#[test]
fn a_client_that_leaves_while_connecting_costs_no_request() {
    run(|| async {
        let (address, _queue) = unanswering();
        let sidecar = Sidecar::start(address, "").await;
        let client = sidecar.get_events().await;
        sleep(Duration::from_millis(100)).await;
        assert!((sidecar.metric("sse_sidecar_requests_active") - 1.0).abs() < 0.1);
        drop(client);
        sleep(Duration::from_millis(1)).await;
        assert!(sidecar.metric("sse_sidecar_requests_active").abs() < 0.1);
        assert!(
            (sidecar.metric("sse_sidecar_upstream_cancels_total{phase=\"connecting\"}") - 1.0)
                .abs()
                < 0.1
        );
    });
}

#[test]
fn an_upstream_that_dies_is_an_abort_at_once() {
    for how in ["FIN", "RST"] {
        run(move || async move {
            let (died, mut seen) = moment();
            let backend = backend(move |mut peer| {
                let died = died.clone();
                async move {
                    peer.head().await;
                    peer.send([EVENTS.as_bytes(), &chunk("data: x\n\n")].concat())
                        .await;
                    sleep(Duration::from_secs(3)).await;
                    died(());
                    leave(how, peer);
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            let mut client = sidecar.get_events().await;
            client.head().await;
            let (body, complete) = client.chunks().await;
            assert_eq!(body, b"data: x\n\n");
            assert!(!complete, "never a clean end");
            assert_eq!(seen.recv().await.unwrap().0, Instant::now(), "at once");
            let reason = if how == "FIN" {
                "upstream_closed"
            } else {
                "upstream_failed"
            };
            assert!((sidecar.ends(reason, "upstream") - 1.0).abs() < 0.1);
        });
    }
}

#[test]
fn an_http_1_0_client_sees_an_abort_too() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.send([EVENTS.as_bytes(), &chunk("data: x\n\n")].concat())
                .await;
            sleep(Duration::from_secs(3)).await;
            leave("RST", peer);
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.request("GET / HTTP/1.0\r\n\r\n").await;
        client.head().await;
        assert_eq!(
            client.rest().await,
            (b"data: x\n\n".to_vec(), Closed::Reset)
        );
    });
}

#[test]
fn an_upstream_that_dies_in_an_ordinary_body_is_an_abort() {
    for (says, version) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
            "HTTP/1.1",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            "HTTP/1.1",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            "HTTP/1.0",
        ),
    ] {
        run(move || async move {
            let backend = backend(move |mut peer| async move {
                peer.head().await;
                peer.send(says).await;
                sleep(Duration::from_secs(1)).await;
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            let mut client = sidecar
                .request(&format!("GET / {version}\r\nHost: t\r\n\r\n"))
                .await;
            let head = client.head().await;
            let (body, closed) = client.rest().await;
            let body = String::from_utf8(body).unwrap();
            assert!(
                body.contains("half") && !body.contains("\r\n0\r\n"),
                "{head}{body}"
            );
            assert_eq!(
                closed,
                if version == "HTTP/1.0" {
                    Closed::Reset
                } else {
                    Closed::Fin
                }
            );
        });
    }
}

#[test]
fn what_came_before_the_abort_arrives() {
    run(|| async {
        let events: String = (0..1000).map(|n| format!("data: {n}\n\n")).collect();
        let response = [EVENTS.as_bytes(), &chunk(&events)].concat();
        let backend = backend(move |mut peer| {
            let response = response.clone();
            async move {
                peer.head().await;
                peer.send(response).await;
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        let (body, complete) = client.chunks().await;
        assert_eq!(
            String::from_utf8(body).unwrap(),
            (0..1000)
                .map(|n| format!("data: {n}\n\n"))
                .collect::<String>()
        );
        assert!(!complete);
    });
}

#[test]
fn in_band_endings() {
    for (dialect, says, expected) in [
        (
            "event",
            "data: x\n\n",
            "event: error\ndata: {\"reason\":\"upstream_closed\"",
        ),
        (
            "anthropic",
            "data: x\n\n",
            "event: error\ndata: {\"type\":\"error\"",
        ),
        (
            "openai-responses",
            "data: x\n\n",
            "event: response.failed\n",
        ),
        (
            "mcp",
            "data: x\n\n",
            "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"abc\",\"error\"",
        ),
        ("abort", "data: x\n\n", ""),
        ("event", "data: half an ev", ""),
    ] {
        run(move || async move {
            let backend = backend(move |mut peer| async move {
                peer.until("\"abc\"}").await;
                peer.send([EVENTS.as_bytes(), &chunk(says)].concat()).await;
            })
            .await;
            let sidecar = Sidecar::start(
                backend,
                &format!("events.on_upstream_failure = \"{dialect}\""),
            )
            .await;
            let body = r#"{"jsonrpc":"2.0","id":"abc"}"#;
            let mut client = sidecar
                .request(&format!(
                    "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                ))
                .await;
            client.head().await;
            let (body, complete) = client.chunks().await;
            let body = String::from_utf8(body).unwrap();
            let said = body.strip_prefix(says).unwrap();
            assert!(
                said.starts_with(expected) && said.is_empty() == expected.is_empty(),
                "{dialect}: {said}"
            );
            assert!(!complete, "in-band words do not make it a clean end");
        });
    }
}

#[test]
fn one_streams_end_costs_no_other_anything() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            let head = peer.head().await;
            peer.send(EVENTS).await;
            if head.starts_with("GET /dies") {
                peer.send("this is no chunk\r\n").await;
                return;
            }
            for n in 0..5 {
                peer.send(chunk(format!("data: {n}\n\n"))).await;
                sleep(Duration::from_secs(1)).await;
            }
            peer.send(LAST_CHUNK).await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut good = sidecar.get_events().await;
        good.head().await;
        let mut bad = sidecar
            .request("GET /dies HTTP/1.1\r\nHost: t\r\n\r\n")
            .await;
        bad.head().await;
        assert!(!bad.chunks().await.1);
        let mut gone = sidecar.get_events().await;
        gone.head().await;
        leave("RST", gone);
        let (body, complete) = good.chunks().await;
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n"
        );
        assert!(complete);
    });
}
