//! Requests and responses pass with all that they are made of.

use crate::common::{Closed, Peer, Sidecar, backend, backend_that_says, run};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What the backend gets of `request`, up to `end`, without the forwarded headers.
async fn seen_upstream(request: impl AsRef<[u8]>, end: &'static str) -> Vec<u8> {
    let (tell, mut told) = crate::common::moment();
    let backend = backend(move |mut peer: Peer| {
        let tell = tell.clone();
        async move {
            let mut seen = peer.bytes_until(b"\r\n\r\n").await;
            if end != "\r\n\r\n" {
                seen.extend(peer.bytes_until(end.as_bytes()).await);
            }
            tell(seen);
            peer.send(OK).await;
            peer.closed().await;
        }
    })
    .await;
    let sidecar = Sidecar::start(backend, "").await;
    let mut client = sidecar.connect().await;
    client.send(request).await;
    client.until("\r\n\r\nok").await;
    let seen = told.recv().await.unwrap().1;
    let lines = seen.split_inclusive(|&byte| byte == b'\n');
    let is_own = |line: &&[u8]| {
        let added: [&[u8]; 4] = [
            b"forwarded: ",
            b"x-forwarded-",
            b"x-real-ip: ",
            b"x-request-id: ",
        ];
        !added.iter().any(|name| line.starts_with(name))
    };
    lines.filter(is_own).flatten().copied().collect()
}

/// What the client gets of `response`.
async fn seen_by_client(request: &str, response: impl Into<Vec<u8>>) -> Vec<u8> {
    let response = response.into();
    let length = response.len();
    let sidecar = Sidecar::start(backend_that_says(response).await, "").await;
    let mut client = sidecar.request(request).await;
    client.bytes(length).await
}

#[test]
fn methods_and_targets() {
    for line in [
        "GET /a%2F..//b?x=[y]|{}",
        "GET //double//slashes/",
        "GET /./dots/../and/..",
        "GET /%00%ff%2e%2E",
        "GET /q?",
        "GET /?q=a+b&q=%20",
        "GET /!$&'()*+,;=:@-._~",
        "GET /[]{}|\\^\"",
        "GET /caf\u{e9}?\u{e9}",
        "DELETE /x",
        "OPTIONS /x",
        "OPTIONS *",
        "TRACE /",
        "PROPFIND /dav/",
        "query /lower",
        "X-Y! /token",
    ] {
        run(move || async move {
            let request = format!("{line} HTTP/1.1\r\nHost: t\r\n\r\n");
            let seen = String::from_utf8(seen_upstream(&request, "\r\n\r\n").await).unwrap();
            assert_eq!(seen, request);
        });
    }
}

#[test]
fn fields_keep_their_case_their_order_and_every_byte() {
    const FIELDS: &[u8] = b"Zeta: 1\r\naLPHA: caf\xE9 \xC3\xA9\r\nEmpty: \r\nX-a: 1\r\nX-A: 2\r\n\
        Quoted: \"a, b\"; c=\"\\\"\"\r\nTab: a\tb\r\nCookie: a=1; b=2\r\nhost-like: x:80\r\n";
    // The space after a colon is insignificant.
    let text = |bytes: &[u8]| {
        bytes
            .escape_ascii()
            .to_string()
            .replace("Empty: ", "Empty:")
    };
    run(move || async move {
        let request = [b"GET / HTTP/1.1\r\nHost: t\r\n", FIELDS, b"\r\n"].concat();
        let seen = seen_upstream(&request, "\r\n\r\n").await;
        assert_eq!(text(&seen), text(&request));
        let response = [
            b"HTTP/1.1 200 Quite Fine\r\nServer: x\r\n",
            FIELDS,
            b"Content-Length: 2\r\n\r\nok",
        ]
        .concat();
        let request = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
        let seen = seen_by_client(request, response.clone()).await;
        assert_eq!(text(&seen), text(&response));
    });
}

