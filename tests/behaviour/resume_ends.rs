//! What a client gets that comes back after the end, or whose place is gone: never a silent gap, and no second generation.

use std::time::Duration;

use tokio::time::sleep;

use crate::common::{EVENTS, LAST_CHUNK, Peer, Sidecar, chunk, run};
use crate::kept::{Backends, GRACE, event, get, id_of, post, with};

/// A stream of these events that ended while its client was away, and its last id.
async fn ended(
    toml: &str,
    request: fn(&str) -> String,
    events: &[&str],
    end: &str,
) -> (Sidecar, Backends, String) {
    let mut backends = Backends::start().await;
    let sidecar = Sidecar::start(backends.address, toml).await;
    let mut client = sidecar.request(&request("")).await;
    let mut backend = backends.next().await;
    let mut says = EVENTS.as_bytes().to_vec();
    for event in events {
        says.extend(chunk(event));
    }
    backend.send(says).await;
    client.head().await;
    let mut seen = String::new();
    while seen.matches("id: ").count() < events.len() {
        seen += &client.chunk().await;
    }
    let id = id_of(&seen);
    drop(client);
    sleep(Duration::from_millis(10)).await;
    backend.send(end).await;
    drop(backend);
    sleep(Duration::from_millis(10)).await;
    (sidecar, backends, id)
}

/// What a request is answered, or that it goes to the backend.
async fn answer(sidecar: &Sidecar, backends: &mut Backends, request: &str) -> String {
    let mut client = sidecar.request(request).await;
    sleep(Duration::from_millis(20)).await;
    if !backends.no_more() {
        return "backend".to_owned();
    }
    let head = client.head().await;
    let status = head[9..12].to_owned();
    if !head.contains("chunked") {
        return status;
    }
    let (data, is_whole) = client.chunks().await;
    let data = String::from_utf8(data).unwrap();
    format!(
        "{status} {data:?} {}",
        if is_whole { "whole" } else { "cut" }
    )
}

#[test]
fn after_the_end() {
    let done: &[&str] = &["data: 1\n\n", "data: [DONE]\n\n"];
    let answer_of_mcp: &[&str] = &["data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n"];
    let plain: &[&str] = &["data: 1\n\n"];
    for (request, events, end, rule, expected) in [
        (get as fn(&str) -> String, done, LAST_CHUNK, "auto", "204"),
        (get, answer_of_mcp, LAST_CHUNK, "auto", "204"),
        (post, done, LAST_CHUNK, "auto", "200"),
        (get, plain, LAST_CHUNK, "auto", "backend"),
        (post, plain, LAST_CHUNK, "auto", "200"),
        (get, plain, "", "auto", "backend"),
        (post, plain, "", "auto", "200 \"\" cut"),
        (get, plain, LAST_CHUNK, "stop", "204"),
        (get, done, LAST_CHUNK, "restart", "backend"),
    ] {
        run(move || async move {
            let toml = format!("{GRACE}\nresume.after_end = \"{rule}\"");
            let (sidecar, mut backends, id) = ended(&toml, request, events, end).await;
            let seen = answer(&sidecar, &mut backends, &request(&id)).await;
            assert_eq!(seen, expected, "{events:?} {end:?} {rule}");
            let count = sidecar.metric("sse_sidecar_resumes_total{result=\"after_end\"}");
            assert!((count - 1.0).abs() < 0.1);
            // Who has not seen everything gets the rest, and the end as it was.
            let before = id.rsplit_once('.').unwrap().0.to_owned() + ".0";
            let seen = answer(&sidecar, &mut backends, &request(&before)).await;
            assert!(seen.starts_with("200 ") && seen.contains("id: _"), "{seen}");
            let is_whole = end == LAST_CHUNK || events == done;
            assert_eq!(seen.ends_with("whole"), is_whole, "{seen}");
        });
    }
}

#[test]
fn histories_go_after_their_time() {
    run(|| async {
        let toml = format!("{GRACE}\nresume.keep = \"5s\"");
        let (sidecar, mut backends, id) =
            ended(&toml, get, &["data: [DONE]\n\n"], LAST_CHUNK).await;
        sleep(Duration::from_millis(4900)).await;
        assert_eq!(answer(&sidecar, &mut backends, &get(&id)).await, "204");
        assert!((sidecar.metric("sse_sidecar_history_streams") - 1.0).abs() < 0.1);
        sleep(Duration::from_millis(200)).await;
        assert!(sidecar.metric("sse_sidecar_history_streams").abs() < 0.1);
        assert!(sidecar.metric("sse_sidecar_history_bytes").abs() < 0.1);
        assert_eq!(answer(&sidecar, &mut backends, &get(&id)).await, "backend");
    });
}

