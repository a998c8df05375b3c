//! Bytes off the network never panic, and cost no other stream anything: damaged requests and responses by the thousand.

use std::cell::{Cell, RefCell};
use std::panic;
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::common::{Sidecar, backend, run};

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Counts the panics of each thread: tokio swallows those of its tasks.
fn count_panics() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            usual(info);
        }));
    });
}

/// `bytes` with some of them changed, doubled, dropped or moved.
fn damage(bytes: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(0..6) {
        if bytes.is_empty() {
            break;
        }
        let at = random.usize(0..bytes.len());
        match random.u8(0..6) {
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] = *random.choice(b"\r\n\0 :;,=0fF").unwrap(),
            2 => bytes.insert(at, *random.choice(b"\r\n\0 :;,=0fF").unwrap()),
            3 => drop(bytes.remove(at)),
            4 => bytes.truncate(at + 1),
            _ => bytes.rotate_left(at),
        }
    }
    bytes
}

/// Writes `bytes` in pieces, whatever becomes of them.
async fn send_in_pieces(stream: &mut TcpStream, bytes: &[u8], size: usize) {
    for piece in bytes.chunks(size) {
        if stream.write_all(piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

const REQUESTS: [&str; 5] = [
    "GET /events HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n",
    "POST /x?y=z HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\nhello world",
    "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HEAD http://t:80/ HTTP/1.1\r\nHost: t\r\n\r\n",
];

const RESPONSES: [&str; 6] = [
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1f\x0b\x08\x00\x00\x00",
    "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nbytes",
    "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n\u{FEFF}data: x\n\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
];

#[test]
fn damaged_bytes_from_either_side() {
    nothing_breaks("", &[""]);
}

#[test]
fn damaged_proxy_protocol_headers() {
    const HEADERS: [&str; 2] = [
        "PROXY TCP4 192.0.2.60 192.0.2.1 56324 443\r\n",
        "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B\x0C",
    ];
    nothing_breaks("[[listener]]\nproxy_protocol = true\n", &HEADERS);
}

/// Thousands of connections to a `listener`, each with one of `headers`, a request and a response, all of it damaged.
fn nothing_breaks(listener: &'static str, headers: &'static [&'static str]) {
    run(move || async move {
        count_panics();
        let random = Rc::new(RefCell::new(fastrand::Rng::with_seed(7)));
        let shared = random.clone();
        let backend = backend(move |mut peer| {
            let random = shared.clone();
            async move {
                let _ = timeout(Duration::from_secs(1), peer.stream.read(&mut [0; 4096])).await;
                let (response, size) = {
                    let mut random = random.borrow_mut();
                    let response = random.choice(RESPONSES).unwrap();
                    (
                        damage(response.as_bytes(), &mut random),
                        random.usize(1..80),
                    )
                };
                send_in_pieces(&mut peer.stream, &response, size).await;
            }
        })
        .await;
        let toml = format!("events.on_upstream_failure = \"mcp\"\n{listener}");
        let sidecar = Sidecar::start(backend, &toml).await;
        for _ in 0..3000 {
            let (request, size) = {
                let mut random = random.borrow_mut();
                let request = random.choice(REQUESTS).unwrap();
                let request = [*random.choice(headers).unwrap(), request].concat();
                (damage(request.as_bytes(), &mut random), random.usize(1..80))
            };
            let mut client = TcpStream::connect(sidecar.address).await.unwrap();
            send_in_pieces(&mut client, &request, size).await;
            let mut answer = [0; 4096];
            let _ = timeout(Duration::from_secs(1), client.read(&mut answer)).await;
        }
        // Anything unfinished is dropped by its timeout.
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(PANICS.get(), 0);
        assert!(
            sidecar.metric("sse_sidecar_requests_active").abs() < 0.1,
            "something was never ended"
        );
        assert!(
            sidecar.metric("sse_sidecar_streams_active").abs() < 0.1,
            "some stream was never ended"
        );
    });
}
