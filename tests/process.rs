//! The program itself, as an operator meets it: started, probed, told to stop, started wrongly.

#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(
    clippy::disallowed_methods,
    reason = "another process has no paused clock"
)]

#[path = "process/access_log.rs"]
mod access_log;
#[path = "process/certificates.rs"]
mod certificates;
#[path = "process/hints.rs"]
mod hints;
#[path = "process/log_level.rs"]
mod log_level;
#[path = "process/reload.rs"]
mod reload;
#[path = "process/unread_uploads.rs"]
mod unread_uploads;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longer than anything here takes, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// A running sidecar; killed on drop.
struct Sidecar {
    child: Child,
    log: Receiver<String>,
    /// Nobody reads its log as long as this is held.
    reading: Arc<Mutex<()>>,
    address: String,
    admin: Option<SocketAddr>,
    seen: Vec<String>,
}

impl Sidecar {
    fn start(toml: &str) -> Self {
        Self::spawn(&mut Self::command(toml))
    }

    /// What starts it with this configuration.
    fn command(toml: &str) -> Command {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let file = format!(
            "process-{}-{}.toml",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(file);
        fs::write(&file, toml).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sidecar"));
        command.arg("--config").arg(file);
        command
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = channel();
        let reading = Arc::new(Mutex::new(()));
        let gate = reading.clone();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| {
                drop(gate.lock());
                sender.send(line)
            })
        });
        let mut sidecar = Self {
            child,
            log,
            reading,
            address: String::new(),
            admin: None,
            seen: Vec::new(),
        };
        loop {
            let line = sidecar.line();
            let address = || field(&line, "address").unwrap();
            if line.contains("admin port open") {
                sidecar.admin = Some(address().parse().unwrap());
            } else if line.contains("\"listening\"") {
                sidecar.address = address();
                return sidecar;
            }
        }
    }

    fn line(&mut self) -> String {
        let Ok(line) = self.log.recv_timeout(DEADLINE) else {
            panic!(
                "no further line in its log, which said\n{}",
                self.seen.join("\n")
            );
        };
        self.seen.push(line.clone());
        line
    }

    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    fn connect(&self) -> TcpStream {
        connect(self.address.parse().unwrap())
    }

    fn get(&self, target: &str) -> TcpStream {
        let mut client = self.connect();
        write!(
            client,
            "GET {target} HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n"
        )
        .unwrap();
        client
    }

    fn ask_admin(&self, path: &str) -> String {
        self.ask_admin_as("localhost", path)
    }

    /// The same by a name of the admin port.
    fn ask_admin_as(&self, host: &str, path: &str) -> String {
        let mut client = connect(self.admin.unwrap());
        write!(
            client,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The value of a metric without labels.
    fn metric(&self, name: &str) -> f64 {
        let metrics = self.ask_admin("/metrics");
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        let value = metrics.lines().find_map(value);
        value.unwrap_or_else(|| panic!("there is no {name} in\n{metrics}"))
    }

    /// What `/status.json` says.
    fn status(&self) -> serde_json::Value {
        let answer = self.ask_admin("/status.json");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-type: application/json"), "{head}");
        serde_json::from_str(body).unwrap()
    }

    /// Asks for the end of a stream, with these header fields; the first line of the answer.
    fn end_stream(&self, number: &serde_json::Value, fields: &str) -> String {
        let admin = self.admin.unwrap();
        let mut client = connect(admin);
        let head = format!("POST /status/streams/{number}/end HTTP/1.1\r\nHost: {admin}");
        write!(client, "{head}\r\nConnection: close\r\n{fields}\r\n").unwrap();
        read_until(&mut client, "\r\n")
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    fn exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end; its log said\n{}",
                self.seen.join("\n")
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn field(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
    Some(rest.split('"').next()?.to_owned())
}

fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(end.as_bytes()) {
        assert_eq!(
            stream.read(&mut byte).unwrap(),
            1,
            "it ended after {:?}",
            String::from_utf8_lossy(&seen)
        );
        seen.push(byte[0]);
    }
    String::from_utf8(seen).unwrap()
}

/// A backend: `/plain` is answered, `/slow` after a second, what begins with `/events` with one event and silence, `/half` with half
/// of one, `/ticks` with one again and again.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || while answer(&mut stream) {});
        }
    });
    address
}

