//! The connections of a stream after it, on both sides.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};

use super::EVENT;
use crate::common::{
    Closed, EVENTS, GET_EVENTS, LAST_CHUNK, Sidecar, backend, backend_that_says, chunk, run,
    watched,
};

#[test]
fn after_a_stream_the_connection_continues() {
    run(|| async {
        let says = [EVENTS.as_bytes(), &chunk(EVENT), LAST_CHUNK.as_bytes()].concat();
        let backend = backend(move |mut peer| {
            let says = says.clone();
            async move {
                loop {
                    peer.head().await;
                    peer.send(&says).await;
                }
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.connect().await;
        client.send([GET_EVENTS, GET_EVENTS].concat()).await; // the second one pipelined
        for _ in 0..2 {
            client.head().await;
            assert_eq!(client.chunks().await, (EVENT.as_bytes().to_vec(), true));
        }
        client.send(GET_EVENTS).await;
        client.head().await;
        assert_eq!(client.chunks().await, (EVENT.as_bytes().to_vec(), true));
    });
}

#[test]
fn after_a_stream_the_connection_ends_where_its_client_wants_that() {
    run(|| async {
        let says = [EVENTS.as_bytes(), &chunk(EVENT), LAST_CHUNK.as_bytes()].concat();
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        let request = GET_EVENTS.replace("Host", "Connection: close\r\nHost");
        let mut client = sidecar.request(&request).await;
        assert!(client.head().await.contains("\r\nconnection: close\r\n"));
        let (rest, closed) = client.rest().await;
        let expected = [chunk(EVENT), LAST_CHUNK.into()].concat();
        assert_eq!((rest, closed), (expected, Closed::Fin));
    });
}

#[test]
fn a_client_that_reads_now_and_then_gets_every_byte() {
    const EVENTS_SENT: usize = 60_000;
    let event = |n: usize| format!("id: {n}\ndata: {}\n\n", "x".repeat(n % 200));
    run(move || async move {
        let backend = backend(move |mut peer| async move {
            peer.head().await;
            peer.send(EVENTS).await;
            for n in (0..EVENTS_SENT).step_by(100) {
                let events: String = (n..n + 100).map(event).collect();
                peer.send(chunk(events)).await;
            }
            peer.send(LAST_CHUNK).await;
        })
        .await;
        let toml = "heartbeat.interval = \"off\"\ntimeouts.write = \"off\"";
        let sidecar = Sidecar::start(backend, toml).await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        sleep(Duration::from_secs(20)).await; // every buffer on the way is full
        tokio::time::resume(); // the kernel needs a while for this, and a paused clock would advance
        let (seen, ended) = client.chunks().await;
        let expected: String = (0..EVENTS_SENT).map(event).collect();
        assert!(ended && seen == expected.as_bytes());
    });
}

#[test]
fn a_stream_that_is_there_at_once_leaves_in_one_write() {
    run(|| async {
        let whole = [EVENTS.as_bytes(), &chunk(EVENT), LAST_CHUNK.as_bytes()].concat();
        let sidecar = Sidecar::start(backend_that_says(whole).await, "").await;
        let mut client = sidecar.get_events().await;
        let mut seen = Vec::with_capacity(4096);
        client.stream.read_buf(&mut seen).await.unwrap();
        let end = [&*chunk(EVENT), LAST_CHUNK.as_bytes()].concat();
        assert!(seen.ends_with(&end), "{}", seen.escape_ascii().to_string());
    });
}

#[test]
fn the_connection_of_a_stream_that_has_ended_is_kept() {
    for (head, end, connects) in [
        (EVENTS, LAST_CHUNK, 1.0),
        // More than was asked for.
        (EVENTS, "0\r\n\r\nHTTP", 3.0),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            LAST_CHUNK,
            3.0,
        ),
    ] {
        run(move || async move {
            let backend = backend(move |mut peer| async move {
                loop {
                    peer.head().await;
                    peer.send(head).await;
                    sleep(Duration::from_secs(1)).await;
                    peer.send([&*chunk(EVENT), end.as_bytes()].concat()).await;
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            for _ in 0..3 {
                let mut client = sidecar.get_events().await;
                client.head().await;
                assert_eq!(client.chunk().await, EVENT);
                assert_eq!(client.chunk().await, "");
            }
            let seen = sidecar.metric("sse_sidecar_upstream_connects_total");
            assert!((seen - connects).abs() < 0.1, "{seen} after {head}{end}");
        });
    }
}

#[test]
fn the_connection_of_a_stream_that_the_sidecar_ended_is_closed() {
    run(|| async {
        let (backend, mut closed) = watched(EVENTS).await;
        let sidecar = Sidecar::start(backend, "timeouts.total = \"10s\"").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        assert_eq!(client.chunk().await, "");
        assert_eq!(closed.recv().await.unwrap().0, Instant::now());
    });
}
