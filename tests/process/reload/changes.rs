//! What a new configuration changes, and from when.

use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::{Sidecar, config, field, read_until};
use super::{Backend, Folder, ask, eventually, who};

#[test]
fn new_requests_use_the_new_file_and_open_streams_the_old_one() {
    let (old, new) = (Backend::named("old"), Backend::named("new"));
    let beat = |text: &str| format!("heartbeat = {{ interval = \"100ms\", text = \"{text}\" }}");
    let folder = Folder::new(&old.config(&beat("before")));
    let mut sidecar = folder.start();
    let mut stream = sidecar.get("/events");
    read_until(&mut stream, "data: old\n\n");
    let mut kept = sidecar.connect();
    assert_eq!(ask(&mut kept), "old");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let tcp = tokio::net::TcpStream::connect(sidecar.address.clone());
    let (mut http2, connection) = runtime
        .block_on(async { h2::client::handshake(tcp.await.unwrap()).await })
        .unwrap();
    runtime.spawn(connection);
    let mut open = || {
        let request = http::Request::get("http://t/events").body(()).unwrap();
        let (response, _) = http2.send_request(request, true).unwrap();
        runtime.block_on(response).unwrap().into_body()
    };
    let next = |body: &mut h2::RecvStream, wanted: &str| {
        while !runtime
            .block_on(body.data())
            .unwrap()
            .unwrap()
            .ends_with(wanted.as_bytes())
        {}
    };
    let mut stream2 = open();
    next(&mut stream2, "data: old\n\n");

    let mut under_way = sidecar.get("/slow");
    eventually("it is asked", || {
        sidecar.status()["requests"][0]["phase"] == "waiting_for_head"
    });
    folder.reload(&mut sidecar, &new.config(&beat("after")));
    read_until(&mut under_way, "\r\n\r\nold");

    assert_eq!(ask(&mut kept), "new", "on a kept connection");
    assert_eq!(who(&sidecar), "new", "on a new one");
    let mut body = open();
    next(&mut body, "data: new\n\n");
    next(&mut body, ": after\n\n");
    let mut later = sidecar.get("/events");
    read_until(&mut later, "data: new\n\n");
    read_until(&mut later, ": after\n");
    // The next heartbeats, after everything that was on its way.
    for _ in 0..20 {
        let seen = read_until(&mut stream, "\n\r\n");
        assert!(!seen.contains("after") && !seen.contains("new"), "{seen}");
        next(&mut stream2, ": before\n\n");
    }
    let status = sidecar.status();
    let upstreams = status["upstreams"].as_array().unwrap();
    assert_eq!(upstreams.len(), 2, "the old one still has streams");
    assert!(
        status["config"]
            .as_str()
            .unwrap()
            .contains("text = \"after\"")
    );
    drop((stream, stream2));
    eventually("the old one is gone", || {
        sidecar.status()["upstreams"].as_array().unwrap().len() == 1
    });
    assert_eq!(old.connects(), old.closed());
}

#[test]
fn an_upstream_that_stays_keeps_its_connections_and_one_that_goes_closes_them() {
    let (stays, goes) = (Backend::named("stays"), Backend::named("goes"));
    let one_worker = "server.workers = 1\n";
    let route = format!(
        "[[route]]\npath = \"/goes\"\nupstream.url = \"http://{}\"\n",
        goes.address
    );
    let folder = Folder::new(&(stays.config(one_worker) + &route));
    let mut sidecar = folder.start();
    let mut client = sidecar.get("/goes");
    read_until(&mut client, "\r\n\r\ngoes");
    assert_eq!(ask(&mut client), "stays");
    folder.reload(&mut sidecar, &stays.config(one_worker));
    assert_eq!(ask(&mut client), "stays");
    assert_eq!((stays.connects(), stays.closed()), (1, 0));
    // The kept connection would have had 4 s.
    let since = Instant::now();
    eventually("its connection is closed", || goes.closed() == 1);
    assert!(since.elapsed() < Duration::from_secs(3));
    let status = sidecar.status();
    assert_eq!(status["upstreams"].as_array().unwrap().len(), 1);
    assert_eq!(status["upstreams"][0]["connects"], 1);
}

