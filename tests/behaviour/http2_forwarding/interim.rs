//! Interim responses.

use std::future::poll_fn;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode};
use tokio::time::{Instant, sleep, timeout};

use super::each_way;
use crate::common::{LAST_CHUNK, Sidecar, chunk, run};
use crate::either::{Connection, Http, Teller, backend, request};

#[test]
fn early_hints() {
    for upstream in [Http::One, Http::Two] {
        run(move || async move {
            let url = backend(upstream, |teller| async move {
                match teller {
                    Teller::One { mut peer, .. } => {
                        for name in ["one", "two"] {
                            peer.send(format!("HTTP/1.1 103 Early Hints\r\nLink: {name}\r\n\r\n"))
                                .await;
                            sleep(Duration::from_secs(1)).await;
                        }
                        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                            .await;
                        peer.closed().await;
                    }
                    Teller::Two { mut respond, .. } => {
                        for name in ["one", "two"] {
                            let hint = Response::builder().status(103).header("link", name);
                            respond.send_informational(hint.body(()).unwrap()).unwrap();
                            sleep(Duration::from_secs(1)).await;
                        }
                        respond.send_response(Response::new(()), true).unwrap();
                    }
                }
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let client = Connection::to(&sidecar).await;
            let start = Instant::now();
            let (mut response, _) = client
                .send(request("GET").body(()).unwrap(), false)
                .await
                .unwrap();
            for (after, name) in [(0, "one"), (1, "two")] {
                let hint = poll_fn(|cx| response.poll_informational(cx))
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!(
                    (hint.status().as_u16(), &hint.headers()["link"]),
                    (103, &HeaderValue::from_static(name))
                );
                assert_eq!(start.elapsed().as_secs(), after);
            }
            assert_eq!(response.await.unwrap().status(), 200);
        });
    }
}

/// What a backend does with a client that waits to be asked for its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    AfterASecond,
    Never,
    Refuses,
}

/// Reads the whole body, and answers with its length.
async fn measure(teller: Teller, asks: Asks) {
    sleep(Duration::from_millis(if asks == Asks::AfterASecond {
        500
    } else {
        10
    }))
    .await;
    match teller {
        Teller::One { mut peer, .. } => match asks {
            Asks::Refuses => {
                peer.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
                    .await;
                peer.closed().await;
            }
            Asks::AfterASecond | Asks::Never => {
                if asks == Asks::AfterASecond {
                    peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
                }
                let (body, complete) = peer.chunks().await;
                assert!(complete && body == b"the body");
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
                peer.closed().await;
            }
        },
        Teller::Two {
            request,
            mut respond,
            ..
        } => {
            let mut status = StatusCode::OK;
            if asks == Asks::Refuses {
                status = StatusCode::EXPECTATION_FAILED;
            } else {
                if asks == Asks::AfterASecond {
                    let go_on = Response::builder().status(100).body(()).unwrap();
                    respond.send_informational(go_on).unwrap();
                }
                let mut body = request.into_body();
                assert_eq!(body.data().await.unwrap().unwrap(), "the body");
                while let Some(rest) = body.data().await {
                    assert_eq!(rest.unwrap(), "");
                }
            }
            let head = Response::builder().status(status).body(()).unwrap();
            respond.send_response(head, true).unwrap();
        }
    }
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body() {
    for (asks, after) in [
        (Asks::AfterASecond, 500),
        (Asks::Never, 1000),
        (Asks::Refuses, 10),
    ] {
        each_way(move |client, upstream| async move {
            let url = backend(upstream, move |teller| measure(teller, asks)).await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let start = Instant::now();
            let is_time = || {
                let late = start.elapsed().checked_sub(Duration::from_millis(after));
                late.is_some_and(|late| late < Duration::from_millis(5))
            };
            if client == Http::One {
                let head = "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
                let mut client = sidecar.request(head).await;
                let head = client.head().await;
                assert!(is_time(), "{:?}", start.elapsed());
                if asks == Asks::Refuses {
                    return assert!(head.contains(" 417 "), "{head}");
                }
                assert!(head.contains(" 100 "), "{head}");
                client.send(chunk("the body")).await;
                client.send(LAST_CHUNK).await;
                return assert!(client.head().await.contains(" 200 "));
            }
            let client = Connection::to(&sidecar).await;
            let asked = request("POST")
                .header("expect", "100-continue")
                .body(())
                .unwrap();
            let (mut response, mut upload) = client.send(asked, true).await.unwrap();
            if asks == Asks::Refuses {
                assert_eq!(response.await.unwrap().status(), 417);
                return assert!(is_time(), "{:?}", start.elapsed());
            }
            let waiting = poll_fn(|cx| response.poll_informational(cx));
            let go_on = timeout(Duration::from_secs(10), waiting).await;
            assert_eq!(go_on.expect("never asked").unwrap().unwrap().status(), 100);
            assert!(is_time(), "{:?}", start.elapsed());
            upload.send_data("the body".into(), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
        });
    }
}