/// Answers one request; false if there is none.
fn answer(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if !stream.read(&mut byte).is_ok_and(|length| length == 1) {
            return false;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let says = match head.split([' ', '?']).nth(1).unwrap() {
        path if path.starts_with("/events") => {
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n"
        }
        "/half" => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x",
        "/slow" => {
            std::thread::sleep(Duration::from_secs(1));
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        }
        "/ticks" => {
            let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            let mut alive = stream.write_all(head).is_ok();
            while alive {
                std::thread::sleep(Duration::from_millis(20));
                alive = stream.write_all(b"data: tick\n\n").is_ok();
            }
            return false;
        }
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    };
    stream.write_all(says.as_bytes()).is_ok()
}

/// A configuration in front of `backend`, on ports of the system's choice.
fn config(backend: SocketAddr, rest: &str) -> String {
    format!(
        "{rest}\nadmin.listen = \"127.0.0.1:0\"\nupstream.url = \"http://{backend}\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n"
    )
}

#[test]
fn it_proxies_and_its_admin_port_answers() {
    let sidecar = Sidecar::start(&config(backend(), ""));
    let mut client = sidecar.get("/plain");
    assert!(read_until(&mut client, "\r\n\r\nok").starts_with("HTTP/1.1 200 OK"));
    assert!(sidecar.ask_admin("/live").starts_with("HTTP/1.1 200 "));
    assert!(sidecar.ask_admin("/ready").starts_with("HTTP/1.1 200 "));
    assert!(sidecar.ask_admin("/nothing").starts_with("HTTP/1.1 404 "));
    let metrics = sidecar.ask_admin("/metrics");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"));
    assert!(
        metrics.contains("sse_sidecar_requests_total{route=\"any\",status=\"2xx\"} 1"),
        "{metrics}"
    );

    let admin = sidecar.admin.unwrap().to_string();
    let health = Command::new(env!("CARGO_BIN_EXE_sse-sidecar"))
        .args(["health", "--admin", &admin])
        .output()
        .unwrap();
    assert!(health.status.success(), "{health:?}");
}

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
    // What nobody can route or read, too.
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
fn it_speaks_tls_and_closes_what_is_too_much() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name: &str| {
        let name = format!("process-{}-{name}", std::process::id());
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
    };
    let (certificate, key) = (path("tls.crt"), path("tls.key"));
    fs::write(&certificate, pair.cert.pem()).unwrap();
    fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let tls = format!("tls = {{ certificate = {certificate:?}, private_key = {key:?} }}");
    let mut sidecar = Sidecar::start(&(config(backend(), "server.max_connections = 1") + &tls));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let session = rustls::ClientConnection::new(client.into(), name).unwrap();
    let mut client = rustls::StreamOwned::new(session, sidecar.connect());
    let get = "GET /plain HTTP/1.1\r\nHost: t\r\n\r\n";
    client.write_all(get.as_bytes()).unwrap();
    let mut answer = vec![0; 15];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, b"HTTP/1.1 200 OK");
    while !answer.ends_with(b"\r\n\r\nok") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }

    let mut refused = sidecar.connect();
    assert_eq!(refused.read(&mut [0]).unwrap(), 0, "without a word");
    let metrics = sidecar.ask_admin("/metrics");
    let counted = "sse_sidecar_refused_total{reason=\"too_many_connections\",side=\"proxy\"} 1";
    assert!(metrics.contains(counted), "{metrics}");

    sidecar.signal("INT");
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "closed in order");
    assert_eq!(sidecar.exit().code(), Some(0));
    let _ = (fs::remove_file(certificate), fs::remove_file(key));
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

