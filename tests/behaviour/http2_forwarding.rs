//! Requests and responses as they change from one HTTP to the other.

use std::future::{Future, poll_fn};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use crate::common::{LAST_CHUNK, Sidecar, chunk, run};
use crate::either::{Connection, Http, Teller, WAYS, Whole, backend, request};

/// Runs `test` for all four ways through the sidecar.
#[expect(clippy::print_stdout, reason = "cargo shows it when a test fails")]
fn each_way<F: Future<Output = ()>>(test: impl Fn(Http, Http) -> F + Send + Copy + 'static) {
    for (client, upstream) in WAYS {
        run(move || async move {
            println!("from {client:?} to {upstream:?}");
            test(client, upstream).await;
        });
    }
}

/// Answers each request with its head, in lower case, as the backend has it.
async fn echo(mut teller: Teller) {
    let asked = teller.asked();
    teller.open(200, "text/plain").await;
    teller.say(&asked).await;
    teller.end().await;
}

/// What the backend gets of an HTTP/2 request.
async fn echoed(upstream: Http, request: http::request::Builder) -> Result<Whole, h2::Error> {
    let url = backend(upstream, echo).await;
    let sidecar = Sidecar::in_front_of(&url, "").await;
    Connection::to(&sidecar).await.get(request).await
}

#[test]
fn a_request_from_http2() {
    for upstream in [Http::One, Http::Two] {
        run(move || async move {
            let asked = Request::builder()
                .uri("http://example.com:81/a%20b?c=%2F&d")
                .header("cookie", "a=1")
                .header("cookie", "b=2; c=3")
                .header("te", "trailers")
                .header("x-one", "1");
            let (status, says, _) = echoed(upstream, asked).await.unwrap().summary();
            assert_eq!(status, 200);
            let expected = match upstream {
                Http::One => [
                    "get /a%20b?c=%2f&d http/1.1\r\n",
                    "\r\nhost: example.com:81\r\n",
                    "\r\ncookie: a=1; b=2; c=3\r\n",
                    "\r\nte: trailers\r\n",
                    "\r\nconnection: te\r\n",
                    "\r\nx-one: 1\r\n",
                ],
                Http::Two => [
                    "uri: http://example.com:81/a%20b?c=%2f&d,",
                    "method: get,",
                    "\"cookie\": \"a=1; b=2; c=3\"",
                    "\"te\": \"trailers\"",
                    "\"x-forwarded-host\": \"example.com:81\"",
                    "\"x-one\": \"1\"",
                ],
            };
            for part in expected {
                assert!(says.contains(part), "no {part:?} in {says}");
            }
            assert!(
                upstream == Http::One || !says.contains("\"host\""),
                "{says}"
            );
        });
    }
}

#[test]
fn the_host_of_a_request_from_http2() {
    for (authority, host, status) in [
        ("http://a.test/", Some("a.test"), 200),
        ("http://a.test/", Some("A.test:80"), 200),
        ("http://a.test/", Some("b.test"), 400),
        ("http://user@a.test/", None, 400),
    ] {
        run(move || async move {
            let mut asked = Request::builder().uri(authority);
            if let Some(host) = host {
                asked = asked.header("host", host);
            }
            let (seen, says, _) = echoed(Http::One, asked).await.unwrap().summary();
            assert_eq!(seen, status, "{authority} {host:?}: {says}");
            assert!(
                status == 400 || says.contains("\r\nhost: a.test\r\n"),
                "{says}"
            );
        });
    }
}

#[test]
fn a_request_from_http1_to_http2() {
    run(|| async {
        let url = backend(Http::Two, echo).await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        let mut client = sidecar
            .request(
                "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: X-One, te, keep-alive\r\nX-One: 1\r\nX-Two: 2\r\n\
                 TE: gzip, deflate\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\r\n",
            )
            .await;
        assert!(client.head().await.contains(" 200 "));
        let says = client.chunk().await;
        assert!(says.contains("uri: http://a.test/x"), "{says}");
        assert!(says.contains("\"x-two\": \"2\""), "{says}");
        for gone in ["x-one", "\"te\"", "keep-alive", "connection", "\"host\""] {
            assert!(!says.contains(gone), "{gone} in {says}");
        }
    });
}

