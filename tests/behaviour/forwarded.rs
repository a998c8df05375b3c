//! What a client says about itself reaches the backend only from those who may say it.

use sse_sidecar::exchange::snapshots;

use crate::common::{Sidecar, backend, run, unanswering};
use crate::either::{Connection, request};

/// Fields that could pass a client off as another one.
const FORGED: &str = "Forwarded: for=10.0.0.9;proto=https\r\n\
    X-Forwarded-For: 10.0.0.9\r\n\
    X-Forwarded-Proto: https\r\n\
    X-Forwarded-Port: 443\r\n\
    X-Real-IP: 10.0.0.9\r\n\
    X_Forwarded_For: 10.0.0.9\r\n\
    X_REAL_IP: 10.0.0.9\r\n\
    X-Forwarded-Client-Cert: Subject=\"CN=admin\"\r\n\
    X-Forwarded-Prefix: /admin\r\n\
    X-Forwarded-Ssl: on\r\n\
    X-Forwarded-Server: 10.0.0.9\r\n\
    X-SSL-Client-Verify: SUCCESS\r\n";

/// The request's fields as the backend gets them, sorted.
async fn seen_with(toml: &str, fields: &str) -> Vec<String> {
    let backend = backend(|mut peer| async move {
        let head = peer.head().await;
        let length = head.len();
        let head_of_answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        peer.send(head_of_answer + &head).await;
        peer.closed().await;
    })
    .await;
    let sidecar = Sidecar::start(backend, toml).await;
    let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Request-Id: 1\r\n{fields}\r\n");
    let mut client = sidecar.request(&request).await;
    client.head().await;
    let seen = client.head().await;
    let mut seen: Vec<String> = seen
        .trim_end()
        .split("\r\n")
        .skip(1)
        .map(str::to_lowercase)
        .collect();
    seen.sort();
    seen
}

#[test]
fn nothing_that_a_stranger_says_about_itself_reaches_the_backend() {
    run(|| async {
        let expected = [
            "forwarded: for=127.0.0.1;host=\"a.example\";proto=http",
            "host: a.example",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: a.example",
            "x-forwarded-port: 80",
            "x-forwarded-proto: http",
            "x-real-ip: 127.0.0.1",
            "x-request-id: 1",
        ];
        for toml in ["", "[server]\ntrusted_proxies = [\"10.0.0.0/8\"]"] {
            assert_eq!(seen_with(toml, FORGED).await, expected);
        }
    });
}

#[test]
fn a_trusted_proxy_says_it_and_all_fields_agree() {
    run(|| async {
        // A network of IPv4-mapped addresses is the IPv4 network.
        let toml = "[server]\ntrusted_proxies = [\"::ffff:127.0.0.0/104\"]";
        let said = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /app\r\n\
            Forwarded: for=10.0.0.9;proto=http\r\n";
        assert_eq!(
            seen_with(toml, said).await,
            [
                "forwarded: for=192.0.2.7, for=127.0.0.1;host=\"a.example\";proto=https",
                "host: a.example",
                "x-forwarded-for: 192.0.2.7, 127.0.0.1",
                "x-forwarded-host: a.example",
                "x-forwarded-port: 443",
                "x-forwarded-prefix: /app",
                "x-forwarded-proto: https",
                "x-real-ip: 192.0.2.7",
                "x-request-id: 1",
            ]
        );
    });
}

#[test]
fn what_is_logged_and_shown_is_the_client_and_not_the_proxy_in_front() {
    run(|| async {
        let toml = "[server]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]";
        for (said, expected) in [
            ("6.6.6.6, 192.0.2.7, 10.0.0.9", "192.0.2.7"),
            ("192.0.2.7, unknown", "unknown"),
            ("", "127.0.0.1"),
        ] {
            let (backend, _socket) = unanswering();
            let sidecar = Sidecar::start(backend, toml).await;
            let fields = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {said}\r\n\r\n");
            let client = sidecar.request(&fields).await;
            let http2 = Connection::to(&sidecar).await;
            let asked = http2.get(request("GET").header("x-forwarded-for", said));
            let mut asked = Box::pin(asked);
            let shown = async {
                while snapshots(0).1 < 2 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                _ = &mut asked => unreachable!("nobody answers"),
                () = shown => {}
            }
            for open in snapshots(2).0 {
                assert_eq!(
                    open.client.to_string(),
                    expected,
                    "{said:?} {:?}",
                    open.version
                );
            }
            drop(asked);
            drop((client, http2));
            while snapshots(0).1 > 0 {
                tokio::task::yield_now().await;
            }
        }
    });
}
