//! The program itself, as an operator meets it: started, probed, stopped, started wrongly.

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
#[path = "process/reload/mod.rs"]
mod reload;
#[path = "process/unread_uploads.rs"]
mod unread_uploads;

#[path = "process/connections.rs"]
mod connections;
#[path = "process/drain.rs"]
mod drain;
#[path = "process/service_manager.rs"]
mod service_manager;
#[path = "process/start_errors.rs"]
mod start_errors;
#[path = "process/status_page.rs"]
mod status_page;
#[path = "process/stream_log.rs"]
mod stream_log;
#[path = "process/unread_log.rs"]
mod unread_log;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything here takes, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// A running sidecar; killed on drop.
struct Sidecar {
    child: Child,
    log: Receiver<String>,
    /// Its log is not read as long as this is held.
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

fn sidecar_takes(sidecar: &Sidecar) -> bool {
    let mut client = sidecar.get("/plain");
    read_until(&mut client, "\r\n").starts_with("HTTP/1.1 200 ")
}

#[test]
fn a_stalled_reader_holds_little_memory_and_delays_no_other() {
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
    // The flood has stopped when the number of bytes passed no longer grows.
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
