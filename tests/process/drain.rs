//! SIGTERM: the drain, and what it leaves.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Sidecar, backend, config, field, read_until};

#[test]
fn sigterm_lets_requests_finish_and_takes_no_more() {
    let mut sidecar = Sidecar::start(&config(
        backend(),
        "drain = { delay = \"300ms\", timeout = \"10s\" }",
    ));
    let mut slow = sidecar.get("/slow");
    let mut idle = sidecar.get("/plain");
    read_until(&mut idle, "\r\n\r\nok");
    std::thread::sleep(Duration::from_millis(100));
    sidecar.signal("TERM");
    sidecar.wait_for("still accepting");
    assert!(sidecar.ask_admin("/ready").starts_with("HTTP/1.1 503 "));
    let mut late = sidecar.get("/plain");
    assert!(
        read_until(&mut late, "\r\n\r\nok").starts_with("HTTP/1.1 200 "),
        "accepted during the delay"
    );
    sidecar.wait_for("accepting no more");
    assert_eq!(
        TcpStream::connect(&sidecar.address).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    assert_eq!(
        idle.read(&mut [0]).unwrap(),
        0,
        "an idle connection is closed"
    );
    let answer = read_until(&mut slow, "\r\n\r\nok");
    assert!(
        answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
    assert_eq!(sidecar.exit().code(), Some(0));
}

#[test]
fn what_is_left_at_the_drains_end_is_ended_at_a_boundary() {
    let mut sidecar = Sidecar::start(&config(
        backend(),
        "drain = { delay = \"off\", timeout = \"300ms\" }",
    ));
    let mut stream = sidecar.get("/events");
    read_until(&mut stream, "data: x\n\n\r\n");
    sidecar.signal("TERM");
    assert_eq!(
        read_until(&mut stream, "0\r\n\r\n"),
        "0\r\n\r\n",
        "a clean end"
    );
    let ended = sidecar.wait_for("stream ended");
    assert_eq!(field(&ended, "reason").unwrap(), "shutdown");
    assert_eq!(sidecar.exit().code(), Some(0), "nothing was cut");
}

#[test]
fn what_is_cut_shows_in_the_exit_code() {
    let mut sidecar = Sidecar::start(&config(
        backend(),
        "drain = { delay = \"off\", timeout = \"300ms\" }",
    ));
    let mut half = sidecar.get("/half");
    read_until(&mut half, "data: x\r\n");
    sidecar.signal("TERM");
    let mut rest = Vec::new();
    half.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "no last chunk: {rest:?}");
    assert_eq!(sidecar.exit().code(), Some(1));
    sidecar.wait_for("responses were cut"); // the last line is in the log
}

#[test]
fn the_drain_over_http2() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for (path, timeout, ends, code) in [
        ("/slow", "10s", true, 0),
        ("/events", "300ms", true, 0),
        ("/half", "300ms", false, 1),
    ] {
        let drain = format!("drain = {{ delay = \"off\", timeout = \"{timeout}\" }}");
        let mut sidecar = Sidecar::start(&config(backend(), &drain));
        runtime.block_on(async {
            let stream = sidecar.connect();
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
            let connection = tokio::spawn(connection);
            let request = http::Request::get(format!("http://t{path}"));
            let (response, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
            let mut first = None;
            let mut response = Some(response);
            if path == "/slow" {
                tokio::time::sleep(Duration::from_millis(100)).await;
            } else {
                let mut body = response.take().unwrap().await.unwrap().into_body();
                body.data().await.unwrap().unwrap();
                first = Some(body);
            }
            sidecar.signal("TERM");
            let mut body = match first {
                Some(body) => body,
                None => response.unwrap().await.unwrap().into_body(),
            };
            let end = loop {
                match body.data().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break Err(error),
                    None => break Ok(()),
                }
            };
            assert_eq!(end.is_ok(), ends, "{path}: {end:?}");
            drop((body, send));
            connection.await.unwrap().unwrap(); // closed in order
        });
        assert_eq!(sidecar.exit().code(), Some(code), "{path}");
    }
}

