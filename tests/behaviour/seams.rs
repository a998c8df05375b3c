//! Between two states: answered but not yet sent, taken over but not yet begun, begun but not yet sent. No byte is lost there, and
//! nothing of a connection that ends there remains.

use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::common::{
    Closed, EVENTS, LAST_CHUNK, Peer, Sidecar, backend, backend_that_says, chunk, moment, run,
};
use crate::either::{Connection, Http, Whole, request};

const SECOND: Duration = Duration::from_secs(1);

/// A client whose kernel takes little.
async fn small_client(sidecar: &Sidecar) -> Peer {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    Peer::new(socket.connect(sidecar.address).await.unwrap())
}

/// Sizes around every buffer on the way.
fn sizes() -> Vec<usize> {
    let around = [8, 64, 128, 256].map(|kib| kib * 1024);
    let around = around
        .into_iter()
        .flat_map(|size| [size - 1, size, size + 1]);
    [1, 140_000, 180_000, 260_000, 1_000_000]
        .into_iter()
        .chain(around)
        .collect()
}

#[test]
fn the_end_of_a_request_reaches_an_upstream_that_answers_before_it_reads() {
    for client in [Http::One, Http::Two] {
        for (size, is_stream) in sizes()
            .into_iter()
            .flat_map(|size| [(size, true), (size, false)])
        {
            run(move || async move {
                let (whole, mut seen) = moment();
                let backend = backend(move |mut peer| {
                    let whole = whole.clone();
                    async move {
                        peer.head().await;
                        sleep(SECOND).await; // everything on the way is full by then
                        if is_stream {
                            peer.send(EVENTS).await;
                            peer.send(chunk("data: 1\n\n")).await;
                        } else {
                            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ndata: 1")
                                .await;
                        }
                        sleep(SECOND).await;
                        whole(peer.bytes(size).await.len());
                        peer.send(if is_stream { LAST_CHUNK } else { "\n\n" }).await;
                        peer.closed().await;
                    }
                })
                .await;
                let sidecar = Sidecar::start(backend, "").await;
                let body = vec![b'b'; size];
                if client == Http::One {
                    let mut client = sidecar.connect().await;
                    let head =
                        format!("POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: {size}\r\n\r\n");
                    client.send(head).await;
                    let (mut read, mut write) = TcpStream::into_split(client.stream);
                    let upload = tokio::task::spawn_local(async move {
                        tokio::io::AsyncWriteExt::write_all(&mut write, &body)
                            .await
                            .unwrap();
                        write
                    });
                    let mut answer = Vec::new();
                    while !answer.ends_with(b"\n\n") && !answer.ends_with(b"0\r\n\r\n") {
                        let read = tokio::io::AsyncReadExt::read_buf(&mut read, &mut answer).await;
                        assert!(read.unwrap() > 0);
                    }
                    upload.await.unwrap();
                } else {
                    let client = Connection::to(&sidecar).await;
                    let (response, mut upload) = client
                        .send(request("POST").body(()).unwrap(), true)
                        .await
                        .unwrap();
                    upload.send_data(body.into(), true).unwrap();
                    let whole = Whole::of(response).await.unwrap();
                    assert_eq!(whole.summary(), (200, "data: 1\n\n".to_owned(), true));
                }
                let (_, seen) = timeout(SECOND, seen.recv()).await.unwrap().unwrap();
                assert_eq!(seen, size);
            });
        }
    }
}

/// A client leaves at a moment that bytes decide: with so much of an earlier response unread that the next one, a stream, cannot
/// begin, or can just begin, or has begun.
#[test]
fn a_client_that_leaves_at_any_moment_leaves_nothing_behind() {
    // The middle is found by bisection, as an attacker would: what fits into all buffers on the way.
    run(|| async {
        let (mut fits, mut blocks) = (0, 8_000_000);
        while blocks - fits > 64 {
            let size = usize::midpoint(fits, blocks);
            if leaves_behind_nothing(size).await {
                fits = size;
            } else {
                blocks = size;
            }
        }
        for size in (fits.saturating_sub(400)..blocks + 400).step_by(37) {
            leaves_behind_nothing(size).await;
        }
    });
}

