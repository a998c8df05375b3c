//! The application in the pod: one file and no crates, so that `rustc` makes a static binary of it in a second.
//!
//! | path | what |
//! |---|---|
//! | `/events?GAP` | an event of 25 bytes every GAP milliseconds, until the client has gone |
//! | `/seen` | how many of these streams were opened, and how many were gone: `{"opened":2,"gone":1}` |
//! | `/head` | what the request said of its client: its head, as text |
//!
//! HTTP/1.0 of the old school: the end of the body is the end of the connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

static OPENED: AtomicU32 = AtomicU32::new(0);
static GONE: AtomicU32 = AtomicU32::new(0);

fn main() -> io::Result<()> {
    // Only the pod can reach it, so the sidecar cannot be bypassed.
    let listener = TcpListener::bind("127.0.0.1:3000")?;
    for stream in listener.incoming() {
        let stream = stream?;
        thread::Builder::new()
            .stack_size(64 * 1024)
            .spawn(|| answer(stream))?;
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match path {
        "/events" => events(stream, query.parse().unwrap_or(100)),
        "/seen" => {
            let (opened, gone) = (OPENED.load(Relaxed), GONE.load(Relaxed));
            let seen = format!("{{\"opened\":{opened},\"gone\":{gone}}}\n");
            page(stream, "200 OK", "application/json", &seen)
        }
        "/head" => page(stream, "200 OK", "text/plain", &head),
        _ => page(stream, "404 Not Found", "text/plain", "not here\n"),
    }
}

fn page(mut stream: TcpStream, status: &str, media_type: &str, body: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.0 {status}\r\nContent-Type: {media_type}\r\n\r\n{body}"
    )
}

/// Counts a client as gone at its end of file, which comes without a write.
fn events(mut stream: TcpStream, gap: u64) -> io::Result<()> {
    OPENED.fetch_add(1, Relaxed);
    stream.set_read_timeout(Some(Duration::from_millis(gap)))?;
    let result = (|| {
        write!(
            stream,
            "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        )?;
        for number in 1.. {
            stream.write_all(format!("data: {{\"event\":{number:>8}}}\n\n").as_bytes())?;
            match stream.read(&mut [0]) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => {}
                Ok(_) | Err(_) => break,
            }
        }
        Ok(())
    })();
    GONE.fetch_add(1, Relaxed);
    result
}