#[test]
fn an_unknown_stream() {
    let (began_by_get, began_by_post) = ("_gAAAAAAAAAAAAAAAA.3", "_pAAAAAAAAAAAAAAAA.3");
    let json = |request: String| request.replace("text/event-stream", "*/*");
    let mcp = |request: String| with(&request, "MCP-Protocol-Version: 2025-11-25");
    let gone = "200"; // with an error event, whose length is known
    for (request, rule, expected) in [
        (get(began_by_get), "auto", "backend"),
        (get(began_by_post), "auto", gone),
        (json(get(began_by_post)), "auto", "410"),
        (json(post(began_by_post)), "auto", "410"),
        (post(began_by_get), "auto", gone),
        (mcp(get(began_by_post)), "auto", "400"),
        (post(began_by_post), "restart", "backend"),
        (json(get(began_by_get)), "gone", "410"),
    ] {
        run(move || async move {
            let mut backends = Backends::start().await;
            let toml = format!("{GRACE}\nresume.on_gap = \"{rule}\"");
            let sidecar = Sidecar::start(backends.address, &toml).await;
            let seen = answer(&sidecar, &mut backends, &request).await;
            assert_eq!(seen, expected, "{request} {rule}");
            let count = sidecar.metric("sse_sidecar_resumes_total{result=\"unknown\"}");
            assert!((count - 1.0).abs() < 0.1);
        });
    }
}

/// A stream of which only the last events are kept, and its last id.
async fn trimmed(toml: &str) -> (Sidecar, Backends, Peer, String) {
    let mut backends = Backends::start().await;
    let toml = format!("resume.grace = \"30s\"\nresume.history = \"64KiB\"\n{toml}");
    let sidecar = Sidecar::start(backends.address, &toml).await;
    let mut client = sidecar.request(&get("")).await;
    let mut backend = backends.next().await;
    backend.send(EVENTS).await;
    client.head().await;
    let mut seen = String::new();
    for number in 1..=10 {
        let event = format!("data: {number}{}\n\n", "x".repeat(15_000));
        backend.send(chunk(event)).await;
        while seen.matches("id: ").count() < number {
            seen += &client.chunk().await;
        }
    }
    (sidecar, backends, backend, id_of(&seen))
}

#[test]
fn a_place_that_is_not_kept_any_more() {
    for (rule, expected) in [
        ("auto", "backend"),
        ("gone", "200"),
        ("continue", "200 \"event: gap"),
    ] {
        run(move || async move {
            let toml = format!("resume.on_gap = \"{rule}\"");
            let (sidecar, mut backends, mut backend, id) = trimmed(&toml).await;
            let token = id.rsplit_once('.').unwrap().0.to_owned();
            backend.send(LAST_CHUNK).await;
            drop(backend);
            sleep(Duration::from_millis(10)).await;
            let seen = answer(&sidecar, &mut backends, &get(&format!("{token}.2"))).await;
            assert!(seen.starts_with(expected), "{rule}: {seen:.80}");
            if rule == "continue" {
                assert!(
                    seen.contains("data: {\\\"missed\\\":4}\\n\\ndata: 7x"),
                    "{seen:.120}"
                );
            }
            let count = sidecar.metric("sse_sidecar_resumes_total{result=\"gap\"}");
            assert!((count - 1.0).abs() < 0.1, "{rule}");
            let seen = answer(&sidecar, &mut backends, &get(&format!("{token}.6"))).await;
            assert!(seen.starts_with("200 \"data: 7x"), "{seen:.80}");
            // One that is ahead of everything that has come is nobody's.
            let seen = answer(&sidecar, &mut backends, &get(&format!("{token}.z"))).await;
            assert_eq!(seen == "backend", rule == "auto", "{seen:.80}");
        });
    }
}

#[test]
fn a_stream_ends_as_its_upstream_did_while_nobody_read_it() {
    run(|| async {
        let toml = "resume.grace = \"30s\"\ntimeouts.read = \"5s\"\nevents.on_upstream_failure = \"event\"";
        let mut backends = Backends::start().await;
        let sidecar = Sidecar::start(backends.address, toml).await;
        let mut client = sidecar.request(&get("")).await;
        let mut backend = backends.next().await;
        backend
            .send([EVENTS.as_bytes(), &chunk(event(1))].concat())
            .await;
        client.head().await;
        let id = id_of(&client.chunk().await);
        drop(client);
        backend.closed().await; // the `read` timeout runs without a client, too
        let mut client = sidecar.request(&get(&id.replace(".1", ".0"))).await;
        client.head().await;
        let (data, is_whole) = client.chunks().await;
        let data = String::from_utf8(data).unwrap();
        assert!(
            data.starts_with("data: 1\n") && data.contains("upstream_read_timeout"),
            "{data}"
        );
        assert!(!is_whole);
        assert!(
            (sidecar
                .metric("sse_sidecar_upstream_failures_total{reason=\"upstream_read_timeout\"}")
                - 1.0)
                .abs()
                < 0.1
        );
    });
}