/// Whether the second request came to the backend.
async fn leaves_behind_nothing(size: usize) -> bool {
    let (asked, mut seen) = moment();
    let (gone, mut left) = moment();
    let backend = backend(move |mut peer| {
        let (asked, gone) = (asked.clone(), gone.clone());
        async move {
            while let Some(head) = peer.try_head().await {
                if head.starts_with("GET") {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
                    let body = vec![b'x'; size];
                    if tokio::io::AsyncWriteExt::write_all(&mut peer.stream, head.as_bytes())
                        .await
                        .is_err()
                        || tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &body)
                            .await
                            .is_err()
                    {
                        return;
                    }
                } else {
                    peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
                    asked(());
                    peer.bytes(2).await;
                    peer.send(EVENTS).await;
                    peer.send(chunk("data: 1\n\n")).await;
                    gone(peer.closed().await);
                }
            }
        }
    })
    .await;
    let sidecar = Sidecar::start(backend, "heartbeat.interval = \"off\"").await;
    let mut client = small_client(&sidecar).await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST /events HTTP/1.1\r\nHost: x\r\n\
             Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        )
        .await;
    let was_asked = timeout(SECOND, seen.recv()).await.is_ok();
    sleep(SECOND).await;
    client.reset();
    sleep(SECOND).await;
    let (_, open) = sse_sidecar::exchange::snapshots(0);
    assert_eq!(open, 0, "after {size} bytes a request is left");
    if was_asked {
        let gone = timeout(SECOND, left.recv()).await;
        assert!(
            gone.is_ok(),
            "after {size} bytes the upstream is not let go"
        );
    }
    was_asked
}

#[test]
fn a_response_that_is_still_leaving_is_not_cut_by_keep_alive() {
    run(|| async {
        const SIZE: usize = 3_000_000;
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
        let response = [response.into_bytes(), vec![b'x'; SIZE]].concat();
        let backend = backend_that_says(response).await;
        let sidecar = Sidecar::start(backend, "timeouts.keep_alive = \"1s\"").await;
        let mut client = small_client(&sidecar).await;
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        client.head().await;
        let mut left = SIZE;
        while left > 0 {
            let part = left.min(50_000);
            client.bytes(part).await;
            left -= part;
            sleep(SECOND / 2).await;
        }
        assert_eq!(client.closed().await, Closed::Fin);
    });
}

