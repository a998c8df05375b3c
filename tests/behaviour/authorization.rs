//! A service that is asked whether a request may pass.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::common::{EVENTS, Peer, Sidecar, backend, moment, run, unanswering};
use crate::either::Connection;

type Seen = UnboundedReceiver<(Instant, String)>;

/// A sidecar whose service says `verdict`, what the service is asked, and what reaches the backend.
async fn asking(verdict: &'static str, more: &str) -> (Sidecar, Seen, Seen) {
    let (asked, questions) = moment();
    let service = backend(move |mut peer| {
        let asked = asked.clone();
        async move {
            while let Some(head) = peer.try_head().await {
                asked(head);
                peer.send(verdict).await;
                if verdict.is_empty() || verdict.contains("close") {
                    return; // which closes the connection
                }
            }
        }
    })
    .await;
    let (sidecar, requests) = in_front(&format!("http://{service}/verify?strict"), more).await;
    (sidecar, questions, requests)
}

async fn in_front(url: &str, more: &str) -> (Sidecar, Seen) {
    let (came, requests) = moment();
    let backend = backend(move |mut peer| {
        let came = came.clone();
        async move {
            let head = peer.head().await;
            let is_upload = head.starts_with("POST");
            came(head);
            if is_upload {
                came(String::from_utf8(peer.bytes(5).await).unwrap());
            }
            peer.send(EVENTS).await;
            peer.closed().await;
        }
    })
    .await;
    let toml = format!("[access]\nauthorize = '{url}'\n{more}\n");
    (Sidecar::start(backend, &toml).await, requests)
}

