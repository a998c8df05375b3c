//! Responses as real and odd servers send them: what is read of each, beside what curl reads of it (`fuzz/corpus-expected`).
//!
//! `NAME.http` is what the server sends before it closes the connection, to a request with HEAD if the name begins with `head-`.
//! `NAME.expected` says what the sidecar reads, then, after an empty line, what curl reads, which `curl.py` beside it writes. Where
//! the two are not the same message, a line `differs:` says why.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::cell::Cell;
use std::fmt::Write;
use std::fs;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use http::HeaderMap;
use http_body::Frame;
use http_body_util::BodyExt;
use sse_sidecar::http1::{Connection, Head, HeadReader, Inflow, Keeper, Limits};
use sse_sidecar::socket::Socket;
use sse_sidecar::sse::UpstreamEnd;
use sse_sidecar::wire::BodyLength;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

const LIMITS: Limits = Limits {
    bytes: 64 * 1024,
    fields: 100,
};

#[tokio::test]
async fn responses_are_read_as_expected() {
    let mut wrong = Vec::new();
    for file in corpus() {
        let bytes = fs::read(&file).unwrap();
        let name = file.file_stem().unwrap().to_str().unwrap();
        let expected = fs::read_to_string(file.with_extension("expected")).unwrap_or_default();
        let (ours, _) = blocks(&expected);
        let expected = ours.lines().filter(|line| !line.starts_with("differs: "));
        let seen = read(&bytes, name.starts_with("head-")).await;
        if !seen.lines().eq(expected) {
            wrong.push(format!("{name} is read as\n{seen}and not as\n{ours}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn whatever_curl_reads_otherwise_has_its_reason() {
    let files = corpus();
    assert!(files.len() > 50, "the corpus is here");
    for file in files {
        let expected = fs::read_to_string(file.with_extension("expected")).unwrap();
        let (ours, curl) = blocks(&expected);
        assert!(!curl.is_empty(), "{}: curl was not asked", file.display());
        let differs = message(ours) != message(curl);
        let has_reason = ours.lines().any(|line| line.starts_with("differs: "));
        assert_eq!(
            differs,
            has_reason,
            "{}: whether curl reads it otherwise",
            file.display()
        );
    }
}

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus-expected");
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "http"))
        .collect();
    files.sort();
    files
}

/// What the sidecar reads, and what curl reads.
fn blocks(expected: &str) -> (&str, &str) {
    expected.split_once("\n\n").unwrap_or((expected, ""))
}

/// What both can say of a message. The fields about its framing are healed, so curl has others.
fn message(block: &str) -> Vec<&str> {
    let framing = ["field: content-length:", "field: transfer-encoding:"];
    let mut lines: Vec<_> = block
        .lines()
        .filter(|line| !framing.iter().any(|name| line.starts_with(name)))
        .filter_map(|line| {
            let shared = ["status: ", "field: ", "content: ", "end: "];
            let is_shared = shared.iter().any(|name| line.starts_with(name));
            // Each parser words its refusal differently.
            let refused = line.starts_with("refused: ").then_some("refused");
            is_shared.then_some(line).or(refused)
        })
        .collect();
    lines.sort_unstable();
    lines
}

/// What the sidecar reads of `bytes`, from a connection that is closed after them.
async fn read(bytes: &[u8], to_head: bool) -> String {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(bytes).await.unwrap();
    far.shutdown().await.unwrap();
    let connection = Connection::new(Socket::Unix(near));
    let mut reader = HeadReader::new(LIMITS);
    let mut seen = String::new();
    let response = loop {
        let head = poll_fn(|cx| reader.poll(cx, connection.socket(), to_head)).await;
        match head {
            Ok(Head::Interim(status, _)) => writeln!(seen, "interim: {}", status.as_u16()).unwrap(),
            Ok(Head::Final(response)) => break response,
            Err(error) => return format!("{seen}refused: {error}\n"),
        }
    };
    writeln!(seen, "status: {}", response.status.as_u16()).unwrap();
    write_fields(&mut seen, "field", &response.headers);
    let length = match response.framing.length {
        BodyLength::None => "none".to_owned(),
        BodyLength::Chunked => "chunked".to_owned(),
        BodyLength::Bytes(length) => format!("{length} bytes"),
        BodyLength::UntilClose => "until the connection closes".to_owned(),
    };
    writeln!(seen, "length: {length}").unwrap();
    let keeper = Rc::new(Kept::default());
    let mut body = Inflow::new(
        connection,
        response.framing,
        response.rest,
        keeper.clone(),
        None,
        response.is_event_stream,
    );
    let (content, trailers, end) = if response.is_event_stream {
        read_events(&mut body).await
    } else {
        read_body(&mut body).await
    };
    drop(body);
    writeln!(seen, "content: {}", content.escape_ascii()).unwrap();
    write_fields(&mut seen, "trailer", &trailers);
    let end = match end {
        UpstreamEnd::Finished => "whole",
        _ => "cut",
    };
    let after = if keeper.0.get() { "kept" } else { "closed" };
    writeln!(seen, "end: {end}\nconnection: {after}").unwrap();
    seen
}

type Read = (Vec<u8>, HeaderMap, UpstreamEnd);

/// As ordinary bodies are read.
async fn read_body(body: &mut Inflow) -> Read {
    let (mut content, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => content.extend_from_slice(&data),
            Ok(Err(frame)) => trailers = frame.into_trailers().unwrap(),
            Err(end) => return (content, trailers, end),
        }
    }
    (content, trailers, UpstreamEnd::Finished)
}

/// As event streams are.
async fn read_events(body: &mut Inflow) -> Read {
    let mut content = Vec::new();
    let mut buffer = [0; 16];
    loop {
        match poll_fn(|cx| body.poll_read(cx, &mut buffer)).await {
            Ok(length) => content.extend_from_slice(&buffer[..length]),
            Err(end) => return (content, HeaderMap::new(), end),
        }
    }
}

fn write_fields(seen: &mut String, label: &str, fields: &HeaderMap) {
    let mut lines: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{label}: {name}: {}\n", value.as_bytes().escape_ascii()))
        .collect();
    lines.sort();
    seen.extend(lines);
}

/// Whether the connection may carry another request.
#[derive(Debug, Default)]
struct Kept(Cell<bool>);

impl Keeper for Kept {
    fn keep(self: Rc<Self>, _: Connection) {
        self.0.set(true);
    }
}