#[test]
fn sigterm_lets_requests_finish_and_takes_no_more() {
    let mut sidecar = Sidecar::start(&config(
        backend(),
        "drain = { delay = \"300ms\", timeout = \"10s\" }",
    ));
    let mut slow = sidecar.get("/slow");
    let mut idle = sidecar.get("/plain");
    read_until(&mut idle, "\r\n\r\nok");
    std::thread::sleep(Duration::from_millis(100));
    sidecar.signal("TERM");
    sidecar.wait_for("still accepting");
    assert!(sidecar.ask_admin("/ready").starts_with("HTTP/1.1 503 "));
    let mut late = sidecar.get("/plain");
    assert!(
        read_until(&mut late, "\r\n\r\nok").starts_with("HTTP/1.1 200 "),
        "accepted during the delay"
    );
    sidecar.wait_for("accepting no more");
    assert_eq!(
        TcpStream::connect(&sidecar.address).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    assert_eq!(
        idle.read(&mut [0]).unwrap(),
        0,
        "an idle connection is closed"
    );
    let answer = read_until(&mut slow, "\r\n\r\nok");
    assert!(
        answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
    assert_eq!(sidecar.exit().code(), Some(0));
}

#[test]
fn what_is_left_at_the_drains_end_is_ended_at_a_boundary() {
    let mut sidecar = Sidecar::start(&config(
        backend(),
        "drain = { delay = \"off\", timeout = \"300ms\" }",
    ));
    let mut stream = sidecar.get("/events");
    read_until(&mut stream, "data: x\n\n\r\n");
    sidecar.signal("TERM");
    assert_eq!(
        read_until(&mut stream, "0\r\n\r\n"),
        "0\r\n\r\n",
        "a clean end"
    );
    let ended = sidecar.wait_for("stream ended");
    assert_eq!(field(&ended, "reason").unwrap(), "shutdown");
    assert_eq!(sidecar.exit().code(), Some(0), "nothing was cut");
}

#[test]
fn what_is_cut_shows_in_the_exit_code() {
    let mut sidecar = Sidecar::start(&config(
        backend(),
        "drain = { delay = \"off\", timeout = \"300ms\" }",
    ));
    let mut half = sidecar.get("/half");
    read_until(&mut half, "data: x\r\n");
    sidecar.signal("TERM");
    let mut rest = Vec::new();
    half.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "no last chunk: {rest:?}");
    assert_eq!(sidecar.exit().code(), Some(1));
    sidecar.wait_for("responses were cut"); // the last line is in the log
}

#[test]
fn the_drain_over_http2() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for (path, timeout, ends, code) in [
        ("/slow", "10s", true, 0),
        ("/events", "300ms", true, 0),
        ("/half", "300ms", false, 1),
    ] {
        let drain = format!("drain = {{ delay = \"off\", timeout = \"{timeout}\" }}");
        let mut sidecar = Sidecar::start(&config(backend(), &drain));
        runtime.block_on(async {
            let stream = sidecar.connect();
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
            let connection = tokio::spawn(connection);
            let request = http::Request::get(format!("http://t{path}"));
            let (response, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
            let mut first = None;
            let mut response = Some(response);
            if path == "/slow" {
                tokio::time::sleep(Duration::from_millis(100)).await;
            } else {
                let mut body = response.take().unwrap().await.unwrap().into_body();
                body.data().await.unwrap().unwrap();
                first = Some(body);
            }
            sidecar.signal("TERM");
            let mut body = match first {
                Some(body) => body,
                None => response.unwrap().await.unwrap().into_body(),
            };
            let end = loop {
                match body.data().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break Err(error),
                    None => break Ok(()),
                }
            };
            assert_eq!(end.is_ok(), ends, "{path}: {end:?}");
            drop((body, send));
            connection.await.unwrap().unwrap(); // closed in order
        });
        assert_eq!(sidecar.exit().code(), Some(code), "{path}");
    }
}

