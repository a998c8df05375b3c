//! After an early head (`heartbeat.before_head`) an upstream that has no event stream to give is an event that says so, and then a
//! clean end.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::both_protocols::{assert_at, each_way};
use crate::common::{GET_EVENTS, Peer, Sidecar, backend, moment, run, unanswering};
use crate::either::{self, Asker, End, Http};

const EARLY: &str = "heartbeat.before_head = \"10s\"\n";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The event's name and its data, of what came after the heartbeats.
fn told(body: &str) -> (String, Value) {
    let events = sse_sidecar::sse::parse::parse(body.as_bytes());
    assert_eq!(events.len(), 1, "{body}");
    assert!(!body.contains("[DONE]"));
    let data = serde_json::from_str(&events[0].data).unwrap();
    (events[0].event.clone(), data)
}

/// What a client gets when its upstream does what `script` says after 20 s.
async fn told_of<F: Future<Output = ()> + 'static>(
    toml: &str,
    script: impl Fn(Peer) -> F + Copy + 'static,
) -> (String, Value, Sidecar) {
    let backend = backend(move |mut peer| async move {
        peer.head().await;
        sleep(seconds(20)).await;
        script(peer).await;
    })
    .await;
    let sidecar = Sidecar::start(backend, &format!("{EARLY}{toml}")).await;
    let mut client = sidecar.get_events().await;
    let start = Instant::now();
    client.head().await;
    assert_at(start, seconds(10));
    let (body, complete) = client.chunks().await;
    assert!(complete, "a clean end");
    let (name, data) = told(str::from_utf8(&body).unwrap());
    client.send(GET_EVENTS).await;
    assert!(
        client.head().await.starts_with("HTTP/1.1 200 "),
        "the connection goes on"
    );
    (name, data, sidecar)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn response(head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[test]
fn an_upstreams_error_response_is_reported_with_its_status_and_text() {
    const STATUS: &str = "upstream_status";
    const OTHER: &str = "upstream_not_events";
    let limit = r#"{"error":{"message":"slow \"down\""}}"#;
    for (head, body, reason, status, text) in [
        (
            "429 Too Many Requests\r\nContent-Type: application/json; charset=utf-8",
            limit.as_bytes().to_vec(),
            STATUS,
            429,
            json!(limit),
        ),
        (
            "500 Oops\r\nContent-Type: Text/HTML",
            b"<h1>\r\n\xFFOops</h1>\n\n".to_vec(),
            STATUS,
            500,
            json!("<h1>\r\n\u{FFFD}Oops</h1>\n\n"),
        ),
        (
            "503 No\r\nContent-Type: application/problem+json\r\nContent-Encoding: gzip",
            gzip("{}"),
            STATUS,
            503,
            json!("{}"),
        ),
        (
            "503 No\r\nContent-Type: text/plain\r\nContent-Encoding: compress",
            b"what".to_vec(),
            STATUS,
            503,
            Value::Null,
        ),
        (
            "400 Bad\r\nContent-Type: image/png",
            b"\x89PNG".to_vec(),
            STATUS,
            400,
            Value::Null,
        ),
        (
            "401 Who\r\nX: y",
            b"secret".to_vec(),
            STATUS,
            401,
            Value::Null,
        ),
        (
            "502 Bad\r\nContent-Type: text/event-stream",
            b"data: late\n\n".to_vec(),
            STATUS,
            502,
            json!("data: late\n\n"),
        ),
        (
            "307 Elsewhere\r\nLocation: /there\r\nContent-Type: text/plain",
            b"".to_vec(),
            STATUS,
            307,
            json!(""),
        ),
        (
            "200 OK\r\nContent-Type: application/json",
            b"{\"result\":1}".to_vec(),
            OTHER,
            200,
            json!("{\"result\":1}"),
        ),
        (
            "200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: compress",
            b"what".to_vec(),
            OTHER,
            200,
            Value::Null,
        ),
    ] {
        run(move || async move {
            let answer: &'static [u8] = Vec::leak(response(head, &body));
            let say = move |mut peer: Peer| async move {
                peer.send(answer).await;
                peer.closed().await;
            };
            let (name, data, sidecar) = told_of("", say).await;
            assert_eq!(name, "error");
            assert_eq!(data["reason"], reason, "{head}: {data}");
            assert_eq!(data["status"], status, "{head}: {data}");
            assert_eq!(data["body"], text, "{head}: {data}");
            assert!((sidecar.ends(reason, "upstream") - 1.0).abs() < 0.1);
            let to_head = sidecar.metric("sse_sidecar_time_to_head_seconds_sum");
            assert!((to_head - 20.0).abs() < 0.1, "{to_head}");
        });
    }
}

#[test]
fn a_response_without_a_body_is_reported_too() {
    run(|| async {
        let (_, data, _) = told_of("", |mut peer| async move {
            peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
            peer.closed().await;
        })
        .await;
        assert_eq!(
            (&data["status"], &data["body"]),
            (&json!(204), &Value::Null)
        );
        assert_eq!(
            data["message"],
            "The upstream's response is not an event stream: it has no Content-Type"
        );
    });
}

#[test]
fn a_long_text_is_quoted_as_far_as_it_fits() {
    run(|| async {
        let (_, data, _) = told_of("", |mut peer| async move {
            let text = "x".repeat(20_000);
            peer.send(response(
                "500 Oops\r\nContent-Type: text/plain",
                text.as_bytes(),
            ))
            .await;
            peer.closed().await;
        })
        .await;
        assert_eq!(data["body"], "x".repeat(16 * 1024));
    });
}

#[test]
fn a_text_that_does_not_end_is_quoted_after_the_read_timeout() {
    run(|| async {
        let start = Instant::now();
        let (_, data, _) = told_of("timeouts.read = \"7s\"", |mut peer| async move {
            peer.send("HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\n\r\nthe first part")
                .await;
            peer.closed().await;
        })
        .await;
        assert_eq!(data["body"], "the first part");
        // And the request after it got its early head 10 s later.
        assert_at(start, seconds(20 + 7 + 10));
    });
}

#[test]
fn a_text_that_breaks_off_is_quoted_as_far_as_it_came() {
    run(|| async {
        let (_, data, _) = told_of("", |mut peer| async move {
            peer.send(
                "HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\npart",
            )
            .await;
        })
        .await;
        assert_eq!(data["body"], "part");
    });
}

#[test]
fn every_failure_of_an_upstream_is_reported() {
    for (reason, says) in [
        ("upstream_closed_before_head", ""),
        ("upstream_closed_before_head", "HTTP/1.1 200 OK\r\nContent-"),
        ("upstream_invalid_head", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        (
            "upstream_invalid_head",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        ),
        (
            "upstream_invalid_head",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
    ] {
        run(move || async move {
            let say = move |mut peer: Peer| async move { peer.send(says).await };
            let (name, data, sidecar) = told_of("", say).await;
            assert_eq!((name.as_str(), &data["reason"]), ("error", &json!(reason)));
            assert!(data.get("status").is_none() && data.get("body").is_none());
            assert!((sidecar.ends(reason, "upstream") - 1.0).abs() < 0.1);
            let refused =
                format!("sse_sidecar_refused_total{{reason=\"{reason}\",side=\"upstream\"}}");
            assert!(sidecar.metric(&refused).abs() < 0.1);
        });
    }
}

#[test]
fn the_timeouts_before_the_head_continue() {
    each_way(|client, upstream| async move {
        let (gone, mut seen) = moment();
        let url = either::backend(upstream, move |teller| {
            let gone = gone.clone();
            async move { gone(teller.cancelled().await) }
        })
        .await;
        let toml = format!("{EARLY}timeouts.response_head = \"30s\"");
        let sidecar = Sidecar::in_front_of(&url, &toml).await;
        let start = Instant::now();
        let mut asker = Asker::ask(&sidecar, client).await;
        asker.head().await;
        let (body, end) = asker.rest().await;
        assert_at(start, seconds(30));
        assert_eq!(
            (told(&body).1["reason"].as_str(), end),
            (Some("upstream_head_timeout"), End::Clean)
        );
        assert!(seen.recv().await.unwrap().1.is_proper());
        assert!((sidecar.ends("upstream_head_timeout", "upstream") - 1.0).abs() < 0.1);
        let cancels = "sse_sidecar_upstream_cancels_total{phase=\"waiting_for_head\"}";
        assert!((sidecar.metric(cancels) - 1.0).abs() < 0.1);
    });
    for client in [Http::One, Http::Two] {
        run(move || async move {
            let (address, _queue) = unanswering();
            let toml = format!("{EARLY}timeouts.connect = \"12s\"");
            let sidecar = Sidecar::start(address, &toml).await;
            let start = Instant::now();
            let mut asker = Asker::ask(&sidecar, client).await;
            asker.head().await;
            let (body, end) = asker.rest().await;
            assert_at(start, seconds(12));
            let reason = told(&body).1["reason"].clone();
            assert_eq!(
                (reason, end),
                (json!("upstream_connect_timeout"), End::Clean)
            );
        });
    }
}

#[test]
fn a_client_that_stops_its_upload_gets_an_explanation() {
    each_way(|client, upstream| async move {
        let url = either::backend(upstream, |teller| async move {
            teller.cancelled().await;
        })
        .await;
        let toml = format!("{EARLY}timeouts.request_body = \"20s\"");
        let sidecar = Sidecar::in_front_of(&url, &toml).await;
        let start = Instant::now();
        let mut asker = Asker::upload(&sidecar, client, "the first part").await;
        asker.head().await;
        let mut body = String::new();
        while let Ok(Some(data)) = asker.data().await {
            body += &data;
        }
        assert_at(start, seconds(20));
        assert_eq!(told(&body).1["reason"], "request_body_timeout");
        assert!((sidecar.ends("request_body_timeout", "client") - 1.0).abs() < 0.1);
    });
}

#[test]
fn each_dialect_has_its_own_words_for_it() {
    for (dialect, name, place, kind) in [
        ("abort", "error", "", None),
        ("event", "error", "", None),
        (
            "anthropic",
            "error",
            "/error",
            Some(("type", "rate_limit_error")),
        ),
        (
            "openai-responses",
            "response.failed",
            "/response/error",
            Some(("code", "rate_limit_exceeded")),
        ),
        ("mcp", "message", "/error/data", None),
    ] {
        each_way(move |client, upstream| async move {
            let url = either::backend(upstream, |mut teller| async move {
                sleep(seconds(20)).await;
                teller.open(429, "application/json").await;
                teller.say("{\"slow\":\"down\"}").await;
                teller.end().await;
                sleep(seconds(1000)).await;
            })
            .await;
            let toml = format!("{EARLY}events.on_upstream_failure = \"{dialect}\"");
            let sidecar = Sidecar::in_front_of(&url, &toml).await;
            let mut asker = Asker::ask(&sidecar, client).await;
            asker.head().await;
            let (body, end) = asker.rest().await;
            assert_eq!(end, End::Clean);
            let (seen, data) = told(&body);
            assert_eq!(seen, name);
            let error = data.pointer(place).unwrap();
            assert_eq!(error["status"], 429, "{data}");
            assert_eq!(error["body"], "{\"slow\":\"down\"}", "{data}");
            if let Some((field, kind)) = kind {
                assert_eq!(error[field], kind);
            }
        });
    }
}

#[test]
fn an_mcp_error_answers_its_request_also_one_that_came_late() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.bytes("{\"id\":\"a7\"}".len()).await;
            sleep(seconds(20)).await;
            peer.send("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
                .await;
            peer.closed().await;
        })
        .await;
        let toml = format!("{EARLY}events.on_upstream_failure = \"mcp\"");
        let sidecar = Sidecar::start(backend, &toml).await;
        let post = "POST / HTTP/1.1\r\nHost: t\r\nAccept: application/json, text/event-stream\r\nContent-Length: 11\r\n\r\n";
        let mut client = sidecar.request(post).await;
        client.head().await;
        client.send("{\"id\":\"a7\"}").await;
        let (body, complete) = client.chunks().await;
        let (name, data) = told(str::from_utf8(&body).unwrap());
        assert_eq!((name.as_str(), &data["id"]), ("message", &json!("a7")));
        assert!(complete);
    });
}

