//! What routes change on the way: fields, paths and hosts; and what they answer by themselves.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::common::{EVENTS, LAST_CHUNK, Sidecar, backend, chunk, run};
use crate::either::{Connection, request};

/// A backend that answers each request with `response`, and the heads that it gets.
async fn recording(response: impl Into<Vec<u8>>) -> (SocketAddr, Rc<RefCell<Vec<String>>>) {
    let heads = Rc::new(RefCell::new(Vec::new()));
    let seen = heads.clone();
    let response = Rc::new(response.into());
    let address = backend(move |mut peer| {
        let (seen, response) = (seen.clone(), response.clone());
        async move {
            while let Some(head) = peer.try_head().await {
                seen.borrow_mut().push(head);
                peer.send(&*response).await;
            }
        }
    })
    .await;
    (address, heads)
}

const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// The head of the answer to the request `line`, with more `fields`.
async fn answer(sidecar: &Sidecar, line: &str, fields: &str) -> String {
    let request = format!("{line} HTTP/1.1\r\nHost: app.test:8443\r\n{fields}\r\n");
    sidecar.request(&request).await.head().await
}

#[test]
fn request_fields_are_removed_set_and_added() {
    run(|| async {
        let (address, heads) = recording(EMPTY).await;
        let toml = r#"
            [request_headers]
            remove = ["Cookie", "X-Gone"]
            set = { Authorization = "Bearer x", X-Ip = "{client_ip}", X-Where = "{scheme}://{host}:{port}{path}?{query}", X-Id = "{request_id}", X-Org = "{header.X-Old}", X-None = "{header.X-Absent}" }
            add = { X-Old = "2", X-Empty = "{header.X-Absent}" }
        "#;
        let sidecar = Sidecar::start(address, toml).await;
        let fields = "Cookie: a=b\r\nX-GONE: 1\r\nX-Old: 1\r\nAuthorization: Basic y\r\nX-None: z\r\nX-Request-Id: r1\r\n";
        answer(&sidecar, "GET /a%20b/?q=%C3", fields).await;
        let head = heads.borrow()[0].clone();
        for field in [
            "\r\nAuthorization: Bearer x\r\n",
            "\r\nx-ip: 127.0.0.1\r\n",
            "\r\nx-where: http://app.test:8443/a%20b/?q=%C3\r\n",
            "\r\nx-id: r1\r\n",
            "\r\nx-org: 1\r\n",
            "\r\nX-Old: 1\r\n",
            "\r\nx-old: 2\r\n",
        ] {
            assert!(head.contains(field), "{field} {head}");
        }
        let lower = head.to_ascii_lowercase();
        for gone in ["cookie", "x-gone", "x-none", "x-empty", "basic"] {
            assert!(!lower.contains(gone), "{gone} {head}");
        }
    });
}

#[test]
fn response_fields_are_changed_on_streams_and_on_errors_too() {
    run(|| async {
        let events = [
            EVENTS.as_bytes(),
            &chunk("data: x\n\n"),
            LAST_CHUNK.as_bytes(),
        ]
        .concat();
        let (address, _) = recording(events).await;
        let toml = r#"
            [response_headers]
            remove = ["Server"]
            set = { X-Frame-Options = "DENY", Cache-Control = "public", X-Accel-Buffering = "yes", Content-Type = "text/plain", X-Asked = "{path}" }
            add = { Link = "</a>" }
            [[route]]
            path = "/gone"
            upstream.url = "http://127.0.0.1:1"
            timeouts.connect_retry = "off"
            [[route]]
            path = "/own"
            respond = { status = 418, text = "short" }
        "#;
        let sidecar = Sidecar::start(address, toml).await;
        let accept = "Accept: text/event-stream\r\n";
        let stream = answer(&sidecar, "GET /events", accept).await;
        for field in [
            "x-frame-options: DENY\r\n",
            "x-asked: /events\r\n",
            "link: </a>\r\n",
            "cache-control: public, no-cache, no-transform\r\n",
            "x-accel-buffering: no\r\n",
            "content-type: text/event-stream\r\n",
        ] {
            assert!(
                stream
                    .to_ascii_lowercase()
                    .contains(&field.to_ascii_lowercase()),
                "{field} {stream}"
            );
        }
        for (path, status) in [("/gone", "502"), ("/own", "418")] {
            let head = answer(&sidecar, &format!("GET {path}"), "").await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains("x-frame-options: DENY\r\n"), "{head}");
            assert!(head.contains(&format!("x-asked: {path}\r\n")), "{head}");
        }
        let none = answer(&sidecar, "GET nonsense", "").await;
        assert!(none.starts_with("HTTP/1.1 400 "), "{none}");
    });
}

