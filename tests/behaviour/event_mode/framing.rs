//! How the end of a stream is found, and passed on.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::EVENT;
use crate::common::{Closed, EVENTS, LAST_CHUNK, Sidecar, backend, backend_that_says, chunk, run};

#[test]
fn framing_is_healed() {
    let type_only = "Content-Type: text/event-stream\r\n";
    for (what, head, body, complete) in [
        (
            "HTTP/1.0",
            format!("HTTP/1.0 200 OK\r\n{type_only}\r\n"),
            EVENT,
            true,
        ),
        (
            "close-delimited",
            format!("HTTP/1.1 200 OK\r\n{type_only}\r\n"),
            EVENT,
            true,
        ),
        (
            "too short a length",
            format!("HTTP/1.1 200 OK\r\n{type_only}Content-Length: 3\r\n\r\n"),
            EVENT,
            true,
        ),
        (
            "too long a length",
            format!("HTTP/1.1 200 OK\r\n{type_only}Content-Length: 3000\r\n\r\n"),
            EVENT,
            true,
        ),
        (
            "an absurd length",
            format!("HTTP/1.1 200 OK\r\n{type_only}Content-Length: 18446744073709551615\r\n\r\n"),
            EVENT,
            true,
        ),
        (
            "two lengths",
            format!("HTTP/1.1 200 OK\r\n{type_only}Content-Length: 3\r\nContent-Length: 4\r\n\r\n"),
            EVENT,
            true,
        ),
        (
            "a length of zero",
            format!("HTTP/1.1 200 OK\r\n{type_only}Content-Length: 0\r\n\r\n"),
            EVENT,
            true,
        ),
        (
            "no last chunk",
            EVENTS.to_owned(),
            "9\r\ndata: x\n\n\r\n",
            false,
        ),
        (
            "no last chunk after [DONE]",
            EVENTS.to_owned(),
            "e\r\ndata: [DONE]\n\n\r\n",
            true,
        ),
        (
            "too long a length, inside an event",
            format!("HTTP/1.1 200 OK\r\n{type_only}Content-Length: 3000\r\n\r\n"),
            "data: ",
            false,
        ),
    ] {
        run(move || async move {
            let says = format!("{head}{body}");
            let backend = backend(move |mut peer| {
                let says = says.clone();
                async move {
                    peer.head().await;
                    peer.send(says).await;
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            let mut client = sidecar.get_events().await;
            let head = client.head().await.to_lowercase();
            assert!(
                head.contains("transfer-encoding: chunked") && !head.contains("content-length"),
                "{what}: {head}"
            );
            let (seen, ended) = client.chunks().await;
            let text =
                body.trim_start_matches(|c: char| c.is_ascii_hexdigit() && body.contains("\r\n"));
            assert_eq!(
                String::from_utf8(seen).unwrap().trim_end(),
                text.trim(),
                "{what}"
            );
            assert_eq!(ended, complete, "{what}");
        });
    }
}

#[test]
fn a_false_length_does_not_end_a_stream_that_goes_on() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 12\r\n\r\n",
            )
            .await;
            for _ in 0..3 {
                peer.send(EVENT).await;
                sleep(Duration::from_secs(20)).await;
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        let (body, complete) = client.chunks().await;
        assert_eq!(
            String::from_utf8(body).unwrap(),
            format!("{EVENT}: heartbeat\n").repeat(3)
        );
        assert!(complete);
    });
}

#[test]
fn a_true_length_ends_a_stream_on_a_connection_that_stays_open() {
    run(|| async {
        let says = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\n{EVENT}"
        );
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        let start = Instant::now();
        let mut client = sidecar.get_events().await;
        client.head().await;
        assert_eq!(client.chunks().await, (EVENT.as_bytes().to_vec(), true));
        assert!(start.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn an_http_1_0_client_gets_a_close_delimited_stream() {
    run(|| async {
        let says = [EVENTS.as_bytes(), &chunk(EVENT), LAST_CHUNK.as_bytes()].concat();
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        let mut client = sidecar
            .request("GET / HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n")
            .await;
        let head = client.head().await.to_lowercase();
        assert!(
            head.starts_with("http/1.0 200") && !head.contains("transfer-encoding"),
            "{head}"
        );
        assert_eq!(
            client.rest().await,
            (EVENT.as_bytes().to_vec(), Closed::Fin)
        );
    });
}
