//! What looks like a stream and passes as an ordinary response is reported at debug, with what to set.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use super::{Sidecar, field};

/// A backend whose answers say what their path asks for.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let head = String::from_utf8(head).unwrap();
            let (fields, body) = match head.split(['/', ' ']).nth(2).unwrap() {
                "bare" => ("", "data: x\n\n"),
                "ollama" => (
                    "Content-Type: application/x-ndjson\r\n",
                    "{\"done\":true}\n",
                ),
                "json" => ("Content-Type: application/json\r\n", "data: x\n\n"),
                "whole" => ("Content-Length: 9\r\n", "data: x\n\n"),
                _ => ("", "nothing of the kind"),
            };
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\n{fields}\r\n{body}"
            )
            .unwrap();
        }
    });
    address
}

#[test]
fn once_for_a_route() {
    let toml = format!(
        "log.level = \"debug\"\nadmin.listen = \"off\"\nupstream.url = \"http://{}\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n[[route]]\npath = \"/bare\"\n[[route]]\npath = \"/ollama\"\n",
        backend()
    );
    let mut sidecar = Sidecar::start(&toml);
    for path in [
        "/json",
        "/whole",
        "/text",
        "/bare/1",
        "/bare/2",
        "/ollama/1",
        "/ollama/2",
        "/end",
    ] {
        let mut client = sidecar.connect();
        write!(
            client,
            "GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        client.read_to_string(&mut String::new()).unwrap();
    }
    let is_last = |line: &str| line.contains("request ended") && line.contains("\"/end\"");
    while !is_last(&sidecar.line()) {}
    let hints = sidecar
        .seen
        .iter()
        .filter(|line| line.contains("looks like events"));
    let hints: Vec<serde_json::Value> = hints
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(hints.len(), 2, "{hints:#?}");
    assert_eq!(
        (&hints[0]["route"], &hints[0]["path"]),
        (&"/bare".into(), &"/bare/1".into())
    );
    assert_eq!(hints[0]["set"], "events.detect = \"always\"");
    assert_eq!(
        (&hints[1]["route"], &hints[1]["path"]),
        (&"/ollama".into(), &"/ollama/1".into())
    );
    assert_eq!(hints[1]["set"], "events.streaming = true");
    assert_eq!(hints[1]["content_type"], "application/x-ndjson");
    let quiet = Sidecar::start(&toml.replace("debug", "info"));
    assert!(
        !quiet
            .seen
            .iter()
            .any(|line| field(line, "level").as_deref() == Some("DEBUG"))
    );
}