#[test]
fn a_prefix_is_replaced_and_mapped_back() {
    run(|| async {
        let response = "HTTP/1.1 201 Created\r\nLocation: /v2/new?x\r\nContent-Location: http://backend.test/v2/new\r\nSet-Cookie: a=b; Path=/v2/; Secure\r\nAlt-Svc: h3=\":443\"\r\nContent-Length: 0\r\n\r\n";
        let (address, heads) = recording(response).await;
        let toml = format!(
            r#"
            [[route]]
            path = "/api"
            replace_prefix = "/v2"
            upstream = {{ url = "http://{address}", host = "backend.test" }}
            [[route]]
            path = "/jobs/*/events"
            replace_prefix = "/"
        "#
        );
        let sidecar = Sidecar::start(address, &toml).await;
        for (target, expected) in [
            ("/api/a%2Fb/<x>?q=/api", "/v2/a%2Fb/<x>?q=/api"),
            ("/api", "/v2"),
            ("http://app.test:8443/api/x", "/v2/x"),
            ("/%61pi//x/../y", "/v2/y"),
            ("/jobs/17/events", "/"),
            ("/jobs/17/events/last?x", "/last?x"),
            ("/apis", "/apis"),
        ] {
            let answer = answer(&sidecar, &format!("POST {target}"), "Content-Length: 0\r\n").await;
            let head = heads.borrow_mut().pop().unwrap();
            assert!(
                head.starts_with(&format!("POST {expected} HTTP/1.1\r\n")),
                "{target} {head}"
            );
            assert!(!answer.to_ascii_lowercase().contains("alt-svc"), "{answer}");
            if target.contains("/api/") {
                assert!(head.contains("x-forwarded-prefix: /api\r\n"), "{head}");
                for field in [
                    "Location: /api/new?x\r\n",
                    "Content-Location: http://app.test:8443/api/new\r\n",
                    "Set-Cookie: a=b; Path=/api/; Secure\r\n",
                ] {
                    assert!(answer.contains(field), "{target} {answer}");
                }
            }
        }
        let whole = Connection::to(&sidecar).await;
        let asked = request("GET").uri("http://app.test/api/x?y");
        let answer = whole.get(asked).await.unwrap();
        assert_eq!(answer.head.headers["location"], "/api/new?x");
        let head = heads.borrow_mut().pop().unwrap();
        assert!(head.starts_with("GET /v2/x?y HTTP/1.1\r\n"), "{head}");
    });
}

#[test]
fn clients_are_sent_elsewhere() {
    run(|| async {
        let toml = r#"
            [[route]]
            path = "/secure"
            redirect = { scheme = "https", status = 308 }
            [[route]]
            path = "/docs"
            replace_prefix = "/manual"
            redirect = { host = "docs.test" }
            [[route]]
            path = "/old"
            redirect = { path = "/login?from={path}", status = 303 }
            [[route]]
            path = "/port"
            redirect.port = 9000
            [[route]]
            path = "/kept"
            redirect.status = 301
            [[route]]
            redirect = { path = "/new{path}" }
        "#;
        let config =
            sse_sidecar::config::parse(toml, "f", &sse_sidecar::config::Overrides::default());
        let sidecar = Sidecar::with_config(&config.unwrap().0).await;
        for (target, status, location) in [
            ("/secure/a?b=c", 308, "https://app.test/secure/a?b=c"),
            ("/docs/a%2Fb?c", 302, "http://docs.test/manual/a%2Fb?c"),
            (
                "/old/x?ignored",
                303,
                "http://app.test:8443/login?from=/old/x",
            ),
            ("/port", 302, "http://app.test:9000/port"),
            (
                "//evil.test/x",
                302,
                "http://app.test:8443/new//evil.test/x",
            ),
        ] {
            for method in ["GET", "HEAD"] {
                let head = answer(&sidecar, &format!("{method} {target}"), "").await;
                assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
                assert!(
                    head.contains(&format!("location: {location}\r\n")),
                    "{target} {head}"
                );
                assert!(head.contains("content-length: 0\r\n"), "{head}");
            }
        }
        // Without a host the address is a path, which must not name one either.
        let mut client = sidecar
            .request("GET //evil.test/../kept HTTP/1.0\r\n\r\n")
            .await;
        let head = client.head().await;
        assert!(head.contains("location: /evil.test/../kept\r\n"), "{head}");
        let connection = Connection::to(&sidecar).await;
        let asked = request("GET").uri("http://app.test/secure/x");
        let whole = connection.get(asked).await.unwrap();
        assert_eq!(whole.summary(), (308, String::new(), true));
        assert_eq!(whole.head.headers["location"], "https://app.test/secure/x");
    });
}