#[test]
fn rotated_streams_end_one_by_one_and_cleanly() {
    const STREAMS: usize = 300;
    let window = Duration::from_secs(4).mul_f64(0.8);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for http2 in [false, true] {
        let rest = "drain = { delay = \"off\", timeout = \"4s\", streams = \"rotate\" }\nheartbeat.interval = \"off\"";
        let mut sidecar = Sidecar::start(&config(backend(), rest));
        let ends: Vec<Duration> = runtime.block_on(async {
            let mut open = Vec::new();
            for _ in 0..STREAMS {
                open.push(if http2 {
                    Stream::Two(open_with_http2(&sidecar).await)
                } else {
                    Stream::One(open_with_http1(&sidecar).await)
                });
            }
            sidecar.signal("TERM");
            let start = Instant::now();
            let ends = open.into_iter().map(|stream| {
                tokio::spawn(async move {
                    stream.ends_in_order().await;
                    start.elapsed()
                })
            });
            let ends: Vec<_> = ends.collect();
            let mut at = Vec::new();
            for end in ends {
                at.push(end.await.unwrap());
            }
            at
        });
        assert_eq!(sidecar.exit().code(), Some(0), "nothing was cut");
        let in_quarter = |quarter: u32| {
            let (from, to) = (window / 4 * quarter, window / 4 * (quarter + 1));
            ends.iter().filter(|&&at| from <= at && at < to).count()
        };
        // A busy machine may be late with some, but not with most.
        let quarters = [0, 1, 2, 3].map(in_quarter);
        assert!(quarters.iter().all(|&ends| ends > 20), "{quarters:?}");
    }
}

/// An event stream as a client has it.
enum Stream {
    One(tokio::net::TcpStream),
    Two(h2::RecvStream),
}

/// A connection of its own, on which the first event has come.
async fn open_with_http1(sidecar: &Sidecar) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(&sidecar.address)
        .await
        .unwrap();
    let request = b"GET /events HTTP/1.1\r\nHost: t\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"data: x\n\n\r\n") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
    }
    stream
}

/// The same with HTTP/2.
async fn open_with_http2(sidecar: &Sidecar) -> h2::RecvStream {
    let stream = tokio::net::TcpStream::connect(&sidecar.address)
        .await
        .unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://t/events").body(()).unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "data: x\n\n");
    body
}

impl Stream {
    /// Reads to the end, which has to be a last chunk and the connection's end, or `END_STREAM`.
    async fn ends_in_order(self) {
        match self {
            Self::One(mut stream) => {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.unwrap();
                assert_eq!(rest, b"0\r\n\r\n");
            }
            Self::Two(mut body) => {
                // A frame may come that has nothing but END_STREAM.
                while let Some(data) = body.data().await {
                    assert_eq!(data.unwrap(), "");
                }
                assert!(body.is_end_stream());
            }
        }
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut sidecar = Sidecar::start(&config(
        backend(),
        "drain = { delay = \"1h\", timeout = \"1h\" }",
    ));
    let mut stream = sidecar.get("/events");
    read_until(&mut stream, "data: x\n\n\r\n");
    sidecar.signal("TERM");
    sidecar.wait_for("still accepting");
    sidecar.signal("TERM");
    assert_eq!(sidecar.exit().code(), Some(0), "nothing was cut");

    let config = config(backend(), "drain = { delay = \"off\", timeout = \"1h\" }");
    let mut sidecar = Sidecar::start(&config);
    let mut stream = sidecar.get("/half");
    read_until(&mut stream, "data: x\r\n");
    sidecar.signal("TERM");
    sidecar.wait_for("accepting no more");
    sidecar.signal("INT");
    assert_eq!(sidecar.exit().code(), Some(1));
}

#[test]
fn the_service_manager_is_told_when_it_is_ready_and_when_it_stops() {
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("notify-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let toml = config(backend(), "drain = { delay = \"1ms\", timeout = \"90s\" }");
    let mut sidecar = Sidecar::spawn(Sidecar::command(&toml).env("NOTIFY_SOCKET", &path));
    assert_eq!(news(&manager), "READY=1");
    let mut client = sidecar.get("/plain");
    assert!(read_until(&mut client, "\r\n\r\nok").starts_with("HTTP/1.1 200 OK"));
    sidecar.signal("TERM");
    assert_eq!(
        news(&manager),
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=92001000",
        "the drain's delay and timeout, and the last 2 s"
    );
    assert_eq!(sidecar.exit().code(), Some(0));
    let _ = fs::remove_file(path);
}

#[test]
fn the_service_manager_may_have_an_abstract_socket() {
    let name = format!("sse-sidecar-notify-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut command = Sidecar::command(&config(backend(), ""));
    let _sidecar = Sidecar::spawn(command.env("NOTIFY_SOCKET", format!("@{name}")));
    assert_eq!(news(&manager), "READY=1");
}

#[test]
fn a_service_manager_that_is_gone_is_no_reason_not_to_serve() {
    let mut command = Sidecar::command(&config(backend(), ""));
    let mut sidecar = Sidecar::spawn(command.env("NOTIFY_SOCKET", "/nowhere/notify"));
    sidecar.wait_for("cannot tell the service manager");
    let mut client = sidecar.get("/plain");
    assert!(read_until(&mut client, "\r\n\r\nok").starts_with("HTTP/1.1 200 OK"));
}

/// What a service manager is told next.
fn news(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = manager.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn sockets_of_both_kinds_on_both_sides() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (front, back) = (
        directory.join(format!("front-{}", std::process::id())),
        directory.join(format!("back-{}", std::process::id())),
    );
    let _ = fs::remove_file(&back);
    let listener = std::os::unix::net::UnixListener::bind(&back).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).unwrap();
            stream
                .write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: unix\n\n",
                )
                .unwrap();
        }
    });
    // A file that an earlier process left behind is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&front));
    let toml = format!(
        "admin.listen = \"off\"\nupstream.url = \"unix:{}\"\n[[listener]]\naddress = \"unix:{}\"\n",
        back.display(),
        front.display()
    );
    let mut sidecar = Sidecar::start(&toml);
    let mut client = UnixStream::connect(&front).unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\ndata: unix\n\n"), "{answer}");
    sidecar.signal("INT");
    assert_eq!(sidecar.exit().code(), Some(0));
    assert!(!front.exists(), "the socket's file is removed");
}

