//! The status page, in a browser's requests.

use std::io::Write;
use std::time::{Duration, Instant};

use super::{Sidecar, backend, config, connect, field, read_until};

#[test]
fn the_status_page_shows_open_streams_as_long_as_they_are() {
    let mut sidecar = Sidecar::start(&config(backend(), "server.workers = 2"));
    let mut streams: Vec<_> = (0..3).map(|_| sidecar.get("/events?secret")).collect();
    for stream in &mut streams {
        read_until(stream, "data: x\n\n\r\n");
    }
    let status = sidecar.status();
    assert_eq!(status["state"], "running");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        status["workers"],
        serde_json::json!({ "all": 2, "answered": 2 })
    );
    assert_eq!(status["requests_open"], 3);
    assert_eq!(status["totals"]["streams_active"], 3);
    assert_eq!(status["connections"], 3);
    let requests = status["requests"].as_array().unwrap();
    for request in requests {
        assert_eq!(request["path"], "/events");
        assert_eq!(request["phase"], "streaming");
        assert_eq!(request["route"], "any");
        assert_eq!(request["protocol"], "HTTP/1.1");
        assert_eq!(
            (&request["events"], &request["bytes"]),
            (&1.into(), &9.into())
        );
    }
    assert!(requests[0]["number"].as_u64() > requests[2]["number"].as_u64());
    assert_eq!(status["upstreams"][0]["active"], 3);
    let shown = status["config"].as_str().unwrap();
    assert!(shown.contains("[server]\nworkers = 2\n"), "{shown}");

    // The event stream follows.
    let mut feed = connect(sidecar.admin.unwrap());
    write!(
        feed,
        "GET /status/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    .unwrap();
    let head = read_until(&mut feed, "\r\n\r\n");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    assert!(read_until(&mut feed, "\n\n").contains("\"requests_open\":3"));
    drop(streams);
    let since = Instant::now();
    while !read_until(&mut feed, "\n\n").contains("\"requests_open\":0") {}
    assert!(
        since.elapsed() > Duration::from_millis(900),
        "once a second"
    );
    assert_eq!(sidecar.status()["stream_ends"][0]["reason"], "client_gone");

    let page = sidecar.ask_admin("/status");
    let (head, page) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-security-policy: default-src 'none';"));
    assert!(head.contains("x-content-type-options: nosniff"));
    assert!(page.starts_with("<!doctype html>"));
    assert!(sidecar.ask_admin("/").contains("location: /status\r\n"));

    // Looking at it does not hold up the end.
    sidecar.signal("INT");
    assert_eq!(sidecar.exit().code(), Some(0));
}

/// DNS rebinding: a website's own name is made to mean the address of the admin port.
#[test]
fn the_status_page_is_shown_only_at_addresses_and_known_names() {
    let toml = config(
        backend(),
        "admin.hosts = [\"status.example.com\"]\nadmin.allow_ending = true",
    );
    let sidecar = Sidecar::start(&toml);
    let port = sidecar.admin.unwrap().port();
    let paths = ["/status", "/status.json", "/status/nothing"];
    for path in paths {
        for host in [
            "evil.example",
            "evil.example:9901",
            "localhost.evil.example",
        ] {
            let answer = sidecar.ask_admin_as(host, path);
            assert!(
                answer.starts_with("HTTP/1.1 421 "),
                "{host} {path}: {answer}"
            );
            assert!(answer.contains("`admin.hosts`"), "{answer}");
        }
    }
    assert!(
        sidecar
            .ask_admin_as("evil.example", "/status/events")
            .contains(" 421 ")
    );
    let mut client = connect(sidecar.admin.unwrap());
    let end =
        "POST /status/streams/1/end HTTP/1.1\r\nHost: evil.example\r\nX-Sse-Sidecar: end\r\n\r\n";
    client.write_all(end.as_bytes()).unwrap();
    assert!(read_until(&mut client, "\r\n").contains(" 421 "));
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "[::1]".to_owned(),
        "Status.Example.com.".to_owned(),
    ] {
        let answer = sidecar.ask_admin_as(&host, "/status.json");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    // Probes and Prometheus come by whatever name.
    for path in ["/live", "/ready", "/metrics"] {
        let answer = sidecar.ask_admin_as("evil.example", path);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
}

#[test]
fn the_status_page_ends_streams_only_where_it_is_allowed_to() {
    const FIELD: &str = "X-Sse-Sidecar: end\r\n";
    let open = |sidecar: &Sidecar| {
        let mut stream = sidecar.get("/events");
        read_until(&mut stream, "data: x\n\n\r\n");
        (stream, sidecar.status()["requests"][0]["number"].clone())
    };
    let sidecar = Sidecar::start(&config(backend(), ""));
    let (_stream, number) = open(&sidecar);
    assert_eq!(sidecar.status()["allow_ending"], false);
    assert!(sidecar.end_stream(&number, FIELD).contains(" 403 "));

    let toml = config(backend(), "admin.allow_ending = true");
    let mut sidecar = Sidecar::start(&toml);
    let (mut stream, number) = open(&sidecar);
    let own = format!("Origin: http://{}\r\n", sidecar.admin.unwrap());
    for refused in [
        "",
        &own,
        "Content-Type: application/x-www-form-urlencoded\r\n",
        &format!("{FIELD}Origin: http://evil.example\r\n"),
        &format!("{FIELD}Origin: null\r\n"),
    ] {
        let answer = sidecar.end_stream(&number, refused);
        assert!(answer.contains(" 403 "), "{refused}: {answer}");
    }
    let other = 1_000_000.into();
    assert!(sidecar.end_stream(&other, FIELD).contains(" 404 "));
    assert_eq!(sidecar.status()["requests_open"], 1);
    assert!(
        sidecar
            .end_stream(&number, &(own + FIELD))
            .contains(" 202 ")
    );
    assert_eq!(
        read_until(&mut stream, "0\r\n\r\n"),
        "0\r\n\r\n",
        "a clean end"
    );
    let ended = sidecar.wait_for("stream ended");
    assert_eq!(field(&ended, "reason").unwrap(), "ended_by_operator");
    assert!(
        sidecar.end_stream(&number, FIELD).contains(" 404 "),
        "it is over"
    );
}
