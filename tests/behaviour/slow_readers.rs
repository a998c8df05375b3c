//! A client that reads at a rate, however slow, is none that takes nothing: it gets all, though it takes far longer than `write`.

use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep};

use crate::common::{Peer, Sidecar, backend_that_says, chunk, run};
use crate::either::{Connection, Http, request};

/// How long a client may take nothing.
const WRITE: Duration = Duration::from_secs(3);

const SIZE: usize = 2_000_000;
/// How much is read at once, and how often.
const PART: usize = 100_000;
const INTERVAL: Duration = Duration::from_millis(500);

#[test]
fn who_reads_at_a_rate_gets_all_of_it() {
    for client in [Http::One, Http::Two] {
        for label in ["text/plain", "text/event-stream"] {
            run(move || async move {
                let event = format!("data: {}\n\n", "x".repeat(992));
                let events = event.repeat(SIZE / event.len());
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {label}\r\nTransfer-Encoding: chunked\r\n\r\n"
                );
                let body = [&chunk(&events)[..], b"0\r\n\r\n"].concat();
                let backend = backend_that_says([head.as_bytes(), &body].concat()).await;
                let sidecar = Sidecar::start(
                    backend,
                    &format!("timeouts.write = \"{}s\"", WRITE.as_secs()),
                )
                .await;
                let start = Instant::now();
                let seen = match client {
                    Http::One => read_http1(&sidecar).await,
                    Http::Two => read_http2(&sidecar).await,
                };
                let case = format!("{label} {client:?}");
                assert!(seen.replace(": heartbeat\n", "") == events, "{case}");
                let took = start.elapsed();
                assert!(took > 2 * WRITE, "{case}: {took:?}");
            });
        }
    }
}

async fn read_http1(sidecar: &Sidecar) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut client = Peer::new(socket.connect(sidecar.address).await.unwrap());
    let request = "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    client.send(request).await;
    client.head().await;
    let (mut seen, mut chunked) = (Vec::new(), sse_sidecar::wire::Chunked::new());
    while !chunked.is_done() {
        let mut part = client.at_most(PART).await;
        assert!(!part.is_empty(), "it was cut after {}", seen.len());
        let (kept, read) = chunked.decode_in_place(&mut part, |_| {}).unwrap();
        assert_eq!(read, part.len());
        seen.extend_from_slice(&part[..kept]);
        sleep(INTERVAL).await;
    }
    String::from_utf8(seen).unwrap()
}

async fn read_http2(sidecar: &Sidecar) -> String {
    let client = Connection::to(sidecar).await;
    let (response, _) = client
        .send(request("GET").body(()).unwrap(), false)
        .await
        .unwrap();
    let mut body = response.await.unwrap().into_body();
    let (mut seen, mut unreleased) = (Vec::new(), 0);
    while let Some(data) = body.data().await {
        let data = data.unwrap_or_else(|error| panic!("after {}: {error}", seen.len()));
        seen.extend_from_slice(&data);
        unreleased += data.len();
        if unreleased >= 50_000 {
            sleep(INTERVAL / 2).await;
            body.flow_control().release_capacity(unreleased).unwrap();
            unreleased = 0;
        }
    }
    String::from_utf8(seen).unwrap()
}
