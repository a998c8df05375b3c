//! `sse-sidecar doctor`: what it says of servers that are a few lines long. Real ones are in `tests/end_to_end`.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use serde_json::Value;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                    Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n";

/// A server that answers each connection's one request with these pieces, each after a pause, and then closes. Returns its URL, and
/// what it was asked.
fn server(pieces: Vec<(u64, String)>) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, requests) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let _ = asked.send(request(&mut client));
            for (pause, piece) in &pieces {
                thread::sleep(Duration::from_millis(*pause)); // the server's pace is what is measured
                if client.write_all(piece.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    (url, requests)
}

/// A request, with its body if it has a length.
fn request(client: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    loop {
        assert_eq!(client.read(&mut byte).unwrap(), 1);
        seen.push(byte[0]);
        let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return String::from_utf8(seen).unwrap();
        }
    }
}

/// Events of a chunked stream, `gap` apart.
fn events(count: usize, gap: u64) -> Vec<(u64, String)> {
    let mut pieces = vec![(0, format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n"))];
    pieces.extend((0..count).map(|number| (gap, format!("9\r\ndata: {number}\n\n\r\n"))));
    pieces
}

/// The exit code, stdout and stderr of the doctor.
fn doctor(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sidecar"));
    let command = command.arg("doctor").args(args).env_clear();
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// The exit code, the rules that count, and the whole report.
fn judged(args: &[&str]) -> (i32, Vec<String>, Value) {
    let (code, report, complaint) = doctor(&[args, &["--json"]].concat());
    let report: Value = serde_json::from_str(&report).expect(&complaint);
    let findings = report["findings"].as_array().unwrap().iter();
    let counting = findings.filter(|finding| finding["counts"] == true);
    let rules = counting.map(|finding| finding["rule"].as_str().unwrap().to_owned());
    (code, rules.collect(), report)
}

#[test]
fn a_stream_that_arrives_as_it_is_sent() {
    let mut pieces = events(5, 200);
    pieces.push((0, "0\r\n\r\n".to_owned()));
    let (url, _) = server(pieces);
    let expected = ["--expect", "events == 5", "--expect", "first_event < 10s"];
    let (code, rules, report) = judged(&[&[&*url], &expected[..]].concat());
    assert_eq!((code, rules), (0, Vec::new()));
    let front = &report["measurements"]["front"];
    assert_eq!(front["end"]["how"], "complete");
    assert_eq!(
        front["reads"].as_array().unwrap().len(),
        5,
        "one for each event"
    );

    let (code, text, progress) = doctor(&[&url]);
    assert_eq!(code, 0);
    assert!(text.starts_with("Streams well.\n"), "{text}");
    assert!(progress.starts_with("stream    200 after "), "{progress}");
}

#[test]
fn an_expectation_that_is_not_met() {
    let (url, _) = server(events(3, 100));
    let (code, rules, report) = judged(&[&url, "--for", "1s", "--expect", "events >= 4"]);
    assert_eq!(
        (code, rules),
        (1, vec!["cut".to_owned(), "expectation".to_owned()])
    );
    let evidence = &report["findings"][1]["evidence"];
    assert_eq!(evidence, "`events >= 4`: it was 3");
}

#[test]
fn what_is_sent_is_what_was_asked_for() {
    let (url, requests) = server(events(0, 0));
    let flags = [
        "-H",
        "X-A: b",
        "-H",
        "Accept: */*",
        "-b",
        "c=d",
        "--data-raw",
        "@{}",
        "--compressed",
    ];
    judged(&[&[&*format!("{url}/x?y#z")], &flags[..]].concat());
    let asked = requests.recv().unwrap();
    assert!(asked.starts_with("POST /x?y HTTP/1.1\r\n"), "{asked}");
    assert!(asked.ends_with("\r\n\r\n@{}"), "{asked}");
    let asked = asked.to_ascii_lowercase();
    for field in [
        "x-a: b",
        "accept: */*",
        "cookie: c=d",
        "content-length: 3",
        "accept-encoding: gzip, deflate, br, zstd",
    ] {
        assert_eq!(
            asked.matches(&format!("\r\n{field}\r\n")).count(),
            1,
            "{asked}"
        );
    }
    judged(&[&url, "-X", "PUT"]);
    assert!(requests.recv().unwrap().starts_with("PUT / HTTP/1.1\r\n"));
}

#[test]
fn a_hop_that_holds_and_what_is_behind_it() {
    let text: String = events(4, 0)
        .into_iter()
        .skip(1)
        .map(|(_, chunk)| chunk)
        .collect();
    let held = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{text}0\r\n\r\n");
    let (front, _) = server(vec![(1_500, held)]);
    let (behind, _) = server(events(4, 300));
    let (code, rules, report) = judged(&[&front, "--direct", &behind]);
    assert_eq!(code, 1);
    assert_eq!(rules[0], "buffered-to-end");
    let finding = &report["findings"][0];
    assert_eq!(finding["certainty"], "certain");
    assert_eq!(
        finding["where"],
        format!("in front of {behind}: not seen there")
    );
}

#[test]
fn a_servers_words_do_nothing_to_the_terminal() {
    let page = "HTTP/1.1 500 No\r\nContent-Length: 13\r\n\r\n\x1b[31mred\u{9b}31m";
    let (url, _) = server(vec![(0, page.to_owned())]);
    let (code, text, _) = doctor(&[&url]);
    assert_eq!(code, 1);
    assert!(text.contains("\u{FFFD}[31mred"), "{text}");
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
}

#[test]
fn what_cannot_be_asked_or_reached() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    for (args, part) in [
        (&[&*nobody][..], "cannot reach `http://"),
        (&["example.com"], "has no scheme"),
        (&["http://a/", "--for", "5"], "`--for 5`: it has no unit"),
        (&["http://a/", "--for", "2h"], "longer than an hour"),
        (&["http://a/", "-H", "x"], "not a header field"),
        (&["http://a/", "-d", "@/no/such/file"], "cannot be read"),
        (&["http://a/", "--expect", "speed < 1s"], "is not measured"),
        (
            &["http://a/", "--http1.1", "--http2"],
            "cannot be used with",
        ),
        (&[], "required"),
    ] {
        let (code, report, complaint) = doctor(args);
        assert_eq!((code, &*report), (2, ""), "{args:?}");
        assert!(complaint.contains(part), "{complaint}");
    }
}

/// The end of a chain, which ends with this.
struct Origin {
    process: std::process::Child,
    address: String,
}

impl Origin {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_sse-sidecar"))
            .args(["doctor", "--serve", "127.0.0.1:0", "--probe", TOKEN])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap();
        let address = address.split(' ').next().unwrap().to_owned();
        Self { process, address }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const TOKEN: &str = "a-token-for-these-tests";

/// What a hop makes of a piece of a stream.
type Change = fn(String) -> String;

/// What a hop does to a stream besides changing its bytes.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    IgnoresDisconnect,
    StripsLastEventId,
    RefusesPreflight,
}

/// A hop in front of `origin` that changes what it passes on, piece by piece.
fn hop(origin: &Origin, change: Change, fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let address = origin.address.clone();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, address) = (client.unwrap(), address.clone());
            thread::spawn(move || pass(client, &address, change, fault));
        }
    });
    url
}

