//! The access log of a real process: on standard output, without delaying anything.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdout, Stdio};
use std::time::Duration;

use super::{DEADLINE, Sidecar, backend, config, read_until};

/// A sidecar and its standard output.
fn start(rest: &str) -> (Sidecar, ChildStdout) {
    let toml = config(backend(), rest);
    let mut sidecar = Sidecar::spawn(Sidecar::command(&toml).stdout(Stdio::piped()));
    let stdout = sidecar.child.stdout.take().unwrap();
    (sidecar, stdout)
}

#[test]
fn lines_go_to_standard_output_and_the_last_ones_are_written_at_the_end() {
    let (mut sidecar, mut stdout) = start("log = { access = 'json', level = 'debug' }");
    let mut stream = sidecar.get("/events");
    read_until(&mut stream, "data: x\n\n");
    for number in 0..3 {
        read_until(&mut sidecar.get(&format!("/plain/{number}")), "\r\n\r\nok");
    }
    sidecar.signal("INT");
    sidecar.wait_for("draining");
    sidecar.signal("INT");
    sidecar.exit();
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let paths: Vec<_> = lines
        .iter()
        .map(|line| line["path"].as_str().unwrap())
        .collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(
        (0..3).all(|number| paths.contains(&&*format!("/plain/{number}"))),
        "{text}"
    );
    let stream = lines.iter().find(|line| line["path"] == "/events").unwrap();
    assert_eq!(stream["reason"], "shutdown");
    let log = sidecar.seen.join("\n");
    assert!(!log.contains("\"log\":\"access\""), "{log}");
}

#[test]
fn an_unread_pipe_delays_no_stream() {
    let filler = "x".repeat(20_000);
    let rest = format!("log.access = '{{path}} {filler}'\nserver.workers = 1");
    let (sidecar, stdout) = start(&rest);
    let mut ticks = sidecar.get("/ticks");
    read_until(&mut ticks, "data: tick\n\n");
    // More than the pipe and the room for lines take together.
    let mut client = sidecar.connect();
    for _ in 0..200 {
        write!(client, "GET /plain HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
        read_until(&mut client, "\r\n\r\nok");
    }
    assert!(sidecar.metric("sse_sidecar_log_lines_lost_total") > 0.0);
    for _ in 0..3 {
        read_until(&mut ticks, "data: tick\n\n");
    }
    let mut lines = BufReader::new(stdout).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(
        first == format!("/plain {filler}"),
        "what was written is whole"
    );
}

#[test]
fn a_reader_that_is_gone_costs_nothing() {
    let (sidecar, stdout) = start("log.access = 'combined'");
    drop(stdout);
    let deadline = std::time::Instant::now() + DEADLINE;
    while sidecar.metric("sse_sidecar_log_lines_lost_total") == 0.0 {
        assert!(std::time::Instant::now() < deadline, "no line is lost");
        read_until(&mut sidecar.get("/plain"), "\r\n\r\nok");
        std::thread::sleep(Duration::from_millis(1));
    }
    read_until(&mut sidecar.get("/events"), "data: x\n\n");
}