#[test]
fn a_request_without_a_host_gets_the_upstreams() {
    run(|| async {
        let url = backend(Http::Two, echo).await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        let mut client = sidecar.request("GET /x HTTP/1.0\r\n\r\n").await;
        assert!(client.head().await.contains(" 200 "));
        let says = client.until("}").await;
        let own = url.replace("h2c", "uri: http");
        assert!(says.contains(&format!("{own}/x,")), "no {own} in {says}");
    });
}

#[test]
fn options_of_a_whole_server() {
    each_way(|client, upstream| async move {
        let url = backend(upstream, echo).await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        let says = if client == Http::One {
            let mut client = sidecar
                .request("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n")
                .await;
            assert!(client.head().await.contains(" 200 "));
            client.chunk().await
        } else {
            let uri = http::Uri::builder()
                .scheme("http")
                .authority("a.test")
                .path_and_query("*")
                .build()
                .unwrap();
            let asked = Request::builder().method(Method::OPTIONS).uri(uri);
            let client = Connection::to(&sidecar).await;
            client.get(asked).await.unwrap().summary().1
        };
        let expected = match upstream {
            Http::One => "options * http/1.1\r\n",
            Http::Two => "method: options, uri: http://a.test*,",
        };
        assert!(says.contains(expected), "{says}");
    });
}

/// RFC 9112, section 3.2.4. A slash makes the difference.
#[test]
fn options_of_a_whole_server_in_absolute_form() {
    run(|| async {
        let url = backend(Http::One, echo).await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        for (line, expected) in [
            ("OPTIONS http://a.test", "options * http/1.1\r\n"),
            ("OPTIONS http://a.test:80", "options * http/1.1\r\n"),
            ("OPTIONS http://a.test/", "options / http/1.1\r\n"),
            ("OPTIONS http://a.test?q", "options /?q http/1.1\r\n"),
            ("OPTIONS /", "options / http/1.1\r\n"),
            ("GET http://a.test", "get / http/1.1\r\n"),
        ] {
            let request = format!("{line} HTTP/1.1\r\nHost: a.test\r\n\r\n");
            let mut client = sidecar.request(&request).await;
            assert!(client.head().await.contains(" 200 "));
            let says = client.chunk().await;
            assert!(says.starts_with(expected), "{line}: {says}");
        }
    });
}

#[test]
fn connect_is_refused() {
    run(|| async {
        let asked = Request::builder()
            .method(Method::CONNECT)
            .uri("example.com:443");
        let (status, says, _) = echoed(Http::Two, asked).await.unwrap().summary();
        assert_eq!(status, 405);
        assert!(says.contains("method_refused"), "{says}");
    });
}

/// Answers with `status`, a length and no body.
async fn answer_without_body(teller: Teller, status: u16, length: Option<&'static str>) {
    match teller {
        Teller::One { mut peer, .. } => {
            let length = length.map(|length| format!("Content-Length: {length}\r\n"));
            let length = length.unwrap_or_default();
            peer.send(format!("HTTP/1.1 {status} X\r\nX-One: 1\r\n{length}\r\n"))
                .await;
            peer.closed().await;
        }
        Teller::Two { mut respond, .. } => {
            let mut head = Response::builder().status(status).header("x-one", "1");
            if let Some(length) = length {
                head = head.header("content-length", length);
            }
            respond.send_response(head.body(()).unwrap(), true).unwrap();
        }
    }
}

