//! Requests and responses as they change from one HTTP to the other.

mod bodies;
mod interim;

use std::future::Future;
use std::time::Duration;

use http::{Method, Request, Response};

use crate::common::{Sidecar, run};
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
