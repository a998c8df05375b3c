//! `sse-sidecar health`: the health check of a container whose image has no shell and no `curl`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::{ConfigSource, USAGE};
use crate::config;

/// Well below the ten seconds and more that container runtimes wait between two checks.
const DEADLINE: Duration = Duration::from_secs(2);

/// A status line has no business being longer, in bytes.
const LONGEST_STATUS_LINE: u64 = 1024;

/// Why the sidecar does not count as alive.
#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error("nothing listens on the admin port `{0}`: {1}")]
    Connect(SocketAddr, #[source] io::Error),
    #[error("the admin port `{0}` broke off: {1}")]
    Exchange(SocketAddr, #[source] io::Error),
    #[error("the admin port `{0}` does not answer within {timeout} seconds", timeout = DEADLINE.as_secs())]
    Silent(SocketAddr),
    #[error("the admin port `{0}` answers `{1}` to `GET /live`")]
    Status(SocketAddr, String),
}

/// Asks `GET /live` of the admin port: success if the answer is 200, else why not on stderr.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the command's answer"
)]
pub fn health(source: &ConfigSource) -> ExitCode {
    let admin = match config::load_admin(source.config.as_deref(), &source.overrides) {
        Ok(admin) => admin,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(USAGE);
        }
    };
    let Some(address) = admin else {
        eprintln!(
            "error: the admin port is `off`, so there is nothing to ask\n  = help: set `admin.listen`, such as `127.0.0.1:9901`"
        );
        return ExitCode::from(USAGE);
    };
    match ask_until_deadline(reachable(address)) {
        Ok(()) => {
            println!("alive");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// An address to connect to: an unspecified one (`0.0.0.0`) can only be listened on.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Asks in a thread of its own, so that one deadline holds for all of it; the thread ends with the process.
fn ask_until_deadline(address: SocketAddr) -> Result<(), HealthError> {
    let (sender, answer) = mpsc::channel();
    thread::spawn(move || sender.send(ask(address)));
    match answer.recv_timeout(DEADLINE) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(HealthError::Silent(address))
        }
    }
}

fn ask(address: SocketAddr) -> Result<(), HealthError> {
    let stream =
        TcpStream::connect(address).map_err(|error| HealthError::Connect(address, error))?;
    let status_line =
        status_line(&stream, address).map_err(|error| HealthError::Exchange(address, error))?;
    match status_line.split(' ').nth(1) {
        Some("200") if status_line.starts_with("HTTP/1.") => Ok(()),
        Some(_) | None => Err(HealthError::Status(address, status_line)),
    }
}

/// Sends the request and reads the first line of the answer, without its line end.
fn status_line(mut stream: &TcpStream, address: SocketAddr) -> io::Result<String> {
    // In one write: a server may answer and close as soon as it has the first piece, and the next would fail.
    let request = format!("GET /live HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut line = Vec::new();
    BufReader::new(stream.take(LONGEST_STATUS_LINE)).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
}
