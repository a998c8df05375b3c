//! A load balancer that announces its client before the client's first byte.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::common::{Closed, Sidecar, backend, run};

const LISTENER: &str = "[[listener]]\nproxy_protocol = true\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
const LINE: &str = "PROXY TCP4 192.0.2.60 192.0.2.1 56324 443\r\n";

/// A binary header with its version and command, its family, and what follows these.
fn binary(version_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    let start = &b"\r\n\r\n\0\r\nQUIT\n"[..];
    [start, &[version_command, family], &length, block].concat()
}

fn ipv4() -> Vec<u8> {
    binary(0x21, 0x11, &[192, 0, 2, 60, 192, 0, 2, 1, 0xDC, 4, 1, 0xBB])
}

fn ipv6() -> Vec<u8> {
    let source = [0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    let extension = [4, 0, 2, 0, 0];
    binary(
        0x21,
        0x21,
        &[&source[..], &[0; 16], &[0xDC, 4, 1, 0xBB], &extension].concat(),
    )
}

/// A backend that echoes the forwarded headers of each request.
async fn told() -> SocketAddr {
    backend(|mut peer| async move {
        loop {
            let head = peer.head().await.to_lowercase();
            let of = |name: &str| {
                let line = head.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or("nothing").to_owned()
            };
            let body = format!("{}|{}", of("x-forwarded-for: "), of("forwarded: "));
            let length = body.len();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await;
        }
    })
    .await
}

#[test]
fn the_upstream_learns_of_the_client_that_the_header_names() {
    let named = "192.0.2.60|for=192.0.2.60;host=\"t\";proto=http";
    let own = "127.0.0.1|for=127.0.0.1;host=\"t\";proto=http";
    for (header, says) in [
        (LINE.into(), named),
        (ipv4(), named),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n".into(),
            "2001:db8::7|for=\"[2001:db8::7]\";host=\"t\";proto=http",
        ),
        (
            ipv6(),
            "2001:db8::7|for=\"[2001:db8::7]\";host=\"t\";proto=http",
        ),
        (b"PROXY TCP6 ::ffff:192.0.2.60 ::1 1 2\r\n".into(), named),
        (b"PROXY UNKNOWN\r\n".into(), own),
        (binary(0x20, 0x00, &[]), own),
        (binary(0x21, 0x00, &[]), own),
        (binary(0x21, 0x31, &[0; 216]), own),
    ] {
        run(move || async move {
            let sidecar = Sidecar::start(told().await, LISTENER).await;
            // In one segment, and byte by byte.
            let whole = [&header, GET.as_bytes()].concat();
            let mut client = sidecar.connect().await;
            client.send(&whole).await;
            client.until(&format!("\r\n\r\n{says}")).await;
            let mut client = sidecar.connect().await;
            for byte in whole {
                client.send([byte]).await;
                sleep(Duration::from_millis(1)).await;
            }
            client.until(&format!("\r\n\r\n{says}")).await;
        });
    }
}

#[test]
fn it_holds_for_every_request_of_the_connection() {
    run(|| async {
        let sidecar = Sidecar::start(told().await, LISTENER).await;
        let mut client = sidecar
            .request(
                &[
                    LINE,
                    &GET.repeat(3),
                    &GET.replace("\r\n\r\n", "\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"),
                ]
                .concat(),
            )
            .await;
        for _ in 0..4 {
            client.until("\r\n\r\n192.0.2.60|for=192.0.2.60;").await;
        }
    });
}

#[test]
fn it_is_the_named_client_that_is_a_trusted_proxy_or_not() {
    for (network, says) in [
        ("192.0.2.0/24", "\r\n\r\n10.0.0.1, 192.0.2.60|"),
        ("127.0.0.0/8", "\r\n\r\n192.0.2.60|"),
    ] {
        run(move || async move {
            let toml = format!("{LISTENER}[server]\ntrusted_proxies = [\"{network}\"]\n");
            let sidecar = Sidecar::start(told().await, &toml).await;
            let request = "GET / HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n";
            let mut client = sidecar.request(&[LINE, request].concat()).await;
            client.until(says).await;
        });
    }
}

#[test]
fn a_connection_without_a_valid_header_is_closed() {
    for start in [
        GET.as_bytes().to_vec(),
        LINE.replace("PROXY", "PROX").into(),
        LINE.replace("192.0.2.60", "192.0.2.600").into(),
        b"PROXY TCP4 192.0.2.60".repeat(10),
        binary(0x11, 0x11, &[0; 12]),
        binary(0x21, 0x51, &[0; 12]),
        binary(0x21, 0x11, &[0; 5000]),
        b"\x16\x03\x01\x02\0\x01\0".to_vec(),
    ] {
        run(move || async move {
            let sidecar = Sidecar::start(told().await, LISTENER).await;
            let mut client = sidecar.connect().await;
            client.send([&start, GET.as_bytes()].concat()).await;
            let (answer, _) = client.rest().await;
            assert!(answer.is_empty(), "{:?}", answer.escape_ascii().to_string());
            assert!((refused(&sidecar, "proxy_header_invalid") - 1.0).abs() < 0.1);
            // It costs no other client anything.
            let mut client = sidecar.request(&[LINE, GET].concat()).await;
            client.until("192.0.2.60|").await;
        });
    }
}

#[test]
fn a_silent_client_times_out() {
    for start in ["", "PROXY TCP4 192."] {
        run(move || async move {
            let sidecar = Sidecar::start(told().await, LISTENER).await;
            let began = Instant::now();
            let mut client = sidecar.request(start).await;
            assert_eq!(client.rest().await, (Vec::new(), Closed::Fin));
            assert_eq!(began.elapsed().as_secs(), 10);
            assert!((refused(&sidecar, "request_head_timeout") - 1.0).abs() < 0.1);
        });
    }
}

#[test]
fn a_look_whether_the_port_is_open_is_no_mistake() {
    run(|| async {
        let sidecar = Sidecar::start(told().await, LISTENER).await;
        drop(sidecar.connect().await);
        drop(sidecar.request("PROXY TCP4").await);
        sleep(Duration::from_secs(1)).await;
        assert!((refused(&sidecar, "proxy_header_invalid") - 1.0).abs() < 0.1);
    });
}

#[test]
fn without_the_setting_a_header_is_no_request() {
    for header in [LINE.into(), ipv4()] {
        run(move || async move {
            let sidecar = Sidecar::start(told().await, "").await;
            let mut client = sidecar.connect().await;
            client.send([&header, GET.as_bytes()].concat()).await;
            assert!(client.head().await.starts_with("HTTP/1.1 400 "));
        });
    }
}

fn refused(sidecar: &Sidecar, reason: &str) -> f64 {
    let side = "client";
    sidecar.metric(&format!(
        "sse_sidecar_refused_total{{reason=\"{reason}\",side=\"{side}\"}}"
    ))
}