#[test]
fn responses_without_a_body() {
    for (method, status, length) in [
        ("HEAD", 200, Some("10")),
        ("HEAD", 200, None),
        ("HEAD", 404, Some("10")),
        ("GET", 204, None),
        ("GET", 304, Some("10")),
        ("GET", 304, None),
        ("HEAD", 304, Some("10")),
        ("GET", 200, Some("0")),
    ] {
        each_way(move |client, upstream| async move {
            let url = backend(upstream, move |teller| {
                answer_without_body(teller, status, length)
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let what = format!("{method} {status} {length:?}");
            if client == Http::One {
                let asked = format!("{method} / HTTP/1.1\r\nHost: t\r\n\r\n");
                let mut client = sidecar.request(&asked).await;
                let head = client.head().await.to_lowercase();
                assert!(head.contains(&format!(" {status} ")), "{what}: {head}");
                let seen = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                assert_eq!(seen, length, "{what}");
                assert_eq!(client.within(Duration::from_millis(10)).await, "");
                return;
            }
            let client = Connection::to(&sidecar).await;
            let whole = client.get(request(method)).await;
            let whole = whole.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(whole.head.status, status);
            let seen = whole.head.headers.get("content-length");
            assert_eq!(seen.map(|value| value.to_str().unwrap()), length, "{what}");
            assert_eq!(
                whole.summary(),
                (status, String::new(), true),
                "{what}: {:?}",
                whole.end
            );
        });
    }
}

#[test]
fn a_refusal_of_a_head_request_has_no_body() {
    run(|| async {
        let sidecar = Sidecar::in_front_of("h2c://127.0.0.1:1", "").await;
        let client = Connection::to(&sidecar).await;
        let whole = client.get(request("HEAD")).await.unwrap();
        assert_eq!(whole.summary(), (502, String::new(), true));
    });
}

#[test]
fn early_hints() {
    for upstream in [Http::One, Http::Two] {
        run(move || async move {
            let url = backend(upstream, |teller| async move {
                match teller {
                    Teller::One { mut peer, .. } => {
                        for name in ["one", "two"] {
                            peer.send(format!("HTTP/1.1 103 Early Hints\r\nLink: {name}\r\n\r\n"))
                                .await;
                            sleep(Duration::from_secs(1)).await;
                        }
                        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                            .await;
                        peer.closed().await;
                    }
                    Teller::Two { mut respond, .. } => {
                        for name in ["one", "two"] {
                            let hint = Response::builder().status(103).header("link", name);
                            respond.send_informational(hint.body(()).unwrap()).unwrap();
                            sleep(Duration::from_secs(1)).await;
                        }
                        respond.send_response(Response::new(()), true).unwrap();
                    }
                }
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let client = Connection::to(&sidecar).await;
            let start = Instant::now();
            let (mut response, _) = client
                .send(request("GET").body(()).unwrap(), false)
                .await
                .unwrap();
            for (after, name) in [(0, "one"), (1, "two")] {
                let hint = poll_fn(|cx| response.poll_informational(cx))
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!(
                    (hint.status().as_u16(), &hint.headers()["link"]),
                    (103, &HeaderValue::from_static(name))
                );
                assert_eq!(start.elapsed().as_secs(), after);
            }
            assert_eq!(response.await.unwrap().status(), 200);
        });
    }
}

/// What a backend does with a client that waits to be asked for its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    AfterASecond,
    Never,
    Refuses,
}

/// Reads the whole body, and answers with its length.
async fn measure(teller: Teller, asks: Asks) {
    sleep(Duration::from_millis(if asks == Asks::AfterASecond {
        500
    } else {
        10
    }))
    .await;
    match teller {
        Teller::One { mut peer, .. } => match asks {
            Asks::Refuses => {
                peer.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
                    .await;
                peer.closed().await;
            }
            Asks::AfterASecond | Asks::Never => {
                if asks == Asks::AfterASecond {
                    peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
                }
                let (body, complete) = peer.chunks().await;
                assert!(complete && body == b"the body");
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
                peer.closed().await;
            }
        },
        Teller::Two {
            request,
            mut respond,
            ..
        } => {
            let mut status = StatusCode::OK;
            if asks == Asks::Refuses {
                status = StatusCode::EXPECTATION_FAILED;
            } else {
                if asks == Asks::AfterASecond {
                    let go_on = Response::builder().status(100).body(()).unwrap();
                    respond.send_informational(go_on).unwrap();
                }
                let mut body = request.into_body();
                assert_eq!(body.data().await.unwrap().unwrap(), "the body");
                while let Some(rest) = body.data().await {
                    assert_eq!(rest.unwrap(), "");
                }
            }
            let head = Response::builder().status(status).body(()).unwrap();
            respond.send_response(head, true).unwrap();
        }
    }
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body() {
    for (asks, after) in [
        (Asks::AfterASecond, 500),
        (Asks::Never, 1000),
        (Asks::Refuses, 10),
    ] {
        each_way(move |client, upstream| async move {
            let url = backend(upstream, move |teller| measure(teller, asks)).await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let start = Instant::now();
            let is_time = || {
                let late = start.elapsed().checked_sub(Duration::from_millis(after));
                late.is_some_and(|late| late < Duration::from_millis(5))
            };
            if client == Http::One {
                let head = "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
                let mut client = sidecar.request(head).await;
                let head = client.head().await;
                assert!(is_time(), "{:?}", start.elapsed());
                if asks == Asks::Refuses {
                    return assert!(head.contains(" 417 "), "{head}");
                }
                assert!(head.contains(" 100 "), "{head}");
                client.send(chunk("the body")).await;
                client.send(LAST_CHUNK).await;
                return assert!(client.head().await.contains(" 200 "));
            }
            let client = Connection::to(&sidecar).await;
            let asked = request("POST")
                .header("expect", "100-continue")
                .body(())
                .unwrap();
            let (mut response, mut upload) = client.send(asked, true).await.unwrap();
            if asks == Asks::Refuses {
                assert_eq!(response.await.unwrap().status(), 417);
                return assert!(is_time(), "{:?}", start.elapsed());
            }
            let waiting = poll_fn(|cx| response.poll_informational(cx));
            let go_on = timeout(Duration::from_secs(10), waiting).await;
            assert_eq!(go_on.expect("never asked").unwrap().unwrap().status(), 100);
            assert!(is_time(), "{:?}", start.elapsed());
            upload.send_data("the body".into(), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
        });
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("42"))])
}

/// Answers with the request's trailers as the body, and trailers of its own.
async fn trail(teller: Teller) {
    match teller {
        Teller::One { mut peer, .. } => loop {
            peer.until("4\r\nbody\r\n0\r\n").await;
            let trailers = peer.head().await.to_lowercase();
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
                .await;
            peer.send(chunk(trailers.trim())).await;
            peer.send("0\r\nX-Sum: 42\r\n\r\n").await;
            if peer.try_head().await.is_none() {
                return;
            }
        },
        Teller::Two {
            request,
            mut respond,
            ..
        } => {
            let mut body = request.into_body();
            while let Some(data) = body.data().await {
                data.unwrap();
            }
            let seen = body.trailers().await.unwrap().unwrap_or_default();
            let seen = seen
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            let head = Response::builder()
                .header("trailer", "x-sum")
                .body(())
                .unwrap();
            let mut body = respond.send_response(head, false).unwrap();
            body.send_data(seen.collect::<String>().into(), false)
                .unwrap();
            body.send_trailers(trailers()).unwrap();
        }
    }
}

#[test]
fn trailers_pass_both_ways() {
    each_way(|client, upstream| async move {
        let url = backend(upstream, trail).await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        if client == Http::One {
            for welcome in [true, false] {
                let te = if welcome {
                    "TE: trailers\r\nConnection: te\r\n"
                } else {
                    ""
                };
                let mut client = sidecar
                    .request(&format!(
                        "POST / HTTP/1.1\r\nHost: t\r\nTrailer: X-Sum\r\n{te}Transfer-Encoding: chunked\r\n\r\n"
                    ))
                    .await;
                client.send(chunk("body")).await;
                client.send("0\r\nX-Sum: 42\r\n\r\n").await;
                let head = client.head().await;
                assert!(head.contains(" 200 "), "{head}");
                assert_eq!(client.chunk().await, "x-sum: 42");
                let end = client.until("\r\n\r\n").await.to_lowercase();
                let expected = if welcome {
                    "0\r\nx-sum: 42\r\n\r\n"
                } else {
                    "0\r\n\r\n"
                };
                assert_eq!(end, expected);
            }
            return;
        }
        let client = Connection::to(&sidecar).await;
        let asked = request("POST")
            .header("te", "trailers")
            .header("trailer", "x-sum");
        let (response, mut upload) = client.send(asked.body(()).unwrap(), true).await.unwrap();
        upload.send_data("body".into(), false).unwrap();
        upload.send_trailers(trailers()).unwrap();
        let whole = Whole::of(response).await.unwrap();
        assert_eq!(whole.summary(), (200, "x-sum: 42".to_owned(), true));
        assert_eq!(whole.end.unwrap(), Some(trailers()));
    });
}

const LENGTH: usize = 10_000_000;

/// So many bytes, which tell where they are.
fn body() -> Vec<u8> {
    (0..LENGTH as u64 / 8).flat_map(u64::to_le_bytes).collect()
}

/// Sends `data` as the peer takes it.
async fn send(stream: &mut h2::SendStream<Bytes>, data: Bytes) {
    let mut rest = data;
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let capacity = poll_fn(|cx| stream.poll_capacity(cx))
            .await
            .unwrap()
            .unwrap();
        let part = rest.split_to(capacity.min(rest.len()));
        stream.send_data(part, false).unwrap();
    }
}

/// Sends back what it gets, while it gets it.
async fn reflect(teller: Teller) {
    match teller {
        Teller::One { mut peer, .. } => {
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"
            ))
            .await;
            let mut chunked = sse_sidecar::wire::Chunked::new();
            let mut read = peer.take();
            while !chunked.is_done() {
                let (kept, _) = chunked.decode_in_place(&mut read, |_| {}).unwrap();
                peer.send(&read[..kept]).await;
                read.clear();
                if !chunked.is_done() {
                    peer.stream.read_buf(&mut read).await.unwrap();
                }
            }
            peer.closed().await;
        }
        Teller::Two {
            request,
            mut respond,
            ..
        } => {
            let head = Response::builder().header("content-length", LENGTH);
            let mut down = respond
                .send_response(head.body(()).unwrap(), false)
                .unwrap();
            let mut up = request.into_body();
            while let Some(data) = up.data().await {
                let data = data.unwrap();
                up.flow_control().release_capacity(data.len()).unwrap();
                send(&mut down, data).await;
            }
            down.send_data(Bytes::new(), true).unwrap();
        }
    }
}