#[test]
fn a_reset_stream_is_reported() {
    for client in [Http::One, Http::Two] {
        run(move || async move {
            let url = either::backend(Http::Two, |teller| async move {
                sleep(seconds(20)).await;
                teller.cut();
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, EARLY).await;
            let mut asker = Asker::ask(&sidecar, client).await;
            asker.head().await;
            let (body, end) = asker.rest().await;
            assert_eq!(told(&body).1["reason"], "upstream_closed_before_head");
            assert_eq!(end, End::Clean);
        });
    }
}

#[test]
fn a_client_that_leaves_while_an_error_comes_in_cancels_it() {
    each_way(|client, upstream| async move {
        let (gone, mut seen) = moment();
        let url = either::backend(upstream, move |mut teller| {
            let gone = gone.clone();
            async move {
                sleep(seconds(20)).await;
                teller.open(500, "text/plain").await;
                teller.say("the first part").await;
                gone(teller.cancelled().await);
            }
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, EARLY).await;
        let mut asker = Asker::ask(&sidecar, client).await;
        asker.head().await;
        sleep(seconds(30)).await;
        let left = Instant::now();
        let _connection = asker.leave();
        let (at, how) = seen.recv().await.unwrap();
        assert!(at - left < Duration::from_millis(5) && how.is_proper());
        let cancels = "sse_sidecar_upstream_cancels_total{phase=\"body\"}";
        assert!((sidecar.metric(cancels) - 1.0).abs() < 0.1);
    });
}