#[test]
fn a_proxy_protocol_header_on_a_unix_socket() {
    let front =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("proxied-{}", std::process::id()));
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let toml = format!(
        "admin.listen = \"off\"\nupstream.url = \"http://{}\"\n[[listener]]\naddress = \"unix:{}\"\nproxy_protocol = true\n",
        backend.local_addr().unwrap(),
        front.display()
    );
    std::thread::spawn(move || {
        for stream in backend.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 1024];
            let length = stream.read(&mut head).unwrap();
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
            stream.write_all(&head[..length]).unwrap();
        }
    });
    let mut sidecar = Sidecar::start(&toml);
    for (header, says) in [
        (
            "PROXY TCP4 192.0.2.60 192.0.2.1 56324 443\r\n",
            "\r\nx-forwarded-for: 192.0.2.60\r\n",
        ),
        ("PROXY UNKNOWN\r\n", "\r\nforwarded: for=unknown;"),
    ] {
        let mut client = UnixStream::connect(&front).unwrap();
        write!(client, "{header}GET / HTTP/1.0\r\nHost: t\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(says), "{answer}");
    }
    // One that still has to say who it is does not hold up the end.
    let mut silent = UnixStream::connect(&front).unwrap();
    silent.write_all(b"PROXY ").unwrap();
    sidecar.signal("INT");
    assert_eq!(sidecar.exit().code(), Some(0));
}

#[test]
fn too_many_connections_are_turned_away_and_no_open_one_suffers() {
    let sidecar = Sidecar::start(&config(backend(), "server.max_connections = 2"));
    let mut first = sidecar.get("/events");
    read_until(&mut first, "data: x\n\n\r\n");
    let mut second = sidecar.get("/plain");
    read_until(&mut second, "\r\n\r\nok");
    let mut third = sidecar.get("/plain");
    let answer = read_until(&mut third, "}\n");
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: "),
        "{answer}"
    );
    write!(second, "GET /plain HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    read_until(&mut second, "\r\n\r\nok");
    drop(second);
    // The place is free as soon as the worker has seen the connection close.
    let deadline = Instant::now() + DEADLINE;
    while !sidecar_takes(&sidecar) {
        assert!(Instant::now() < deadline, "the place never becomes free");
    }
}

