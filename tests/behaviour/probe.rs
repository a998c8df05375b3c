//! The probe responds to requests with its token, and no other request shows that it exists.

use std::time::Duration;

use tokio::time::Instant;

use crate::common::{Sidecar, backend_that_says, run};

const PROBE: &str = "probe.token = \"0123456789abcdef\"";
const PATH: &str = "/.well-known/sse-sidecar/probe";
const PLAN: &str = "key=a&plan=1000q.500e2.250c.250z";

fn ask(path: &str, token: &str) -> String {
    format!("GET {path}?{PLAN} HTTP/1.1\r\nHost: test\r\nsse-sidecar-probe: {token}\r\n\r\n")
}

async fn sidecar(toml: &str) -> Sidecar {
    let backend = backend_that_says("HTTP/1.1 404 Nobody\r\nContent-Length: 0\r\n\r\n").await;
    Sidecar::start(backend, toml).await
}

#[test]
fn the_token_gets_a_stream_that_no_one_else_sees() {
    run(|| async {
        let sidecar = sidecar(PROBE).await;
        let start = Instant::now();
        let mut client = sidecar.request(&ask(PATH, "0123456789abcdef")).await;
        let head = client.head().await.to_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        for field in [
            "content-type: text/event-stream",
            "cache-control: no-cache, no-transform",
            "x-accel-buffering: no",
        ] {
            assert!(head.contains(&format!("\r\n{field}\r\n")), "{head}");
        }
        assert!(
            start.elapsed() < Duration::from_millis(900),
            "the head comes at once"
        );
        assert!(client.chunk().await.starts_with("event: request\ndata: {"));
        assert_eq!(client.chunk().await, "data: 0001 0001500000 xx\n\n");
        assert_eq!(client.chunk().await, ": 0002 0001750000 comment\n\n");
        assert_eq!(client.chunk().await, "");
        assert!(start.elapsed() >= Duration::from_secs(2));
        // It is neither counted nor logged: both are made of exchanges.
        let counted = sidecar.metric("sse_sidecar_streams_total");
        assert!(counted < 0.1, "{counted}");
        assert!(sidecar.metric("sse_sidecar_requests_total") < 0.1);
    });
}

#[test]
fn anybody_else_gets_what_there_is_without_it() {
    run(|| async {
        for (toml, path, token) in [
            ("", PATH, "0123456789abcdef"),
            (PROBE, PATH, "0123456789abcdeF"),
            (PROBE, PATH, ""),
            (PROBE, "/other", "0123456789abcdef"),
        ] {
            let sidecar = sidecar(toml).await;
            let head = sidecar.request(&ask(path, token)).await.head().await;
            assert!(
                head.starts_with("HTTP/1.1 404 Nobody\r\n"),
                "{toml} {path} {token}: {head}"
            );
        }
        let own = format!("{PROBE}\nprobe.path = \"/other\"");
        let sidecar = sidecar(&own).await;
        let other = ask("//x/../other", "0123456789abcdef");
        let head = sidecar.request(&other).await.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    });
}

#[test]
fn one_at_a_time_until_its_client_has_left() {
    run(|| async {
        let sidecar = sidecar(PROBE).await;
        let request = ask(PATH, "0123456789abcdef");
        let mut first = sidecar.request(&request).await;
        first.head().await;
        let mut second = sidecar.request(&request).await;
        assert!(second.head().await.starts_with("HTTP/1.1 429 "));
        drop(first);
        let told = "GET /.well-known/sse-sidecar/probe?key=a HTTP/1.1\r\nHost: test\r\nsse-sidecar-probe: 0123456789abcdef\r\n\r\n";
        let mut asker = sidecar.request(told).await;
        asker.head().await;
        assert!(asker.until("}").await.contains("\"state\":\"left\""));
        let mut third = sidecar.request(&request).await;
        assert!(third.head().await.starts_with("HTTP/1.1 200 "));
    });
}
