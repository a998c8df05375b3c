//! Who wants no more of a stream can say so, and then the backend knows at once.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::common::{EVENTS, LAST_CHUNK, Peer, Sidecar, chunk, run};
use crate::kept::{Backends, event, get, id_of, with};

const KEYED: &str = "resume.grace = \"30s\"\nresume.key = \"header:X-Run\"\nresume.at = \"/runs/{key}\"\nresume.stop = \"POST /runs/{key}/stop\"";

async fn begun() -> (Sidecar, Backends, Peer, Peer, String) {
    let mut backends = Backends::start().await;
    let sidecar = Sidecar::start(backends.address, KEYED).await;
    let request = with(&get(""), "Cookie: sid=1\r\nX-Run: r 1");
    let mut client = sidecar.request(&request).await;
    let mut backend = backends.next().await;
    backend
        .send([EVENTS.as_bytes(), &chunk(event(1))].concat())
        .await;
    client.head().await;
    let id = id_of(&client.chunk().await);
    (sidecar, backends, backend, client, id)
}

/// Every way to stop, as the request that does so.
fn ways(id: &str) -> Vec<(&'static str, String)> {
    let length = id.len();
    vec![
        (
            "DELETE",
            with(&get(id).replacen("GET", "DELETE", 1), "Cookie: sid=1"),
        ),
        (
            "DELETE elsewhere on the route",
            format!(
                "DELETE /x HTTP/1.1\r\nHost: t\r\nCookie: sid=1\r\nLast-Event-ID: {id}\r\n\r\n"
            ),
        ),
        (
            "DELETE by key",
            "DELETE /runs/r%201 HTTP/1.1\r\nHost: t\r\nCookie: sid=1\r\n\r\n".to_owned(),
        ),
        (
            "beacon",
            format!(
                "POST /.well-known/sse-sidecar/stop HTTP/1.1\r\nHost: t\r\nCookie: sid=1\r\nContent-Type: text/plain\r\n\
                 Content-Length: {length}\r\n\r\n{id}"
            ),
        ),
    ]
}

#[test]
fn every_way_to_stop_reaches_the_backend_at_once_and_takes_an_identity() {
    for index in 0..4 {
        for is_detached in [false, true] {
            run(move || async move {
                let (sidecar, mut backends, mut backend, client, id) = begun().await;
                let mut client = Some(client);
                if is_detached {
                    client = None;
                    sleep(Duration::from_millis(10)).await;
                }
                let (name, request) = ways(&id).swap_remove(index);
                let foreign = request.replace("sid=1", "sid=2");
                let mut other = sidecar.request(&foreign).await;
                assert!(other.head().await.starts_with("HTTP/1.1 204 "), "{name}");
                backend.send(chunk(event(2))).await; // it is still there
                sleep(Duration::from_millis(10)).await;

                let asked = Instant::now();
                let mut stop = sidecar.request(&request).await;
                backend.closed().await;
                assert!(asked.elapsed() < Duration::from_millis(5), "{name}");
                assert!(stop.head().await.starts_with("HTTP/1.1 204 "), "{name}");
                let mut again = sidecar.request(&request).await;
                assert!(again.head().await.starts_with("HTTP/1.1 204 "), "{name}");
                if let Some(mut client) = client {
                    let (data, is_whole) = client.chunks().await;
                    assert!(data.starts_with(b"data: 2\n") && is_whole, "{name}");
                    assert!((sidecar.ends("stopped", "client") - 1.0).abs() < 0.1);
                }
                assert!(backends.no_more(), "{name}");
            });
        }
    }
}

#[test]
fn a_stop_that_the_backend_agrees_to() {
    for (status, stops) in [("204 No Content", true), ("404 Not Found", false)] {
        run(move || async move {
            let (sidecar, mut backends, mut backend, mut client, _) = begun().await;
            let request = "POST /runs/r%201/stop HTTP/1.1\r\nHost: t\r\nCookie: sid=1\r\nContent-Length: 0\r\n\r\n";
            let mut stop = sidecar.request(request).await;
            let (head, mut peer) = backends.next_head().await;
            assert!(head.starts_with("POST /runs/r%201/stop "), "{head}");
            peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))
                .await;
            assert!(
                stop.head()
                    .await
                    .starts_with(&format!("HTTP/1.1 {}", &status[..3]))
            );
            if stops {
                backend.closed().await;
                assert!(client.chunks().await.1);
            } else {
                backend
                    .send([chunk(event(2)), LAST_CHUNK.into()].concat())
                    .await;
                assert!(client.chunk().await.starts_with("data: 2\n"));
            }
        });
    }
}

#[test]
fn streams_are_joined_by_their_key() {
    run(|| async {
        let (sidecar, mut backends, mut backend, client, _) = begun().await;
        let join = |key: &str, cookie: &str| {
            format!("GET /runs/{key} HTTP/1.1\r\nHost: t\r\nCookie: {cookie}\r\n\r\n")
        };
        // Beside its first reader, from the start, and without ids, which it has not asked for.
        let mut second = sidecar.request(&join("r%201", "sid=1")).await;
        second.head().await;
        assert_eq!(second.chunk().await, "data: 1\n\n");
        for nothing in [join("r%202", "sid=1"), join("r%201", "sid=2")] {
            let mut nobody = sidecar.request(&nothing).await;
            assert!(nobody.head().await.starts_with("HTTP/1.1 204 "));
        }
        backend.send(chunk(event(2))).await;
        assert_eq!(second.chunk().await, "data: 2\n\n");
        drop(client);
        sleep(Duration::from_millis(10)).await;
        backend.send(chunk(event(3))).await;
        assert_eq!(second.chunk().await, "data: 3\n\n");
        backend.send(LAST_CHUNK).await;
        assert_eq!(second.chunk().await, "");
        assert!(backends.no_more());
    });
}

#[test]
fn mcp_keeps_and_cancels_by_its_revision() {
    for (version, keeps) in [
        ("2025-11-25", true),
        ("2026-07-28", false),
        ("2027-01-01", false),
    ] {
        run(move || async move {
            let mut backends = Backends::start().await;
            let sidecar = Sidecar::start(backends.address, "resume.grace = \"2s\"").await;
            let field = format!("MCP-Protocol-Version: {version}\r\nMcp-Session-Id: s1");
            let mut client = sidecar.request(&with(&get(""), &field)).await;
            let mut backend = backends.next().await;
            backend
                .send([EVENTS.as_bytes(), &chunk(event(1))].concat())
                .await;
            client.head().await;
            assert_eq!(client.chunk().await.contains("id: _"), keeps, "{version}");
            let left = Instant::now();
            drop(client);
            sleep(Duration::from_millis(4)).await;
            if keeps {
                // The end of the session is the end of its streams, and passes on.
                let end = "DELETE /events HTTP/1.1\r\nHost: t\r\nMcp-Session-Id: s1\r\n\r\n";
                let _end = sidecar.request(end).await;
                let (head, _peer) = backends.next_head().await;
                assert!(head.starts_with("DELETE /events "), "{head}");
                backend.closed().await;
            } else {
                backend.closed().await;
                assert!(left.elapsed() < Duration::from_millis(5), "{version}");
            }
        });
    }
}