fn sidecar_takes(sidecar: &Sidecar) -> bool {
    let mut client = sidecar.get("/plain");
    read_until(&mut client, "\r\n").starts_with("HTTP/1.1 200 ")
}

#[test]
fn running_out_of_file_descriptors_costs_no_stream_no_cpu_and_one_warning() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("descriptors-{}.toml", std::process::id()));
    fs::write(&file, config(backend(), "server.workers = 2")).unwrap();
    let program = env!("CARGO_BIN_EXE_sse-sidecar");
    let limited = format!("ulimit -n 50 && exec {program} --config {}", file.display());
    let mut sidecar = Sidecar::spawn(Command::new("sh").args(["-c", &limited]));
    let mut ticking = sidecar.get("/ticks");
    read_until(&mut ticking, "data: tick\n\n");
    let mut held: Vec<_> = (0..60).map(|_| sidecar.connect()).collect();
    sidecar.wait_for("cannot accept connections");
    for _ in 0..20 {
        assert!(sidecar.ask_admin("/live").ends_with("live\n"), "probed");
    }

    let (before, since) = (cpu_time(sidecar.child.id()), Instant::now());
    while since.elapsed() < Duration::from_secs(1) {
        read_until(&mut ticking, "data: tick\n\n");
    }
    let used = cpu_time(sidecar.child.id()).saturating_sub(before);
    assert!(used < Duration::from_millis(200), "{used:?} in a second");

    // Each that leaves makes room for one that waits, and again there is none for the next.
    while let Some(connection) = held.pop() {
        drop(connection);
        std::thread::sleep(Duration::from_millis(20));
    }
    let deadline = Instant::now() + DEADLINE;
    while !sidecar
        .seen
        .iter()
        .any(|line| line.contains("accepting connections again"))
    {
        assert!(Instant::now() < deadline, "it never says so");
        assert!(sidecar_takes(&sidecar));
        sidecar.seen.extend(sidecar.log.try_iter());
    }
    read_until(&mut ticking, "data: tick\n\n");
    let warnings = |text| {
        sidecar
            .seen
            .iter()
            .filter(|line| line.contains(text))
            .count()
    };
    // One for each time that there was room again: on a busy machine several may have left before the next was let in.
    assert_eq!(
        warnings("cannot accept"),
        warnings("accepting connections again")
    );
}

/// The CPU time that a process has used.
fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, from_third) = stat.rsplit_once(") ").unwrap();
    let field = |number: usize| from_third.split(' ').nth(number - 3).unwrap();
    let ticks: u64 = [14, 15]
        .map(|n| field(n).parse::<u64>().unwrap())
        .iter()
        .sum();
    Duration::from_millis(10 * ticks)
}