#[test]
fn bodies_keep_their_framing() {
    for (request, end) in [
        ("GET / HTTP/1.1\r\nHost: t\r\n\r\n", "\r\n\r\n"),
        (
            "GET / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody",
            "body",
        ),
        (
            "DELETE / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n",
            "\r\n\r\n",
        ),
        (
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n",
            "\r\n\r\n",
        ),
        (
            "PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody",
            "body",
        ),
        (
            "PATCH / HTTP/1.1\r\nHost: t\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
            "0\r\n\r\n",
        ),
    ] {
        run(move || async move {
            let seen = String::from_utf8(seen_upstream(request, end).await).unwrap();
            assert_eq!(seen, request);
        });
    }
}

#[test]
fn trailers_of_a_request() {
    run(|| async {
        let request = "POST / HTTP/1.1\r\nHost: t\r\nTrailer: X-Sum\r\ntransfer-encoding: chunked\r\n\r\n\
            2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n";
        let seen =
            String::from_utf8(seen_upstream(request, "0\r\nx-sum: 7\r\n\r\n").await).unwrap();
        assert_eq!(seen, request);
    });
}

#[test]
fn a_part_of_a_page() {
    run(|| async {
        let request = "GET / HTTP/1.1\r\nHost: t\r\nRange: bytes=0-1,4-\r\nIf-Range: \"x\"\r\n\r\n";
        assert_eq!(seen_upstream(request, "\r\n\r\n").await, request.as_bytes());
        for response in [
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/10\r\nETag: \"x\"\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 206 Partial Content\r\nContent-Type: text/event-stream\r\nContent-Range: bytes 0-1/10\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=b\r\nContent-Length: 61\r\n\r\n\
             --b\r\nContent-Range: bytes 0-1/10\r\n\r\nok\r\n--b\r\n\r\nmore\r\n--b--\r\n",
            "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */10\r\nContent-Length: 0\r\n\r\n",
        ] {
            assert_eq!(seen_by_client(request, response).await, response.as_bytes());
        }
    });
}

#[test]
fn the_length_of_what_head_leaves_out() {
    for (says, passes) in [
        ("Content-Length: 1000000\r\n", "Content-Length: 1000000\r\n"),
        ("Content-Length: 0\r\n", "Content-Length: 0\r\n"),
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\n",
        ),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", ""),
        ("", ""),
    ] {
        run(move || async move {
            let backend = backend(move |mut peer| async move {
                loop {
                    peer.head().await;
                    peer.send(format!("HTTP/1.1 200 OK\r\nX: y\r\n{says}\r\n"))
                        .await;
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            let mut client = sidecar
                .request(&"HEAD / HTTP/1.1\r\nHost: t\r\n\r\n".repeat(3))
                .await;
            for _ in 0..3 {
                let expected = format!("HTTP/1.1 200 OK\r\nX: y\r\n{passes}\r\n");
                assert_eq!(client.head().await, expected);
            }
        });
    }
}

#[test]
fn interim_responses_pass_and_are_no_answer() {
    run(|| async {
        let interim =
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
        let sidecar = Sidecar::start(backend_that_says([interim, OK].concat()).await, "").await;
        let mut client = sidecar.request("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
        let passed = interim.replace("Link", "link");
        assert_eq!(client.until("ok").await, passed + OK);
        // HTTP/1.0 has none.
        let sidecar = Sidecar::start(backend_that_says([interim, OK].concat()).await, "").await;
        let mut client = sidecar.request("GET / HTTP/1.0\r\nHost: t\r\n\r\n").await;
        assert!(client.head().await.contains(" 200 OK\r\n"));
    });
}

#[test]
fn the_host_is_the_clients_unless_the_configuration_says_another() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            loop {
                let head = peer.head().await;
                let told = head
                    .lines()
                    .filter(|line| line.to_lowercase().contains("host"));
                let told = told.collect::<Vec<_>>().join("|");
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}",
                    told.len()
                ))
                .await;
            }
        })
        .await;
        let toml = format!(
            "[upstream]\nhost = \"api.example.com:8443\"\n[[route]]\npath = \"/own\"\nupstream.host = \"own\"\n\
            [[route]]\npath = \"/other\"\nupstream.url = \"http://{backend}\""
        );
        let sidecar = Sidecar::start(backend, &toml).await;
        for (path, host) in [
            ("/", "api.example.com:8443"),
            ("/own", "own"),
            ("/other", "t"),
        ] {
            let mut client = sidecar
                .request(&format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n"))
                .await;
            let head = client.head().await;
            let told = client.until("x-forwarded-host: t").await;
            assert!(head.contains("200"));
            assert_eq!(
                told,
                format!(
                    "Host: {host}|forwarded: for=127.0.0.1;host=\"t\";proto=http|x-forwarded-host: t"
                )
            );
        }
    });
}

