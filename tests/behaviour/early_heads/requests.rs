//! Requests of other kinds than a GET on a connection of its own.

use std::time::Duration;

use h2::Reason;
use tokio::time::{Instant, sleep, timeout};

use super::{BEAT, EARLY, assert_is, early, seconds, slow};
use crate::both_protocols::{assert_at, each_way};
use crate::common::{Closed, GET_EVENTS, LAST_CHUNK, Sidecar, backend, chunk, run};
use crate::either;
use crate::either::{Asker, Connection, End, Teller};

#[test]
fn an_upload_continues_while_heartbeats_come_down() {
    each_way(|client, upstream| async move {
        let url = either::backend(upstream, |mut teller| async move {
            let body = match &mut teller {
                Teller::One { peer, .. } => String::from_utf8(peer.chunks().await.0).unwrap(),
                Teller::Two { request, .. } => {
                    let mut seen = Vec::new();
                    while let Some(data) = request.body_mut().data().await {
                        seen.extend_from_slice(&data.unwrap());
                    }
                    String::from_utf8(seen).unwrap()
                }
            };
            sleep(seconds(30)).await;
            teller.open_events().await;
            teller.say(&format!("data: {body}\n\n")).await;
            teller.end().await;
            sleep(seconds(1000)).await;
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, EARLY).await;
        let start = Instant::now();
        let mut asker = Asker::upload(&sidecar, client, "one ").await;
        early(&mut asker).await;
        sleep(seconds(10)).await;
        match &mut asker {
            Asker::One(peer) => {
                peer.send([&chunk("two")[..], LAST_CHUNK.as_bytes()].concat())
                    .await;
            }
            Asker::Two { upload, .. } => upload.send_data("two".into(), true).unwrap(),
        }
        let (seen, end) = asker.rest().await;
        assert_at(start, seconds(50));
        let expected = format!("{BEAT}{BEAT}data: one two\n\n");
        assert_eq!((seen, end), (expected, End::Clean));
    });
}

#[test]
fn a_whole_upload_is_answered_past_hyper() {
    run(|| async {
        let url = either::backend(either::Http::One, |teller| slow(teller, seconds(20))).await;
        let sidecar = Sidecar::in_front_of(&url, EARLY).await;
        let post = "POST / HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\nContent-Length: 2\r\n\r\nok";
        let mut client = sidecar.request(post).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        assert_eq!(
            client.chunks().await.0,
            format!("{BEAT}data: x\n\n").as_bytes()
        );
        client.send(post).await;
        client.head().await;
        assert!(client.chunks().await.1, "the connection goes on");
    });
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked_before_the_head() {
    // The upstream never asks, so the client is asked after a second.
    let early = "heartbeat.before_head = \"500ms\"";
    run(move || async move {
        let url = either::backend(either::Http::One, |teller| slow(teller, seconds(20))).await;
        let sidecar = Sidecar::in_front_of(&url, early).await;
        let start = Instant::now();
        let request = "POST / HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        let mut client = sidecar.request(request).await;
        assert!(client.head().await.starts_with("HTTP/1.1 100 "));
        assert_at(start, seconds(1));
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        assert_at(start, seconds(1));
        client.send("ok").await;
        let (seen, complete) = client.chunks().await;
        assert!(complete && seen.ends_with(b"data: x\n\n"));
    });
    run(move || async move {
        let url = either::backend(either::Http::Two, |teller| slow(teller, seconds(20))).await;
        let sidecar = Sidecar::in_front_of(&url, early).await;
        let client = Connection::to(&sidecar).await;
        let request = either::request("POST")
            .header("accept", "text/event-stream")
            .header("expect", "100-continue");
        let (mut response, mut upload) =
            client.send(request.body(()).unwrap(), true).await.unwrap();
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
        assert_eq!(interim.unwrap().unwrap().status(), 100);
        let head = response.await.unwrap();
        assert_eq!(head.status(), 200);
        upload.send_data("ok".into(), true).unwrap();
    });
    // Nothing to be asked for.
    run(move || async move {
        let url = either::backend(either::Http::One, |teller| slow(teller, seconds(20))).await;
        let sidecar = Sidecar::in_front_of(&url, early).await;
        let start = Instant::now();
        let request = GET_EVENTS.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
        let mut client = sidecar.request(&request).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        assert_at(start, Duration::from_millis(500));
    });
}

#[test]
fn interim_responses_after_an_early_head_are_dropped() {
    for client in [either::Http::One, either::Http::Two] {
        run(move || async move {
            let backend = backend(|mut peer| async move {
                loop {
                    peer.head().await;
                    sleep(seconds(5)).await;
                    peer.send("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n")
                        .await;
                    sleep(seconds(10)).await;
                    peer.send("HTTP/1.1 103 Early Hints\r\nLink: <b>\r\n\r\n")
                        .await;
                    sleep(seconds(5)).await;
                    peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\ndata: x\n\n")
                        .await;
                    if timeout(seconds(2), peer.closed()).await.is_ok() {
                        return;
                    }
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, EARLY).await;
            let mut asker = match client {
                either::Http::One => Asker::One(sidecar.get_events().await),
                either::Http::Two => Asker::ask(&sidecar, client).await,
            };
            if let Asker::One(peer) = &mut asker {
                let hints = peer.head().await;
                assert!(hints.contains("103") && hints.contains("<a>"), "{hints}");
            }
            assert!(asker.head().await.contains(" 200"));
            let expected = format!("{BEAT}data: x\n\n");
            assert_eq!(asker.rest().await, (expected, End::Clean));
            if let Asker::One(peer) = &mut asker {
                peer.send(GET_EVENTS).await;
                let next = peer.head().await;
                assert!(next.contains("103") && next.contains("<a>"), "{next}");
            }
        });
    }
}

#[test]
fn a_request_on_a_stale_connection_is_sent_again() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            if peer.head().await.contains("/first") {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
                peer.head().await; // and closes, but not at once
                sleep(seconds(15)).await;
            } else {
                slow(
                    Teller::One {
                        peer,
                        head: String::new(),
                    },
                    seconds(5),
                )
                .await;
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, EARLY).await;
        let mut client = sidecar
            .request("GET /first HTTP/1.1\r\nHost: t\r\n\r\n")
            .await;
        client.until("\r\n\r\nok").await;
        let start = Instant::now();
        client.send(GET_EVENTS).await;
        client.head().await;
        assert_at(start, seconds(10));
        let (seen, complete) = client.chunks().await;
        assert_at(start, seconds(20));
        assert!(complete);
        assert_eq!(seen, format!("{BEAT}data: x\n\n").as_bytes());
        assert_is(sidecar.metric("sse_sidecar_upstream_connects_total"), 2.0);
    });
}

#[test]
fn a_client_with_http_1_0_gets_the_rest_of_the_connection() {
    run(|| async {
        let url = either::backend(either::Http::One, |teller| slow(teller, seconds(30))).await;
        let sidecar = Sidecar::in_front_of(&url, EARLY).await;
        let request = "GET / HTTP/1.0\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n";
        let mut client = sidecar.request(request).await;
        let head = client.head().await.to_lowercase();
        assert!(head.starts_with("http/1.0 200 "), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        let expected = format!("{BEAT}{BEAT}data: x\n\n");
        assert_eq!(client.rest().await, (expected.into_bytes(), Closed::Fin));
    });
}

#[test]
fn streams_of_one_connection_go_their_own_ways() {
    run(|| async {
        let url = either::backend(either::Http::Two, |teller| slow(teller, seconds(30))).await;
        let sidecar = Sidecar::in_front_of(&url, EARLY).await;
        let connection = Connection::to(&sidecar).await;
        let mut first = connection.ask("").await;
        early(&mut first).await;
        let mut second = connection.ask("").await;
        early(&mut second).await;
        if let Asker::Two { upload, .. } = &mut first {
            upload.send_reset(Reason::CANCEL);
        }
        let (seen, end) = second.rest().await;
        assert_eq!(
            (seen.as_str(), end),
            (": heartbeat\ndata: x\n\n", End::Clean)
        );
    });
}