/// So many streams come and go that their lines are more than any buffer holds; then one more is asked for.
fn fill_the_log(sidecar: &Sidecar) {
    let target = format!("/events/{}", "x".repeat(60_000));
    for _ in 0..30 {
        read_until(&mut sidecar.get(&target), "data: x\n\n");
    }
    read_until(&mut sidecar.get("/events"), "data: x\n\n");
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing_and_its_gap_is_told() {
    let mut sidecar = Sidecar::start(&config(backend(), "server.workers = 1"));
    let reading = sidecar.reading.clone();
    let unread = reading.lock().unwrap();
    fill_the_log(&sidecar);
    let lost = sidecar.metric("sse_sidecar_log_lines_lost_total");
    assert!(lost > 0.0);
    drop(unread);
    let told = sidecar.wait_for("log lines were lost");
    let whole = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect(line);
    assert!(whole(&told)["lines"].as_f64() >= Some(lost), "{told}");
    sidecar.seen.iter().for_each(|line| drop(whole(line)));
    read_until(&mut sidecar.get("/events/again"), "data: x\n\n");
    sidecar.wait_for("/events/again");
}

#[test]
fn a_log_that_nobody_reads_does_not_hold_up_the_end() {
    let mut sidecar = Sidecar::start(&config(backend(), "server.workers = 1"));
    let reading = sidecar.reading.clone();
    let _unread = reading.lock().unwrap();
    fill_the_log(&sidecar);
    sidecar.signal("INT");
    assert_eq!(sidecar.exit().code(), Some(0));
}

#[test]
fn a_log_whose_reader_is_gone_costs_nothing() {
    let mut sidecar = Sidecar::start(&config(backend(), "server.workers = 1"));
    drop(std::mem::replace(&mut sidecar.log, channel().1)); // its reader ends with the next line
    fill_the_log(&sidecar);
    assert!(sidecar.metric("sse_sidecar_log_lines_lost_total") > 0.0);
    sidecar.signal("INT");
    assert_eq!(sidecar.exit().code(), Some(0));
}

#[test]
fn a_full_disk_under_the_log_costs_nothing() {
    let socket = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("full-disk-{}.sock", std::process::id()));
    let toml = config(backend(), "server.workers = 1")
        .replace("[[listener]]\naddress = \"127.0.0.1:0\"", "")
        + &format!("[[listener]]\naddress = \"unix:{}\"\n", socket.display());
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut child = Sidecar::command(&toml).stderr(full).spawn().unwrap();
    let deadline = Instant::now() + DEADLINE;
    let connect = || loop {
        if let Ok(stream) = UnixStream::connect(&socket) {
            return stream;
        }
        assert!(Instant::now() < deadline, "it does not listen");
        std::thread::sleep(Duration::from_millis(5));
    };
    for _ in 0..20 {
        let mut client = connect();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(client, "GET /events HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"data: x\n\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
    }
    let pid = child.id().to_string();
    Command::new("kill")
        .args(["-s", "INT", &pid])
        .status()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_stalled_reader_holds_little_memory_and_delays_nobody() {
    const STALLED: usize = 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let head = read_until(&mut stream, "\r\n\r\n");
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                    .unwrap();
                let event = format!("data: {}\n\n", "x".repeat(1000));
                if head.starts_with("GET /flood") {
                    while stream.write_all(event.as_bytes()).is_ok() {}
                } else {
                    for _ in 0..20 {
                        stream.write_all(b"data: tick\n\n").unwrap();
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            });
        }
    });
    let sidecar = Sidecar::start(&config(address, "server.workers = 1"));
    let mut warm = sidecar.get("/ticks");
    read_until(&mut warm, "0\r\n\r\n");
    let before = resident_kib(sidecar.child.id());
    let stalled: Vec<_> = (0..STALLED).map(|_| sidecar.get("/flood")).collect();
    // The flood has stopped when the bytes passed stand still.
    let passed = || {
        let metrics = sidecar.ask_admin("/metrics");
        let line = metrics
            .lines()
            .find(|line| line.starts_with("sse_sidecar_stream_bytes_total{"))
            .unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let mut last = passed();
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = passed();
        if now == last && now > 0 {
            break;
        }
        last = now;
    }
    let held = (resident_kib(sidecar.child.id()).saturating_sub(before)) / STALLED;
    assert!(held < 300, "{held} KiB for each stalled reader");
    let start = Instant::now();
    let mut reader = sidecar.get("/ticks");
    let body = read_until(&mut reader, "0\r\n\r\n");
    assert_eq!(body.matches("data: tick").count(), 20);
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    drop(stalled);
}

fn resident_kib(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_port_in_use_is_said_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let program = env!("CARGO_BIN_EXE_sse-sidecar");
    let arguments = [
        "--listen",
        &address,
        "--upstream",
        "http://127.0.0.1:1",
        "--admin",
        "off",
    ];
    let output = Command::new(program).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains(&format!(
            "error: cannot listen on {address}: Address already in use"
        )),
        "{said}"
    );
    assert!(said.contains("choose another address"), "{said}");
}

#[test]
fn a_wrong_configuration_is_told_whole() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("wrong-{}.toml", std::process::id()));
    fs::write(
        &file,
        "upstream.url = \"127.0.0.1:3000\"\ntimeouts.raed = \"5s\"\n",
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sse-sidecar"))
        .arg("--config")
        .arg(file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("http://127.0.0.1:3000") && said.contains("`read`"),
        "{said}"
    );
}