async fn ask(sidecar: &Sidecar, fields: &str) -> (String, Peer) {
    let request = format!("GET /events?x=1 HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
    let mut peer = sidecar.request(&request).await;
    (peer.head().await, peer)
}

const YES: &str = "HTTP/1.1 204 No Content\r\nX-User: ann\r\nX-Secret: s\r\n\r\n";

#[test]
fn an_allowed_request_carries_its_user() {
    run(|| async {
        let more = "authorize_headers = ['X-User', 'X-Forwarded-Groups']";
        let (sidecar, mut questions, mut requests) = asking(YES, more).await;
        // What a client says of itself is nothing, and it cannot have the service's word taken away.
        let forged = "Cookie: session=1\r\nX-User: root\r\nX_User: root\r\nX-Forwarded-Groups: admin\r\nConnection: X-User\r\n\
            X-Forwarded-Uri: /public\r\nX-Original-URI: /public\r\nX_Original_URI: /public\r\nIf-None-Match: \"x\"\r\n";
        let (head, _peer) = ask(&sidecar, forged).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let (_, question) = questions.try_recv().unwrap();
        let question = question.to_lowercase();
        assert!(
            question.starts_with("get /verify?strict http/1.1\r\n"),
            "{question}"
        );
        for field in [
            "cookie: session=1",
            "x-forwarded-method: get",
            "x-forwarded-uri: /events?x=1",
            "x-original-method: get",
            "x-original-uri: /events?x=1",
            "x-forwarded-host: a.example",
            "x-forwarded-for: 127.0.0.1",
        ] {
            assert!(
                question.contains(&format!("\r\n{field}\r\n")),
                "{field}: {question}"
            );
        }
        for absent in [
            "root",
            "/public",
            "admin",
            "if-none-match",
            "content-length",
            "transfer-encoding",
        ] {
            assert!(!question.contains(absent), "{absent}: {question}");
        }
        let (_, request) = requests.try_recv().unwrap();
        let request = request.to_lowercase();
        assert!(
            request.starts_with("get /events?x=1 http/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("\r\nx-user: ann\r\n"), "{request}");
        for absent in ["root", "admin", "x-secret"] {
            assert!(!request.contains(absent), "{absent}: {request}");
        }
    });
}

#[test]
fn its_body_goes_to_the_backend_and_its_connection_is_kept() {
    run(|| async {
        let (sidecar, mut questions, mut requests) = asking(YES, "").await;
        for _ in 0..2 {
            let post = "POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
            let head = sidecar.request(post).await.head().await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let (_, question) = questions.try_recv().unwrap();
            assert!(
                question.to_lowercase().contains("x-forwarded-method: post"),
                "{question}"
            );
            assert!(
                !question.to_lowercase().contains("content-length"),
                "{question}"
            );
            assert!(requests.try_recv().unwrap().1.starts_with("POST"));
            assert_eq!(requests.try_recv().unwrap().1, "hello");
        }
        let connects = sidecar.metric("sse_sidecar_upstream_connects_total");
        assert!(
            (connects - 3.0).abs() < 0.5,
            "one to the service, two to the backend: {connects}"
        );
        let http2 = Connection::to(&sidecar).await;
        let mut asker = http2.ask("").await;
        assert!(asker.head().await.starts_with("http/2 200"));
    });
}

#[test]
fn a_refusal_is_passed_on() {
    run(|| async {
        for (verdict, status) in [
            (
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                 Location: /login\r\nX-Secret: s\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nlogin",
                401,
            ),
            (
                "HTTP/1.1 403 Forbidden\r\nWWW-Authenticate: Bearer\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                 Location: /login\r\nX-Secret: s\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlogin\r\n0\r\n\r\n",
                403,
            ),
        ] {
            let (sidecar, _questions, mut requests) = asking(verdict, "").await;
            let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
            for fields in ["", "Accept: text/event-stream\r\n", upgrade] {
                let (head, mut peer) = ask(&sidecar, fields).await;
                assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
                assert_eq!(peer.bytes(5).await, b"login");
                let head = head.to_lowercase();
                for field in [
                    "www-authenticate: bearer",
                    "set-cookie: a=1",
                    "set-cookie: b=2",
                    "location: /login",
                    "content-type: text/html",
                    "content-length: 5",
                ] {
                    assert!(
                        head.contains(&format!("\r\n{field}\r\n")),
                        "{field}: {head}"
                    );
                }
                assert!(!head.contains("x-secret"), "{head}");
            }
            let http2 = Connection::to(&sidecar).await;
            let whole = http2.get(http::Request::get("http://a/")).await.unwrap();
            assert_eq!(
                (whole.head.status.as_u16(), &whole.body[..]),
                (status, &b"login"[..])
            );
            assert!(requests.try_recv().is_err(), "nothing reaches the backend");
            let refused =
                "sse_sidecar_refused_total{reason=\"authorization_refused\",side=\"client\"}";
            assert!((sidecar.metric(refused) - 4.0).abs() < 0.5);
        }
    });
}

#[test]
fn whatever_is_no_answer_is_a_refusal() {
    run(|| async {
        for verdict in [
            "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            "HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
            "close: this is no HTTP\r\n\r\n",
            "\x16\x03\x01 close",
            "HTTP/1.1 200 OK\r\nclose",
            "",
        ] {
            let (sidecar, _questions, mut requests) = asking(verdict, "").await;
            let (head, mut peer) = ask(&sidecar, "Accept: text/event-stream\r\n").await;
            assert!(head.starts_with("HTTP/1.1 503 "), "{verdict}: {head}");
            let body = peer.until("}").await;
            assert!(
                body.contains("\"reason\":\"authorization_failed\""),
                "{body}"
            );
            assert!(requests.try_recv().is_err(), "{verdict}");
        }
    });
}

#[test]
fn a_service_that_is_down_or_slow_refuses_all() {
    run(|| async {
        let refusing = tokio::net::TcpSocket::new_v4().unwrap();
        refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/", refusing.local_addr().unwrap());
        let (sidecar, mut requests) = in_front(&url, "").await;
        let (head, _) = ask(&sidecar, "").await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        let (silent, _socket) = unanswering();
        let url = format!("http://{silent}/");
        let (sidecar, mut others) = in_front(&url, "authorize_timeout = '3s'").await;
        let start = Instant::now();
        let (head, _) = ask(&sidecar, "").await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert_eq!(start.elapsed().as_secs(), 3);
        assert!(requests.try_recv().is_err() && others.try_recv().is_err());
        let (sidecar, _questions, mut requests) = asking(
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nlog",
            "authorize_timeout = '3s'",
        )
        .await;
        let (head, _) = ask(&sidecar, "").await;
        assert!(
            head.starts_with("HTTP/1.1 503 "),
            "half of a refusal: {head}"
        );
        assert!(requests.try_recv().is_err());
    });
}

#[test]
fn a_client_that_leaves_meanwhile_takes_its_question_along() {
    run(|| async {
        let (left, mut questions) = moment();
        let service = backend(move |mut peer| {
            let left = left.clone();
            async move {
                left(peer.head().await);
                peer.closed().await;
                left("gone".to_owned());
            }
        })
        .await;
        let (sidecar, mut requests) = in_front(&format!("http://{service}"), "").await;
        let client = sidecar.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (asked_at, _) = questions.recv().await.unwrap();
        drop(client);
        let (left_at, what) = questions.recv().await.unwrap();
        assert_eq!(what, "gone");
        assert!(left_at - asked_at < Duration::from_secs(1));
        assert!(requests.try_recv().is_err());
    });
}

#[test]
fn a_route_may_be_open() {
    run(|| async {
        let more = "[[route]]\npath = '/events'\naccess.authorize = 'off'";
        let no = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        let (sidecar, _questions, _requests) = asking(no, more).await;
        let (head, _) = ask(&sidecar, "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let head = sidecar
            .request("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .head()
            .await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    });
}