#[test]
fn bodies_of_unknown_length_go_up_with_every_method() {
    for method in [
        "GET", "HEAD", "DELETE", "POST", "PUT", "PATCH", "OPTIONS", "QUERY",
    ] {
        run(move || async move {
            let (came, mut seen) = moment();
            let backend = backend(move |mut peer| {
                let came = came.clone();
                async move {
                    let head = peer.head().await;
                    came((head, peer.chunks().await));
                    sleep(SECOND * 1000).await;
                }
            })
            .await;
            let sidecar = Sidecar::start(
                backend,
                "timeouts.response_head = \"5s\"\ntimeouts.request_body = \"3s\"",
            )
            .await;
            let head =
                format!("{method} / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
            let start = Instant::now();
            let mut client = sidecar.request(&head).await;
            client.send(chunk("hello")).await;
            client.send(LAST_CHUNK).await;
            let (_, (head, body)) = seen.recv().await.unwrap();
            assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
            assert_eq!(body, (b"hello".to_vec(), true), "{method}");
            assert!(client.head().await.starts_with("HTTP/1.1 504 "));
            assert_eq!(start.elapsed().as_secs(), 5, "{method}");

            let mut client = sidecar.request(&head).await;
            client.send(chunk("hello")).await;
            let start = Instant::now();
            assert!(client.head().await.starts_with("HTTP/1.1 408 "));
            assert_eq!(start.elapsed().as_secs(), 3, "{method}");
        });
    }
}

#[test]
fn methods_that_have_a_body_say_when_there_is_none() {
    for (method, says) in [
        ("POST", true),
        ("PUT", true),
        ("PATCH", true),
        ("GET", false),
        ("DELETE", false),
    ] {
        run(move || async move {
            let (came, mut seen) = moment();
            let backend = backend(move |mut peer| {
                let came = came.clone();
                async move {
                    came(peer.head().await);
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .await;
                    peer.closed().await;
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            let client = Connection::to(&sidecar).await;
            client.get(request(method)).await.unwrap();
            let (_, head) = seen.recv().await.unwrap();
            assert_eq!(head.contains("content-length: 0\r\n"), says, "{head}");
        });
    }
}

#[test]
fn odd_framing_leaves_as_one_valid_message_and_its_connection_is_never_used_again() {
    for (fields, body, expected) in [
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 3",
            "5\r\n12345\r\n0\r\n\r\n",
            "12345",
        ),
        (
            "Content-Length: 50\r\nTransfer-Encoding: chunked",
            "5\r\n12345\r\n0\r\n\r\n",
            "12345",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "2\r\nab\r\n0\r\n\r\n",
            "ab",
        ),
        (
            "Transfer-Encoding: chunked, chunked",
            "2\nab\n000\n\n",
            "ab",
        ),
        (
            "Transfer-Encoding: identity\r\nContent-Length: 2",
            "ab",
            "ab",
        ),
    ] {
        for label in ["text/plain", "text/event-stream"] {
            run(move || async move {
                let (connected, mut connections) = moment();
                let backend = backend(move |mut peer| {
                    let connected = connected.clone();
                    async move {
                        connected(());
                        while peer.try_head().await.is_some() {
                            let head = format!(
                                "HTTP/1.1 200 OK\r\nContent-Type: {label}\r\n{fields}\r\n\r\n"
                            );
                            peer.send(head + body).await;
                        }
                    }
                })
                .await;
                let sidecar = Sidecar::start(backend, "").await;
                let mut client = sidecar.connect().await;
                for _ in 0..2 {
                    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
                    let head = client.head().await.to_lowercase();
                    let is_chunked = head.contains("transfer-encoding: chunked\r\n");
                    assert_ne!(is_chunked, head.contains("content-length"), "{head}");
                    let seen = if is_chunked {
                        String::from_utf8(client.chunks().await.0).unwrap()
                    } else {
                        String::from_utf8(client.bytes(expected.len()).await).unwrap()
                    };
                    assert_eq!(seen, expected, "{fields} {label}");
                    assert!(
                        connections.try_recv().is_ok(),
                        "a connection of its own: {fields}"
                    );
                }
            });
        }
    }
}

#[test]
fn a_stream_with_a_true_length_ends_while_its_request_still_goes_up() {
    run(|| async {
        let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\ndata: 1\n\n";
        let sidecar = Sidecar::start(backend_that_says(stream).await, "").await;
        let mut client = sidecar
            .request("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
            .await;
        client.head().await;
        let start = Instant::now();
        assert_eq!(client.chunks().await, (b"data: 1\n\n".to_vec(), true));
        assert!(start.elapsed() < SECOND);
    });
}

#[test]
fn a_target_reaches_the_backend_byte_for_byte() {
    run(|| async {
        let (came, mut seen) = moment();
        let backend = backend(move |mut peer| {
            let came = came.clone();
            async move {
                loop {
                    came(peer.bytes_until(b"\r\n\r\n").await);
                    peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
                }
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        for target in [
            &b"/a?b=\"c\"&d=<e>`f`"[..],
            "/caf\u{e9}/\u{2713}?q=\u{e9}".as_bytes(),
            b"/caf\xE9?\xFF",
            b"/%63hat//a/./b?{x}|^\\[]",
            b"/?",
        ] {
            let mut client = sidecar.connect().await;
            let request = [b"GET ", target, b" HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
            client.send(&request).await;
            let (_, head) = seen.recv().await.unwrap();
            let line = [b"GET ", target, b" HTTP/1.1\r\n"].concat();
            assert!(head.starts_with(&line), "{}", head.escape_ascii());
            client.head().await;
            let absolute = [b"GET http://x", target, b" HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
            client.send(&absolute).await;
            let (_, head) = seen.recv().await.unwrap();
            assert!(head.starts_with(&line), "{}", head.escape_ascii());
            client.head().await;
        }
    });
}

#[test]
fn heads_that_real_backends_send_are_read() {
    run(|| async {
        let fields: String = (0..240)
            .map(|number| format!("X-{number}: {}\r\n", "v".repeat(200)))
            .collect();
        let odd = "Set-Cookie: a\u{1}b\r\nX-Folded: one\r\n two\r\n";
        let response = format!("HTTP/1.1 200 OK\r\n{odd}{fields}");
        let sidecar = Sidecar::start(
            backend_that_says(response + "Content-Length: 2\r\n\r\nok").await,
            "",
        )
        .await;
        let mut client = sidecar.request("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let head = client.head().await;
        assert!(
            head.contains("Set-Cookie: a b\r\nX-Folded: one   two\r\nX-0: vv"),
            "{}",
            &head[..200]
        );
        assert_eq!(client.bytes(2).await, b"ok");

        for (response, says) in [
            (
                "HTTP/1.1 200 OK\r\nX-Bad: a\0b\r\n\r\n".to_owned(),
                "`X-Bad`",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n".to_owned(),
                "`Content-Length`",
            ),
            (
                format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(70_000)),
                "server.max_response_head",
            ),
            (
                format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(251)),
                "server.max_response_headers",
            ),
            (
                "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(3000),
                "server.max_response_head",
            ),
        ] {
            let sidecar = Sidecar::start(backend_that_says(response).await, "").await;
            let mut client = sidecar.request("GET / HTTP/1.0\r\nHost: x\r\n\r\n").await;
            let (answer, _) = client.rest().await;
            let answer = String::from_utf8(answer).unwrap();
            assert!(
                answer.contains(" 502 ") && answer.contains(says),
                "{says}: {answer}"
            );
        }
    });
}
