//! A WebSocket on a stream of HTTP/2 (RFC 8441) is an upgrade to the backend.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, timeout};

use crate::common::{Closed, Sidecar, backend, moment, run};
use crate::frames::{END_HEADERS, END_STREAM, Frame, Kind, Raw, block};

const OPEN: u8 = 0x88; // `:status: 200`, as HPACK's static table has it
const MOMENT: Duration = Duration::from_millis(50);

fn connect(stream: u32, protocol: &str, more: &[(&str, &str)]) -> Frame {
    let mut fields = vec![
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":path", "/chat?x=1"),
        (":authority", "app.test"),
    ];
    fields.extend(more);
    Frame::new(Kind::Headers, END_HEADERS, stream, block(&fields))
}

fn data(stream: u32, bytes: &str) -> Frame {
    Frame::new(Kind::Data, 0, stream, bytes)
}

async fn client(sidecar: &Sidecar) -> Raw {
    let mut client = Raw::connect(sidecar).await;
    client.settings(&[]).await;
    let settings = client.next_of(Kind::Settings).await.payload;
    // RFC 8441, section 3: SETTINGS_ENABLE_CONNECT_PROTOCOL is 8.
    assert!(
        settings
            .chunks(6)
            .any(|setting| setting == [0, 8, 0, 0, 0, 1])
    );
    client
}

/// The proof that a backend owes for this request.
fn accept(head: &str) -> String {
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("sec-websocket-key: "))
        .unwrap();
    let proof = [key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, proof.as_bytes()))
}

/// A backend that opens every WebSocket, and what became of each.
async fn opening(
    first: &'static str,
) -> (SocketAddr, UnboundedReceiver<(Instant, (String, Closed))>) {
    let (ended, seen) = moment();
    let backend = backend(move |mut peer| {
        let ended = ended.clone();
        async move {
            let head = peer.head().await;
            let accept = accept(&head);
            peer.send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n{first}"
            ))
            .await;
            ended((head, peer.closed().await));
            sleep(Duration::from_secs(1000)).await; // it keeps its own direction open
        }
    })
    .await;
    (backend, seen)
}

#[test]
fn it_is_an_upgrade_to_the_backend() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            let head = peer.head().await;
            assert!(head.starts_with("GET /chat?x=1 HTTP/1.1\r\n"), "{head}");
            for line in [
                "host: app.test",
                "upgrade: websocket",
                "connection: upgrade",
                "sec-websocket-version: 13",
                "sec-websocket-protocol: chat",
            ] {
                assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
            }
            assert!(
                !head.contains("content-length") && !head.contains("transfer-encoding"),
                "{head}"
            );
            let accept = accept(&head);
            peer.send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\nfirst"
            ))
            .await;
            for n in 0..20 {
                peer.until(&format!("ping {n};")).await;
                peer.send(format!("pong {n};")).await;
            }
            assert_eq!(peer.closed().await, Closed::Fin);
            peer.send("last").await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = client(&sidecar).await;
        client
            .send(connect(
                1,
                "websocket",
                &[
                    ("sec-websocket-protocol", "chat"),
                    ("sec-websocket-version", "13"),
                ],
            ))
            .await;
        client.send(data(1, "ping 0;")).await;
        let head = client.next_of(Kind::Headers).await;
        assert_eq!((head.payload[0], head.flags & END_STREAM), (OPEN, 0));
        let text = String::from_utf8_lossy(&head.payload).into_owned();
        assert!(!text.contains("accept"), "{text}");
        assert_eq!(client.next_of(Kind::Data).await.payload, b"first");
        assert_eq!(client.next_of(Kind::Data).await.payload, b"pong 0;");
        for n in 1..20 {
            client.send(data(1, &format!("ping {n};"))).await;
            assert_eq!(
                client.next_of(Kind::Data).await.payload,
                format!("pong {n};").as_bytes()
            );
        }
        client.send(Frame::new(Kind::Data, END_STREAM, 1, [])).await;
        let last = client.next_of(Kind::Data).await;
        assert_eq!(last.payload, b"last");
        if last.flags & END_STREAM == 0 {
            let end = client.next_of(Kind::Data).await;
            assert_eq!((end.payload.len(), end.flags & END_STREAM), (0, END_STREAM));
        }
    });
}

#[test]
fn each_side_hears_of_the_others_end() {
    run(|| async {
        let (backend, mut seen) = opening("").await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = client(&sidecar).await;
        // The stream is reset.
        client.send(connect(1, "websocket", &[])).await;
        client.next_of(Kind::Headers).await;
        client.send(Frame::reset(1)).await;
        timeout(MOMENT, seen.recv())
            .await
            .expect("the backend is told");
        // The connection is gone.
        client.send(connect(3, "websocket", &[])).await;
        client.next_of(Kind::Headers).await;
        drop(client);
        timeout(MOMENT, seen.recv())
            .await
            .expect("the backend is told");
    });
    run(|| async {
        let backend = backend(|mut peer| async move {
            let accept = accept(&peer.head().await);
            peer.send(format!("HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n")).await;
            sleep(MOMENT).await;
            peer.reset();
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = client(&sidecar).await;
        client.send(connect(1, "websocket", &[])).await;
        client.next_of(Kind::Headers).await;
        client.next_of(Kind::RstStream).await;
    });
}

#[test]
fn what_opens_no_websocket_opens_no_tunnel() {
    for (response, status) in [
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
            "403",
        ),
        // To the client any 2xx would be an open tunnel.
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", "502"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            "502",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
            "502",
        ),
    ] {
        run(move || async move {
            let backend = backend(move |mut peer| async move {
                peer.head().await;
                peer.send(response).await;
                peer.closed().await;
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            let mut client = client(&sidecar).await;
            client.send(connect(1, "websocket", &[])).await;
            let head = client.next_of(Kind::Headers).await.payload;
            let metric = format!(
                "sse_sidecar_requests_total{{status=\"{}xx\"}}",
                &status[..1]
            );
            assert_ne!(head[0], OPEN, "{response}");
            assert!(sidecar.metric(&metric) > 0.9, "{response}: {metric}");
        });
    }
}

#[test]
fn other_protocols_are_refused() {
    run(|| async {
        let (backend, mut seen) = opening("").await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = client(&sidecar).await;
        for (stream, protocol) in [(1, "connect-udp"), (3, "webtransport")] {
            client.send(connect(stream, protocol, &[])).await;
            assert_ne!(client.next_of(Kind::Headers).await.payload[0], OPEN);
        }
        client.send(connect(5, "websocket", &[])).await;
        assert_eq!(client.next_of(Kind::Headers).await.payload[0], OPEN);
        assert!(seen.try_recv().is_err());
    });
}

#[test]
fn a_half_closed_one_does_not_stay_for_ever() {
    run(|| async {
        let (backend, mut seen) = opening("").await;
        let sidecar = Sidecar::start(backend, "timeouts.read = \"7s\"").await;
        let mut client = client(&sidecar).await;
        client.send(connect(1, "websocket", &[])).await;
        client.next_of(Kind::Headers).await;
        sleep(Duration::from_secs(25)).await; // open, it may be silent
        let half_closed = Instant::now();
        client.send(Frame::new(Kind::Data, END_STREAM, 1, [])).await;
        client.next_of(Kind::RstStream).await;
        assert_eq!(half_closed.elapsed().as_secs(), 7);
        let (_, (_, closed)) = seen.recv().await.unwrap();
        assert_eq!(closed, Closed::Fin);
    });
}
