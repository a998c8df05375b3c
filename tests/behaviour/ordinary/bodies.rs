//! Bodies: streamed, waited for, left out, and with trailers.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use super::{GET, OK};
use crate::common::{Closed, Sidecar, backend, backend_that_says, moment, run, watched};

#[test]
fn uploads_and_downloads_are_streamed_both_ways() {
    const MEGABYTES: usize = 20;
    run(|| async {
        tokio::time::resume(); // the kernel needs a while for this, and a paused clock would advance
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
fn a_304_states_the_length_of_what_it_leaves_out() {
    let not_modified =
        |fields: &str| format!("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n{fields}\r\n");
    for (says, passes) in [
        ("Content-Length: 5\r\n", "Content-Length: 5\r\n"),
        ("Content-Length: 0\r\n", "Content-Length: 0\r\n"),
        (
            "content-length: 18446744073709551615\r\n",
            "content-length: 18446744073709551615\r\n",
        ),
        // An invalid length is dropped.
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