#[test]
fn large_bodies_pass_both_ways_at_once() {
    each_way(|client, upstream| async move {
        tokio::time::resume(); // so much takes the kernel a while, in which a paused clock would run ahead
        let url = backend(upstream, reflect).await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        let sent = body();
        if client == Http::One {
            let head = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
            let peer = sidecar.request(head).await;
            let (mut reading, mut writing) = peer.stream.into_split();
            let up = sent.clone();
            let upload = spawn_local(async move {
                for part in up.chunks(50_000) {
                    writing.write_all(&chunk(part)).await.unwrap();
                }
                writing.write_all(LAST_CHUNK.as_bytes()).await.unwrap();
                writing
            });
            let mut seen = Vec::new();
            while !seen.ends_with(&sent[sent.len() - 100..]) {
                assert!(reading.read_buf(&mut seen).await.unwrap() > 0);
            }
            upload.await.unwrap();
            return assert!(seen.ends_with(&sent));
        }
        let client = Connection::to(&sidecar).await;
        let (response, mut upload) = client
            .send(request("POST").body(()).unwrap(), true)
            .await
            .unwrap();
        let up = Bytes::from(sent.clone());
        spawn_local(async move {
            send(&mut upload, up).await;
            upload.send_data(Bytes::new(), true).unwrap();
        });
        let whole = Whole::of(response).await.unwrap();
        assert!(whole.end.is_ok() && whole.body == sent);
    });
}
