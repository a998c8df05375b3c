//! What is logged of streams, and what never is.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use super::{DEADLINE, Sidecar, backend, config, field, read_until};

#[test]
fn no_secret_is_logged_or_counted_and_no_line_is_forged() {
    let rest = "log = { level = \"debug\", format = \"json\" }\n\
                route = [{ path = \"/nowhere\", upstream.url = \"http://127.0.0.1:1\" }]";
    let mut sidecar = Sidecar::start(&config(backend(), rest));
    let fields = "Authorization: Bearer hush-1\r\nCookie: a=hush-2\r\nX-Api-Key: hush-3\r\n\
                  traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let forged = "X-Request-Id: a\",\"level\":\"ERROR\r\n";
    let ask = |target: &str, fields: &str| {
        let mut client = sidecar.connect();
        let head = format!("GET {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{fields}\r\n");
        client.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 1024];
        let length = client.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    };
    for target in [
        "/events?key=hush-4",
        "/plain?key=hush-4",
        "/nowhere?key=hush-4",
    ] {
        ask(target, fields);
    }
    // Requests that cannot be routed or parsed, too.
    for malformed in [
        "bad-field hush-5\r\n",
        "Transfer-Encoding: hush-6\r\n",
        "Host: hush-7\r\n",
    ] {
        assert!(ask("/plain?key=hush-4", malformed).contains(" 400 "));
    }
    let answer = ask("/events", forged);
    assert!(!answer.contains("ERROR"), "{answer}");
    // HTTP/2, whose library has a log of its own.
    let mut h2 = sidecar.connect();
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    // GET and http as indexed fields, and a literal path that is none.
    let malformed = [&[0x82, 0x86, 0x04, 10][..], b"/?hush-8 <"].concat();
    let bytes = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 5, 1, &malformed),
    ]
    .concat();
    h2.write_all(&bytes).unwrap();
    let _ = h2.read(&mut [0; 1024]).unwrap();
    drop(h2);

    let status = sidecar.ask_admin("/status.json");
    let metrics = sidecar.ask_admin("/metrics");
    sidecar.signal("INT");
    sidecar.exit();
    while let Ok(line) = sidecar.log.recv_timeout(DEADLINE) {
        sidecar.seen.push(line);
    }
    let log = sidecar.seen.join("\n");
    for (what, text) in [("status", &status), ("metrics", &metrics), ("log", &log)] {
        assert!(!text.contains("hush"), "the {what} says\n{text}");
    }
    // What the configuration says may be a label, and nothing that was on the wire.
    let without_routes = metrics.replace("route=\"/nowhere\"", "");
    assert!(!without_routes.contains("/events") && !without_routes.contains("/nowhere"));
    assert!(!without_routes.contains("\"/plain"));
    let lines = |sentence: &str| {
        let sentence = format!("\"message\":\"{sentence}\"");
        let lines = log.lines().filter(|line| line.contains(&sentence));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let [opened, ended] = [&lines("stream opened")[0], &lines("stream ended")[0]];
    for line in [
        opened,
        ended,
        &lines("request failed")[0],
        &lines("request ended")[0],
    ] {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(field(line, "trace_id").as_deref(), Some(trace), "{line}");
        assert_eq!(field(line, "request_id").as_deref(), Some(trace), "{line}");
    }
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_ne!(line["level"], "ERROR");
    }
}

#[test]
fn a_stream_is_logged_when_it_opens_and_when_it_ends() {
    let mut sidecar = Sidecar::start(&config(backend(), ""));
    let mut client = sidecar.get("/events?token=secret");
    read_until(&mut client, "data: x\n\n");
    let opened = sidecar.wait_for("stream opened");
    assert_eq!(
        field(&opened, "path").unwrap(),
        "/events",
        "no query: it may hold secrets"
    );
    drop(client);
    let ended = sidecar.wait_for("stream ended");
    assert_eq!(field(&ended, "reason").unwrap(), "client_gone");
    assert!(
        ended.contains("\"events\":1") && ended.contains("\"bytes\":9"),
        "{ended}"
    );
}

#[test]
fn the_times_of_a_stream_begin_with_its_request_and_count_its_last_silence() {
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sidecar = Sidecar::start(&config(slow.local_addr().unwrap(), ""));
    let mut client = sidecar.get("/events");
    let (mut upstream, _) = slow.accept().unwrap();
    read_until(&mut upstream, "\r\n\r\n");
    // The log has real times.
    std::thread::sleep(Duration::from_millis(300));
    upstream
        .write_all(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n")
        .unwrap();
    read_until(&mut client, "data: x\n\n\r\n");
    std::thread::sleep(Duration::from_millis(600));
    drop(upstream);
    let line = sidecar.wait_for("stream ended");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let milliseconds = |name: &str| line[name].as_u64().unwrap();
    assert!(milliseconds("longest_silence_ms") >= 600, "{line}");
    let (head, age) = (milliseconds("time_to_head_ms"), milliseconds("age_ms"));
    assert!(head >= 300 && age >= head + 600, "{line}");
}

#[test]
fn an_early_head_is_logged_and_what_becomes_of_it() {
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let early = "heartbeat.before_head = \"10ms\"";
    let mut sidecar = Sidecar::start(&config(slow.local_addr().unwrap(), early));
    let mut client = sidecar.connect();
    let get = "GET /events?q HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n";
    client.write_all(get.as_bytes()).unwrap();
    let line = sidecar.wait_for("early head");
    assert_eq!(field(&line, "path").unwrap(), "/events");
    assert_eq!(field(&line, "phase").unwrap(), "waiting_for_head");
    let id = field(&line, "request_id");

    let (mut upstream, _) = slow.accept().unwrap();
    read_until(&mut upstream, "\r\n\r\n");
    upstream
        .write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let line = sidecar.wait_for("request failed");
    assert_eq!(field(&line, "reason").unwrap(), "upstream_status");
    assert_eq!(field(&line, "detail").unwrap(), "503 Service Unavailable");
    let line = sidecar.wait_for("stream ended");
    assert_eq!(field(&line, "request_id"), id);
    assert!(line.contains("time_to_head_ms"), "{line}");
}