#[test]
fn fixed_responses_are_whole_for_every_client() {
    run(|| async {
        let toml = r#"
            [[route]]
            path_exact = "/healthz"
            respond = { text = "ok\n", content_type = "text/x-ok" }
            [[route]]
            path = "/"
            respond.status = 204
        "#;
        let config =
            sse_sidecar::config::parse(toml, "f", &sse_sidecar::config::Overrides::default());
        let sidecar = Sidecar::with_config(&config.unwrap().0).await;
        let mut client = sidecar
            .request("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")
            .await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("content-type: text/x-ok\r\n"), "{head}");
        assert_eq!(client.bytes(3).await, b"ok\n");
        // The connection is kept, also after a body that is not read.
        client
            .send("POST /healthz HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello")
            .await;
        assert!(client.head().await.contains("content-length: 3\r\n"));
        assert_eq!(client.bytes(3).await, b"ok\n");
        client.send("HEAD /healthz HTTP/1.1\r\nHost: t\r\n\r\nGET /healthz/ HTTP/1.1\r\nHost: t\r\n\r\n").await;
        assert!(client.head().await.contains("content-length: 3\r\n"));
        assert!(client.head().await.starts_with("HTTP/1.1 204 "));
        let connection = Connection::to(&sidecar).await;
        let asked = request("GET").uri("http://app.test/healthz");
        let whole = connection.get(asked).await.unwrap();
        assert_eq!(whole.summary(), (200, "ok\n".to_owned(), true));
    });
}

#[test]
fn a_page_of_another_origin_may_read_what_is_allowed() {
    run(|| async {
        let response = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept\r\nContent-Length: 0\r\n\r\n";
        let (address, heads) = recording(response).await;
        let toml = r#"
            [[route]]
            path = "/v1"
            method = "POST"
            cors = { origins = ["https://app.test", "https://*.b.test"], headers = ["X-Tenant"], expose = "X-Total", credentials = true, max_age = "10m" }
            [[route]]
            path = "/gone"
            upstream.url = "http://127.0.0.1:1"
            timeouts.connect_retry = "off"
            cors.origins = "*"
        "#;
        let sidecar = Sidecar::start(address, toml).await;
        let preflight = |origin: &str, method: &str| {
            format!(
                "Origin: {origin}\r\nAccess-Control-Request-Method: {method}\r\nAccess-Control-Request-Headers: x-a\r\n"
            )
        };
        let allowed = answer(
            &sidecar,
            "OPTIONS /v1/x",
            &preflight("https://app.test", "POST"),
        )
        .await;
        for field in [
            "HTTP/1.1 204 ",
            "access-control-allow-origin: https://app.test\r\n",
            "access-control-allow-credentials: true\r\n",
            "access-control-allow-headers: x-tenant, last-event-id\r\n",
            "access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n",
            "access-control-max-age: 600\r\n",
            "vary: Origin\r\n",
        ] {
            assert!(allowed.contains(field), "{field} {allowed}");
        }
        let refused = answer(
            &sidecar,
            "OPTIONS /v1/x",
            &preflight("https://evil.test", "POST"),
        )
        .await;
        assert!(
            refused.starts_with("HTTP/1.1 204 ") && !refused.contains("allow-"),
            "{refused}"
        );
        assert!(heads.borrow().is_empty(), "the backend sees no preflight");
        // A preflight for another method is for another route, whose backend answers it.
        answer(
            &sidecar,
            "OPTIONS /v1/x",
            &preflight("https://app.test", "PUT"),
        )
        .await;
        assert_eq!(heads.borrow().len(), 1);

        let origin = "Origin: https://a.b.test\r\nContent-Length: 0\r\n";
        let read = answer(&sidecar, "POST /v1/x", origin).await;
        for field in [
            "access-control-allow-origin: https://a.b.test\r\n",
            "access-control-expose-headers: x-total\r\n",
            "Vary: Accept\r\n",
            "vary: Origin\r\n",
        ] {
            assert!(
                read.to_ascii_lowercase()
                    .contains(&field.to_ascii_lowercase()),
                "{field} {read}"
            );
        }
        assert_eq!(
            read.to_ascii_lowercase().matches("allow-origin").count(),
            1,
            "{read}"
        );
        let failed = answer(&sidecar, "GET /gone", "Origin: https://x.test\r\n").await;
        assert!(failed.starts_with("HTTP/1.1 502 "), "{failed}");
        assert!(
            failed.contains("access-control-allow-origin: *\r\n"),
            "{failed}"
        );
    });
}

#[test]
fn an_external_backend_learns_nothing_of_the_client() {
    run(|| async {
        let (address, heads) = recording(EMPTY).await;
        let toml = "server.trusted_proxies = ['127.0.0.0/8']\nupstream.forwarded = 'off'\n[[route]]\npath = '/p'\nreplace_prefix = '/'";
        let sidecar = Sidecar::start(address, toml).await;
        let fields = "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Real-Ip: 1.2.3.4\r\nX-Forwarded-Prefix: /x\r\n";
        answer(&sidecar, "GET /", fields).await;
        answer(&sidecar, "GET /p", fields).await;
        for head in &*heads.borrow() {
            let lower = head.to_ascii_lowercase();
            assert!(
                !lower.contains("forwarded") && !lower.contains("x-real"),
                "{head}"
            );
        }
        assert_eq!(heads.borrow().len(), 2);
    });
}