#[test]
fn rotated_streams_end_one_by_one_and_cleanly() {
    const STREAMS: usize = 300;
    let window = Duration::from_secs(4).mul_f64(0.8);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for http2 in [false, true] {
        let rest = "drain = { delay = \"off\", timeout = \"4s\", streams = \"rotate\" }\nheartbeat.interval = \"off\"";
        let mut sidecar = Sidecar::start(&config(backend(), rest));
        let ends: Vec<Duration> = runtime.block_on(async {
            let mut open = Vec::new();
            for _ in 0..STREAMS {
                open.push(if http2 {
                    Stream::Two(open_with_http2(&sidecar).await)
                } else {
                    Stream::One(open_with_http1(&sidecar).await)
                });
            }
            sidecar.signal("TERM");
            let start = Instant::now();
            let ends = open.into_iter().map(|stream| {
                tokio::spawn(async move {
                    stream.ends_in_order().await;
                    start.elapsed()
                })
            });
            let ends: Vec<_> = ends.collect();
            let mut at = Vec::new();
            for end in ends {
                at.push(end.await.unwrap());
            }
            at
        });
        assert_eq!(sidecar.exit().code(), Some(0), "nothing was cut");
        let in_quarter = |quarter: u32| {
            let (from, to) = (window / 4 * quarter, window / 4 * (quarter + 1));
            ends.iter().filter(|&&at| from <= at && at < to).count()
        };
        // A busy machine may be late with some, but not with most.
        let quarters = [0, 1, 2, 3].map(in_quarter);
        assert!(quarters.iter().all(|&ends| ends > 20), "{quarters:?}");
    }
}

/// An event stream as a client has it.
enum Stream {
    One(tokio::net::TcpStream),
    Two(h2::RecvStream),
}

/// A connection of its own, on which the first event has come.
async fn open_with_http1(sidecar: &Sidecar) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(&sidecar.address)
        .await
        .unwrap();
    let request = b"GET /events HTTP/1.1\r\nHost: t\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"data: x\n\n\r\n") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
    }
    stream
}

/// The same with HTTP/2.
async fn open_with_http2(sidecar: &Sidecar) -> h2::RecvStream {
    let stream = tokio::net::TcpStream::connect(&sidecar.address)
        .await
        .unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://t/events").body(()).unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "data: x\n\n");
    body
}

impl Stream {
    /// Reads to the end, which has to be a last chunk and the connection's end, or `END_STREAM`.
    async fn ends_in_order(self) {
        match self {
            Self::One(mut stream) => {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.unwrap();
                assert_eq!(rest, b"0\r\n\r\n");
            }
            Self::Two(mut body) => {
                // A frame may come that has nothing but END_STREAM.
                while let Some(data) = body.data().await {
                    assert_eq!(data.unwrap(), "");
                }
                assert!(body.is_end_stream());
            }
        }
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut sidecar = Sidecar::start(&config(
        backend(),
        "drain = { delay = \"1h\", timeout = \"1h\" }",
    ));
    let mut stream = sidecar.get("/events");
    read_until(&mut stream, "data: x\n\n\r\n");
    sidecar.signal("TERM");
    sidecar.wait_for("still accepting");
    sidecar.signal("TERM");
    assert_eq!(sidecar.exit().code(), Some(0), "nothing was cut");

    let config = config(backend(), "drain = { delay = \"off\", timeout = \"1h\" }");
    let mut sidecar = Sidecar::start(&config);
    let mut stream = sidecar.get("/half");
    read_until(&mut stream, "data: x\r\n");
    sidecar.signal("TERM");
    sidecar.wait_for("accepting no more");
    sidecar.signal("INT");
    assert_eq!(sidecar.exit().code(), Some(1));
}
