//! The configuration changes while the sidecar runs.

mod changes;
mod files;
mod mistakes;
mod under_load;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{DEADLINE, Sidecar, config, read_until};

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
