//! Heartbeats: when they are sent, in which form, and that no application sees them.

use std::time::Duration;

use crate::common::{EVENTS, LAST_CHUNK, Sidecar, backend, backend_that_says, chunk, run, watched};
use tokio::time::{Instant, sleep};

#[test]
fn a_silent_stream_gets_one_every_interval() {
    run(|| async {
        let sidecar = Sidecar::start(
            backend_that_says([EVENTS.as_bytes(), &chunk("data: 1\n\n")].concat()).await,
            "",
        )
        .await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        assert_eq!(client.chunk().await, "data: 1\n\n");
        let start = Instant::now();
        for beat in 1..=5 {
            assert_eq!(client.chunk().await, ": heartbeat\n");
            assert_eq!((Instant::now() - start).as_millis(), beat * 15_000);
        }
        assert!((sidecar.metric("sse_sidecar_heartbeats_sent_total") - 5.0).abs() < 0.1);
    });
}

#[test]
fn a_stream_without_any_event_gets_them_too() {
    run(|| async {
        let sidecar = Sidecar::start(
            backend_that_says(EVENTS).await,
            "heartbeat.interval = \"1s\"",
        )
        .await;
        let start = Instant::now();
        let mut client = sidecar.get_events().await;
        client.head().await;
        assert_eq!(start.elapsed(), Duration::ZERO, "the head goes out at once");
        assert_eq!(client.chunk().await, ": heartbeat\n");
        assert_eq!(start.elapsed().as_millis(), 1000);
    });
}

#[test]
fn a_busy_stream_gets_none() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.send(EVENTS).await;
            for _ in 0..20 {
                sleep(Duration::from_secs(14)).await;
                peer.send(chunk("data: x\n\n")).await;
            }
            peer.send(LAST_CHUNK).await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        let (body, complete) = client.chunks().await;
        assert_eq!(String::from_utf8(body).unwrap(), "data: x\n\n".repeat(20));
        assert!(complete);
    });
}

#[test]
fn a_due_one_waits_for_the_end_of_the_line() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.send([EVENTS.as_bytes(), &chunk("data: he")].concat())
                .await;
            sleep(Duration::from_secs(20)).await;
            peer.send(chunk("llo\ndata: x\n\n")).await;
            peer.send(LAST_CHUNK).await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        assert_eq!(client.chunk().await, "data: he");
        let start = Instant::now();
        assert_eq!(client.chunk().await, "llo\n: heartbeat\ndata: x\n\n");
        assert_eq!(start.elapsed().as_secs(), 20);
        assert_eq!(client.chunk().await, "");
    });
}

#[test]
fn the_form_is_the_clients() {
    for (fields, stream, expected) in [
        (
            "Accept: text/event-stream\r\n",
            "data: x\n\n",
            ": heartbeat\n",
        ),
        ("Accept: */*\r\n", "data: x\n\n", ": heartbeat\n\n"),
        ("", "id: 1\ndata: x\n\n", ": heartbeat\n"),
        ("", "data: x\n", ": heartbeat\n"),
        (
            "User-Agent: OpenAI/Go 3.42.0\r\n",
            "data: x\n\n",
            ": heartbeat\n",
        ),
        (
            "User-Agent: google-genai-sdk/2.0\r\nAccept: text/event-stream\r\n",
            "id: 1\ndata: x\n\n",
            ": heartbeat\n\n",
        ),
    ] {
        run(move || async move {
            let sidecar = Sidecar::start(
                backend_that_says([EVENTS.as_bytes(), &chunk(stream)].concat()).await,
                "",
            )
            .await;
            let mut client = sidecar
                .request(&format!("POST / HTTP/1.1\r\nHost: test\r\n{fields}\r\n"))
                .await;
            client.head().await;
            assert_eq!(client.chunk().await, stream);
            assert_eq!(
                client.chunk().await,
                expected,
                "for {fields:?} after {stream:?}"
            );
        });
    }
}

#[test]
fn a_route_sets_text_frame_and_interval() {
    run(|| async {
        let toml = r#"
            [[route]]
            path = "/quiet"
            heartbeat.interval = "off"
            [[route]]
            path = "/other"
            heartbeat = { interval = "3s", frame = "block", text = "still here" }
        "#;
        let sidecar = Sidecar::start(backend_that_says(EVENTS).await, toml).await;
        let mut other = sidecar
            .request("GET /other/x HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n")
            .await;
        other.head().await;
        let start = Instant::now();
        assert_eq!(other.chunk().await, ": still here\n\n");
        assert_eq!(start.elapsed().as_secs(), 3);
        let mut quiet = sidecar
            .request("GET /quiet HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n")
            .await;
        quiet.head().await;
        assert_eq!(quiet.within(Duration::from_secs(119)).await, "");
    });
}

#[test]
fn an_opaque_stream_gets_none() {
    run(|| async {
        let head = EVENTS.replace("\r\n\r\n", "\r\nContent-Encoding: x-secret\r\n\r\n");
        let sidecar = Sidecar::start(
            backend_that_says([head.as_bytes(), &chunk("\x01\x02\n\n")].concat()).await,
            "",
        )
        .await;
        let mut client = sidecar.get_events().await;
        assert!(
            client
                .head()
                .await
                .to_lowercase()
                .contains("content-encoding: x-secret")
        );
        assert_eq!(client.chunk().await, "\x01\x02\n\n");
        assert_eq!(client.within(Duration::from_secs(119)).await, "");
        assert!((sidecar.metric("sse_sidecar_streams_opaque_total") - 1.0).abs() < 0.1);
    });
}

#[test]
fn a_bom_after_a_heartbeat_is_dropped() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.send(EVENTS).await;
            sleep(Duration::from_secs(16)).await;
            for byte in "\u{FEFF}data: x\n\n".as_bytes() {
                peer.send(chunk([*byte])).await;
            }
            peer.send(LAST_CHUNK).await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        let (body, complete) = client.chunks().await;
        assert_eq!(String::from_utf8(body).unwrap(), ": heartbeat\ndata: x\n\n");
        assert!(complete);
    });
}

#[test]
fn they_stop_with_the_client() {
    run(|| async {
        let (backend, mut seen) = watched(EVENTS).await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        sleep(Duration::from_secs(40)).await;
        let left = Instant::now();
        drop(client);
        let (at, _) = seen.recv().await.unwrap();
        assert_eq!(at, left, "the backend is told at once");
        sleep(Duration::from_secs(60)).await;
        assert!((sidecar.metric("sse_sidecar_heartbeats_sent_total") - 2.0).abs() < 0.1);
    });
}