/// RFC 9110, section 10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that
/// expectation."
#[test]
fn an_http_1_0_client_is_not_asked_for_its_body() {
    run(|| async {
        let request =
            "POST / HTTP/1.0\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody";
        let start = tokio::time::Instant::now();
        let seen = String::from_utf8(seen_upstream(request, "body").await).unwrap();
        assert_eq!(
            seen,
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody"
        );
        assert!(start.elapsed().is_zero());
    });
}

#[test]
fn an_expectation_in_any_case_and_of_any_kind() {
    run(|| async {
        let request =
            "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n";
        let says = "HTTP/1.1 100 Continue\r\n\r\n";
        let sidecar = Sidecar::start(backend_that_says([says, OK].concat()).await, "").await;
        let mut client = sidecar.request(request).await;
        assert_eq!(client.head().await, says);
        client.send("body").await;
        assert_eq!(client.until("\r\n\r\nok").await, OK);
        let request =
            "POST / HTTP/1.1\r\nHost: t\r\nExpect: miracles\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(seen_upstream(request, "body").await, request.as_bytes());
        let request = "GET / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n\r\n";
        assert_eq!(seen_upstream(request, "\r\n\r\n").await, request.as_bytes());
    });
}

#[test]
fn connections_are_kept_as_their_clients_say() {
    for (head, says, kept) in [
        ("GET / HTTP/1.1\r\nHost: t\r\n", "", true),
        (
            "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n",
            "connection: close\r\n",
            false,
        ),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n",
            "connection: keep-alive\r\n",
            true,
        ),
        ("GET / HTTP/1.0\r\n", "", false),
    ] {
        run(move || async move {
            let backend = backend(|mut peer| async move {
                loop {
                    peer.head().await;
                    peer.send(OK).await;
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, "").await;
            let mut client = sidecar.request(&format!("{head}\r\n")).await;
            let answer = client.head().await.to_lowercase();
            assert_eq!(
                answer.contains("connection: "),
                !says.is_empty(),
                "{head} {answer}"
            );
            assert!(answer.contains(says), "{head} {answer}");
            client.until("ok").await;
            if kept {
                client.send(format!("{head}\r\n")).await;
                client.until("\r\n\r\nok").await;
            } else {
                assert_eq!(client.closed().await, Closed::Fin, "{head}");
            }
        });
    }
}

#[test]
fn a_length_that_is_none_is_not_passed_on_where_no_body_follows() {
    run(|| async {
        for (lines, kept) in [
            ("Content-Length: 5\r\n", true),
            ("Content-Length: 5, 5\r\nContent-Length: 5\r\n", true),
            ("Content-Length: x\r\n", false),
            ("Content-Length: +5\r\n", false),
            ("Content-Length: \r\n", false),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", false),
        ] {
            for (method, status) in [("HEAD", "200 OK"), ("GET", "304 Not Modified")] {
                let response = format!("HTTP/1.1 {status}\r\n{lines}\r\n");
                let sidecar = Sidecar::start(backend_that_says(response).await, "").await;
                let request = format!("{method} / HTTP/1.1\r\nHost: t\r\n\r\n");
                let head = sidecar.request(&request).await.head().await.to_lowercase();
                assert!(
                    head.starts_with(&format!("http/1.1 {}", &status[..3])),
                    "{head}"
                );
                assert_eq!(
                    head.contains("content-length: 5\r\n"),
                    kept,
                    "{method} {lines}"
                );
                assert_eq!(head.contains("content-length"), kept, "{method} {lines}");
            }
        }
    });
}