#[test]
fn a_backend_does_not_move_to_where_the_sidecar_still_listens() {
    let old = Backend::named("old");
    let folder = Folder::new(&old.config(""));
    let mut sidecar = folder.start();
    // The port that the system chose, named: as if the sidecar were to move away from it.
    let address: SocketAddr = sidecar.address.parse().unwrap();
    let folder = Folder::new(&old.config("").replace(
        "address = \"127.0.0.1:0\"",
        &format!("address = \"{address}\""),
    ));
    drop(sidecar);
    sidecar = folder.start();
    folder.write(&config(address, ""));
    sidecar.signal("HUP");
    let line = sidecar.wait_for("until it is restarted");
    assert_eq!(field(&line, "key").unwrap(), "listener");
    assert_eq!(who(&sidecar), "old");
}

#[test]
fn flags_keep_their_precedence() {
    let [flag, file] = [Backend::named("flag"), Backend::named("file")];
    let folder = Folder::new(&file.config(""));
    let url = format!("http://{}", flag.address);
    let mut command = folder.command();
    let command = command
        .args(["--upstream", &url])
        .env("SSE_SIDECAR_LISTEN", "127.0.0.1:0");
    let mut sidecar = Sidecar::spawn(command);
    let listener = "address = \"127.0.0.1:0\"";
    let other = file
        .config("")
        .replace(listener, "address = \"127.0.0.1:1\"");
    folder.reload(&mut sidecar, &other);
    assert_eq!(who(&sidecar), "flag");
    assert_eq!(sidecar.status()["config_waiting"], Value::Array(vec![]));
}

#[test]
fn the_log_gets_another_level() {
    let backend = Backend::named("x");
    let folder = Folder::new(&backend.config("log.level = \"info\""));
    let mut sidecar = folder.start();
    who(&sidecar);
    folder.reload(&mut sidecar, &backend.config("log.level = \"debug\""));
    assert!(
        !sidecar
            .seen
            .iter()
            .any(|line| line.contains("request ended"))
    );
    who(&sidecar);
    sidecar.wait_for("request ended");
    folder.reload(&mut sidecar, &backend.config("log.level = \"info\""));
    let before = sidecar.seen.len();
    who(&sidecar);
    folder.reload(&mut sidecar, &backend.config(""));
    let mut since = sidecar.seen[before..].iter();
    assert!(!since.any(|line| line.contains("request ended")));
}

#[test]
fn settings_of_the_process_apply_at_once() {
    let backend = Backend::named("x");
    let folder = Folder::new(&backend.config("drain = { delay = \"1h\", timeout = \"1h\" }"));
    let mut sidecar = folder.start();
    let mut streams = [sidecar.get("/events"), sidecar.get("/events")];
    for stream in &mut streams {
        read_until(stream, "data: x\n\n\r\n");
    }
    let number = &sidecar.status()["requests"][0]["number"];
    let field = "X-Sse-Sidecar: end\r\n";
    assert!(sidecar.end_stream(number, field).contains(" 403 "));
    let changed = "drain = { delay = \"off\", timeout = \"300ms\" }\nadmin.allow_ending = true";
    folder.reload(&mut sidecar, &backend.config(changed));
    assert!(sidecar.end_stream(number, field).contains(" 202 "));
    sidecar.wait_for("ended_by_operator");
    sidecar.signal("TERM");
    sidecar.wait_for("\"reason\":\"shutdown\"");
    assert_eq!(sidecar.exit().code(), Some(0));
}

#[test]
fn the_access_log_is_turned_on_changed_and_off() {
    let backend = Backend::named("one");
    let toml = |access: &str| config(backend.address, access);
    let folder = Folder::new(&toml(""));
    let mut command = folder.command();
    let mut sidecar = Sidecar::spawn(command.stdout(std::process::Stdio::piped()));
    let mut stdout = sidecar.child.stdout.take().unwrap();
    let get = |sidecar: &Sidecar, path: &str| read_until(&mut sidecar.get(path), "one");
    get(&sidecar, "/before");
    folder.reload(&mut sidecar, &toml("log.access = 'on {path}'"));
    get(&sidecar, "/on");
    folder.reload(&mut sidecar, &toml("log.access = 'other {path}'"));
    get(&sidecar, "/other");
    folder.reload(&mut sidecar, &toml("log.access = 'off'"));
    get(&sidecar, "/off");
    sidecar.signal("INT");
    sidecar.exit();
    let mut lines = String::new();
    stdout.read_to_string(&mut lines).unwrap();
    assert_eq!(lines, "on /on\nother /other\n");
}
