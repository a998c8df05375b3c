//! A log that is not read, or cannot be written.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::{DEADLINE, Sidecar, backend, config, read_until};

/// So many streams come and go that their lines are more than any buffer holds; then one more is asked for.
fn fill_the_log(sidecar: &Sidecar) {
    let target = format!("/events/{}", "x".repeat(60_000));
    for _ in 0..30 {
        read_until(&mut sidecar.get(&target), "data: x\n\n");
    }
    read_until(&mut sidecar.get("/events"), "data: x\n\n");
}

#[test]
fn an_unread_log_delays_nothing_and_its_gap_is_reported() {
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
fn an_unread_log_does_not_delay_the_end() {
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
