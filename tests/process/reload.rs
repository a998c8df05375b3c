//! The configuration changes while the sidecar runs.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{DEADLINE, Sidecar, config, field, read_until, resident_kib, sidecar_takes};

/// A folder with the configuration, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(toml: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("reload-{}-{number}", std::process::id());
        let folder = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        fs::create_dir_all(&folder.0).unwrap();
        folder.write(toml);
        folder
    }

    fn file(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// At once, as most editors do.
    fn write(&self, toml: &str) {
        let new = self.0.join("new");
        fs::write(&new, toml).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sidecar"));
        command.arg("--config").arg(self.file());
        command
    }

    fn start(&self) -> Sidecar {
        Sidecar::spawn(&mut self.command())
    }

    /// Has the sidecar take up `toml`.
    fn reload(&self, sidecar: &mut Sidecar, toml: &str) {
        self.write(toml);
        sidecar.signal("HUP");
        sidecar.wait_for("configuration reloaded");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A backend that says who it is, in an answer or an event.
struct Backend {
    address: SocketAddr,
    /// Connections that were made to it.
    connects: Arc<AtomicU32>,
    /// Those that are over.
    closed: Arc<AtomicU32>,
}

impl Backend {
    fn named(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let backend = Self {
            address: listener.local_addr().unwrap(),
            connects: Arc::default(),
            closed: Arc::default(),
        };
        let (connects, closed) = (backend.connects.clone(), backend.closed.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                connects.fetch_add(1, Ordering::SeqCst);
                let (mut stream, closed) = (stream.unwrap(), closed.clone());
                std::thread::spawn(move || {
                    while answer(&mut stream, name) {}
                    closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        backend
    }

    fn closed(&self) -> u32 {
        self.closed.load(Ordering::SeqCst)
    }

    fn connects(&self) -> u32 {
        self.connects.load(Ordering::SeqCst)
    }

    fn config(&self, rest: &str) -> String {
        config(self.address, rest)
    }
}

fn answer(stream: &mut TcpStream, name: &str) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if !stream.read(&mut byte).is_ok_and(|length| length == 1) {
            return false;
        }
        head.push(byte[0]);
    }
    if head.starts_with(b"GET /slow") {
        std::thread::sleep(Duration::from_secs(1));
    }
    let says = if head.starts_with(b"GET /events") {
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {name}\n\n")
    } else {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}",
            name.len()
        )
    };
    stream.write_all(says.as_bytes()).is_ok()
}

/// Asks once more on the same connection; who answers.
fn ask(client: &mut TcpStream) -> String {
    write!(client, "GET / HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    let head = read_until(client, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head.to_lowercase();
    let (_, length) = length.split_once("content-length: ").unwrap();
    let length = length.split("\r\n").next().unwrap().parse().unwrap();
    let mut name = vec![0; length];
    client.read_exact(&mut name).unwrap();
    String::from_utf8(name).unwrap()
}

/// Who answers on a new connection.
fn who(sidecar: &Sidecar) -> String {
    ask(&mut sidecar.connect())
}

fn metric(sidecar: &Sidecar, series: &str) -> u64 {
    let metrics = sidecar.ask_admin("/metrics");
    let mut lines = metrics.lines();
    let found = lines.find_map(|line| line.strip_prefix(&format!("sse_sidecar_config_{series} ")));
    found.unwrap().parse().unwrap()
}

fn rejections(sidecar: &Sidecar) -> u64 {
    metric(sidecar, "reloads_total{result=\"rejected\"}")
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_begins_goes_by_the_new_file_and_open_streams_by_the_old_one() {
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
fn a_file_with_mistakes_changes_nothing_and_is_told_until_it_is_mended() {
    let (old, new) = (Backend::named("old"), Backend::named("new"));
    let folder = Folder::new(&old.config(""));
    let mut sidecar = folder.start();
    assert_eq!(metric(&sidecar, "last_reload_successful"), 1);
    let began = metric(&sidecar, "last_reload_success_timestamp_seconds");
    folder.write(&new.config("timeouts.raed = \"5s\"\nheartbeat.interval = 15"));
    sidecar.signal("HUP");
    assert!(
        sidecar
            .wait_for("what was in force stays")
            .contains("\"problems\":2")
    );
    let line = sidecar.wait_for("unknown key");
    assert_eq!(field(&line, "key").unwrap(), "timeouts.raed");
    assert_eq!(field(&line, "help").unwrap(), "did you mean `read`?");
    assert_eq!(
        field(&line, "file").unwrap(),
        folder.file().to_str().unwrap()
    );
    assert!(line.contains("\"line\":1"), "{line}");
    assert!(sidecar.line().contains("heartbeat.interval"));
    assert_eq!(who(&sidecar), "old");
    let rejected = &sidecar.status()["config_rejected"];
    assert_eq!(rejected[0]["key"], "timeouts.raed");
    assert_eq!(rejected[0]["help"], "did you mean `read`?");
    assert_eq!(rejected[1]["line"], 2);
    assert!(rejections(&sidecar) > 0);
    assert_eq!(metric(&sidecar, "last_reload_successful"), 0);

    // What may be part of a secret is not for the status page.
    folder.write(&new.config("route = [{ header = X-Key-hush }]"));
    sidecar.signal("HUP");
    sidecar.wait_for("not valid TOML");
    let status = sidecar.ask_admin("/status.json");
    assert!(status.contains("not valid TOML") && !status.contains("hush"));

    fs::remove_file(folder.file()).unwrap();
    sidecar.signal("HUP");
    sidecar.wait_for("cannot be read");
    assert_eq!(who(&sidecar), "old");

    folder.reload(&mut sidecar, &new.config(""));
    assert_eq!(who(&sidecar), "new");
    assert_eq!(sidecar.status()["config_rejected"], Value::Array(vec![]));
    assert_eq!(metric(&sidecar, "last_reload_successful"), 1);
    assert!(metric(&sidecar, "reloads_total{result=\"applied\"}") > 0);
    assert!(metric(&sidecar, "last_reload_success_timestamp_seconds") >= began);
}

#[test]
fn a_config_map_is_followed_without_a_signal() {
    let (old, new) = (Backend::named("old"), Backend::named("new"));
    let folder = Folder::new("");
    // As a kubelet writes it: `config.toml` leads through `..data`, which is swapped.
    let publish = |version: &str, toml: &str| {
        let data = folder.0.join(version);
        fs::create_dir(&data).unwrap();
        fs::write(data.join("config.toml"), toml).unwrap();
        symlink(version, folder.0.join("..data_tmp")).unwrap();
        fs::rename(folder.0.join("..data_tmp"), folder.0.join("..data")).unwrap();
    };
    publish("..1", &old.config(""));
    fs::remove_file(folder.file()).unwrap();
    symlink("..data/config.toml", folder.file()).unwrap();
    let mut sidecar = folder.start();
    let mut kept = sidecar.connect();
    assert_eq!(ask(&mut kept), "old");

    // One that is wrong is reported once, however often it is looked at.
    publish("..2", "");
    sidecar.wait_for("what was in force stays");
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(rejections(&sidecar), 1);
    assert_eq!(ask(&mut kept), "old");

    publish("..3", &new.config(""));
    fs::remove_dir_all(folder.0.join("..1")).unwrap();
    sidecar.wait_for("configuration reloaded");
    assert_eq!(ask(&mut kept), "new");
    let told = |text: &str| {
        sidecar
            .seen
            .iter()
            .filter(|line| line.contains(text))
            .count()
    };
    assert_eq!(told("what was in force stays"), 1);
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_in_force() {
    let (old, new) = (Backend::named("old"), Backend::named("new"));
    let before = "server = { workers = 1, max_connections = 10 }\nlog.format = \"json\"\n";
    let folder = Folder::new(&old.config(before));
    let mut sidecar = folder.start();
    let after = "server = { workers = 2, max_connections = 1 }\nlog.format = \"text\"\n";
    let other = new
        .config(after)
        .replace("[[listener]]\naddress = \"127.0.0.1:0\"", "");
    let other = other + "[[listener]]\naddress = \"127.0.0.1:1\"\nproxy_protocol = true\n";
    folder.reload(&mut sidecar, &other);
    let mut named = Vec::new();
    for _ in 0..4 {
        let line = sidecar.wait_for("takes effect with the next restart");
        assert!(line.contains("\"line\":"), "{line}");
        named.push(field(&line, "key").unwrap());
    }
    let keys = [
        "listener[0].address",
        "listener[0].proxy_protocol",
        "server.workers",
        "log.format",
    ];
    assert_eq!(named, keys);
    let status = sidecar.status();
    let waiting = status["config_waiting"].as_array().unwrap();
    let waiting: Vec<_> = waiting
        .iter()
        .map(|key| key["key"].as_str().unwrap())
        .collect();
    assert_eq!(waiting, keys);
    let shown = status["config"].as_str().unwrap();
    assert!(shown.contains("workers = 1\n") && shown.contains("max_connections = 1\n"));
    assert!(shown.contains("format = \"json\"") && !shown.contains("127.0.0.1:1\""));
    assert_eq!(status["max_connections"], 1);

    let mut only = sidecar.connect();
    assert_eq!(ask(&mut only), "new");
    assert!(!sidecar_takes(&sidecar), "one connection is enough by now");
    drop(only);
    eventually("the place is free", || sidecar_takes(&sidecar));

    // Back to what it was: nothing waits.
    folder.reload(&mut sidecar, &old.config(before));
    assert_eq!(sidecar.status()["config_waiting"], Value::Array(vec![]));
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
fn what_holds_for_the_process_is_in_force_at_once() {
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
fn without_a_file_there_is_nothing_to_reload_and_a_drain_is_not_ended_by_it() {
    let backend = Backend::named("x");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sidecar"));
    let url = format!("http://{}", backend.address);
    command.args(["--upstream", &url, "--listen", "127.0.0.1:0"]);
    let mut sidecar = Sidecar::spawn(command.args(["--admin", "127.0.0.1:0"]));
    sidecar.signal("HUP");
    sidecar.wait_for("nothing to reload");
    let mut stream = sidecar.get("/events");
    read_until(&mut stream, "data: x\n\n");
    sidecar.signal("TERM");
    sidecar.wait_for("still accepting");
    sidecar.signal("HUP");
    assert_eq!(who(&sidecar), "x", "it goes on");
    sidecar.signal("TERM");
    assert_eq!(sidecar.exit().code(), Some(0));
}

#[test]
fn a_certificate_that_is_not_there_yet_is_waited_for() {
    let (plain, folder) = (Backend::named("x"), Folder::new(""));
    folder.write(&plain.config(""));
    let mut sidecar = folder.start();
    let secure = plain.config("").replace("http://", "https://");
    let secure = format!("upstream.tls.ca = \"ca.crt\"\n{secure}");
    folder.write(&secure);
    sidecar.signal("HUP");
    let line = sidecar.wait_for("ca.crt");
    assert_eq!(field(&line, "key").unwrap(), "upstream.tls.ca");
    assert_eq!(who(&sidecar), "x");
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.0.join("ca.crt"), pair.cert.pem()).unwrap();
    // Nobody says so, and the file is as it was.
    sidecar.wait_for("configuration reloaded");
    assert_eq!(sidecar.status()["config_rejected"], Value::Array(vec![]));
    let status = sidecar.ask_admin("/status.json");
    assert!(status.contains("ca.crt"), "{status}");
}

#[test]
fn sighup_has_certificates_looked_at_at_once() {
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = Folder::new("");
    let write = |pair: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        fs::write(folder.0.join("tls.crt"), pair.cert.pem()).unwrap();
        fs::write(folder.0.join("tls.key"), pair.signing_key.serialize_pem()).unwrap();
    };
    write(&pair());
    let toml = Backend::named("x").config("")
        + "tls = { certificate = \"tls.crt\", private_key = \"tls.key\" }";
    folder.write(&toml);
    let mut sidecar = folder.start();
    let renewed = pair();
    write(&renewed);
    let since = Instant::now();
    sidecar.signal("HUP");
    sidecar.wait_for("certificates changed");
    assert!(since.elapsed() < Duration::from_secs(4), "not by polling");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(renewed.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let session = rustls::ClientConnection::new(client.into(), name).unwrap();
    let mut client = rustls::StreamOwned::new(session, sidecar.connect());
    write!(client, "GET / HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    client.read_exact(&mut [0; 15]).unwrap();
}

#[test]
fn many_reloads_under_load_lose_no_request_and_leave_nothing_behind() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let rest = "server.workers = 2\nlog.level = \"warn\"\nheartbeat.interval = \"20ms\"\n";
    let route =
        |n: u32| format!("[[route]]\npath = \"/{n}\"\nupstream.url = \"http://127.0.0.{n}:1\"\n");
    let folder = Folder::new(&(one.config("server.workers = 2\n") + &route(1)));
    let mut sidecar = folder.start();
    let descriptors = || {
        let folder = format!("/proc/{}/fd", sidecar.child.id());
        let links = fs::read_dir(folder).unwrap();
        let links = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
        links.collect::<Vec<_>>()
    };
    let at_first = descriptors();
    let done = Arc::new(AtomicBool::new(false));
    let address: SocketAddr = sidecar.address.parse().unwrap();
    let load = |kept: bool| {
        let done = done.clone();
        std::thread::spawn(move || {
            let (mut client, mut asked) = (super::connect(address), 0);
            while !done.load(Ordering::SeqCst) {
                if !kept {
                    client = super::connect(address);
                }
                let name = ask(&mut client);
                assert!(name == "one" || name == "two");
                asked += 1;
            }
            asked
        })
    };
    let loads: Vec<_> = [true, true, false].map(load).into();
    let mut stream = sidecar.get("/events");
    let applied = || metric(&sidecar, "reloads_total{result=\"applied\"}");
    let threads = || {
        let folder = format!("/proc/{}/task", sidecar.child.id());
        fs::read_dir(folder).unwrap().count()
    };
    let reload = |number: u32| {
        let backend = if number.is_multiple_of(2) { &one } else { &two };
        let before = applied();
        folder.write(&(backend.config(rest) + &route(number)));
        sidecar.signal("HUP");
        eventually("it is reloaded", || applied() > before);
    };
    (1..50).for_each(&reload);
    let (before, had) = (resident_kib(sidecar.child.id()), threads());
    (50..250).for_each(&reload);
    let after = resident_kib(sidecar.child.id());
    done.store(true, Ordering::SeqCst);
    for load in loads {
        assert!(load.join().unwrap() > 50);
    }
    assert_eq!(threads(), had);
    assert!(after < before + 1024, "{before} KiB, then {after} KiB");
    read_until(&mut stream, "data: one\n\n");
    assert_eq!(sidecar.status()["upstreams"].as_array().unwrap().len(), 3);
    drop(stream);
    reload(250); // without the load's idle connections
    let deadline = Instant::now() + DEADLINE;
    while descriptors().len() > at_first.len() {
        let left = descriptors();
        assert!(
            Instant::now() < deadline,
            "at first {at_first:?}, then {left:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    sidecar.signal("INT");
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