fn pass(mut client: TcpStream, address: &str, change: Change, fault: Fault) {
    let mut asked = request(&mut client).replacen("HTTP/1.1", "HTTP/1.0", 1);
    if fault == Fault::RefusesPreflight && asked.starts_with("OPTIONS ") {
        let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        return client.write_all(refused).unwrap();
    }
    if fault == Fault::StripsLastEventId {
        asked = asked.replacen("last-event-id", "x-other", 1);
    }
    let mut upstream = TcpStream::connect(address).unwrap();
    upstream.write_all(asked.as_bytes()).unwrap();
    if fault != Fault::IgnoresDisconnect {
        let (mut left, upstream) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
        thread::spawn(move || {
            let _ = left.read(&mut [0]);
            let _ = upstream.shutdown(Shutdown::Both);
        });
    }
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = upstream.read(&mut piece) {
        let text = String::from_utf8_lossy(&piece[..length]).into_owned();
        let _ = client.write_all(change(text).as_bytes());
    }
    let _ = client.shutdown(Shutdown::Both);
}

fn probed(url: &str) -> (i32, Vec<String>, Value) {
    judged(&[url, "--probe", TOKEN, "--for", "1s"])
}

#[test]
fn a_probe_through_hops() {
    let strip = |text: String| -> String {
        let lines = text.split_inclusive('\n');
        lines.filter(|line| !line.starts_with(": ")).collect()
    };
    let line_feeds = |text: String| text.replace("\r\n", "\n").replace('\r', "\n");
    let same = |text| text;
    // Each chain has an origin of its own, since a token has one stream at a time.
    let chains: [(Option<Change>, Fault, &[&str]); 6] = [
        (None, Fault::None, &[]),
        (Some(strip), Fault::None, &["comments-stripped"]),
        (Some(line_feeds), Fault::None, &["line-ends-rewritten"]),
        (Some(same), Fault::IgnoresDisconnect, &["disconnect-lost"]),
        (
            Some(same),
            Fault::StripsLastEventId,
            &["last-event-id-lost"],
        ),
        (Some(same), Fault::RefusesPreflight, &["preflight-refused"]),
    ];
    let running = chains.map(|(change, fault, expected)| {
        thread::spawn(move || {
            let origin = Origin::start();
            let url = match change {
                None => format!("http://{}", origin.address),
                Some(change) => hop(&origin, change, fault),
            };
            let (code, rules, report) = probed(&url);
            assert_eq!(rules, expected, "{:#}", report["findings"]);
            assert_eq!(code, i32::from(!expected.is_empty()));
            assert_eq!(report["kind"], "probe");
        })
    });
    for running in running {
        running.join().unwrap();
    }
}

#[test]
fn a_probe_that_does_not_answer() {
    let origin = Origin::start();
    let url = format!("http://{}", origin.address);
    let (code, report, complaint) = doctor(&[&url, "--probe", "another-token-than-that"]);
    assert_eq!((code, &*report), (2, ""));
    assert!(complaint.contains("no probe answers at"), "{complaint}");
    let (code, _, complaint) = doctor(&[&url, "--probe", "short"]);
    assert_eq!(code, 2);
    assert!(complaint.contains("16 or more"), "{complaint}");
    assert!(!complaint.contains("short"), "{complaint}");
    let (code, _, complaint) = doctor(&["--serve", &origin.address]);
    assert_eq!(code, 2);
    assert!(complaint.contains("cannot serve"), "{complaint}");
}
