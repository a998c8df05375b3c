//! The access log: one line for each request, when it is over.

use std::time::Duration;

use http::Request;
use serde_json::Value;
use tokio::time::sleep;

use crate::common::{
    EVENTS, GET_EVENTS, LAST_CHUNK, Sidecar, backend, backend_that_says, chunk, run,
};
use crate::either::{self, Asker, Connection, WAYS};

const JSON: &str = "log.access = 'json'";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// The next line, which is waited for.
async fn line(sidecar: &Sidecar) -> String {
    loop {
        let first = {
            let mut lines = sidecar.access.borrow_mut();
            (!lines.is_empty()).then(|| lines.remove(0))
        };
        if let Some(line) = first {
            let line = line.strip_suffix('\n').expect("a whole line");
            assert!(!line.contains('\n'), "{line}");
            return line.to_owned();
        }
        sleep(Duration::from_millis(1)).await; // the runner's deadline bounds it
    }
}

async fn json(sidecar: &Sidecar) -> Value {
    let line = line(sidecar).await;
    serde_json::from_str(&line).expect(&line)
}

#[test]
fn an_ordinary_request() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            sleep(Duration::from_secs(2)).await;
            peer.send(&OK[..OK.len() - 1]).await;
            sleep(Duration::from_secs(3)).await;
            peer.send("o").await;
            peer.closed().await;
        })
        .await;
        let sidecar = Sidecar::start(backend, JSON).await;
        let request = "GET /a?token=secret HTTP/1.1\r\nHost: Test:80\r\nUser-Agent: curl/8 (\"x\")\r\n\
                       Referer: http://b/\r\nX-Request-Id: mine\r\n\r\n";
        let mut client = sidecar.request(request).await;
        let head = client.head().await;
        assert!(sidecar.access.borrow().is_empty(), "it is not over: {head}");
        client.until("hello").await;
        let line = json(&sidecar).await;
        for (key, expected) in [
            ("log", "access"),
            ("client_ip", "127.0.0.1"),
            ("method", "GET"),
            ("scheme", "http"),
            ("host", "Test"),
            ("path", "/a"),
            ("protocol", "HTTP/1.1"),
            ("upstream", &*format!("http://{backend}")),
            ("route", "any"),
            ("reason", "complete"),
            ("side", "none"),
            ("user_agent", "curl/8 (\"x\")"),
            ("referer", "http://b/"),
            ("request_id", "mine"),
        ] {
            assert_eq!(line[key], expected, "{line}");
        }
        assert_eq!(line["status"], 200);
        assert_eq!(line["bytes"], 5);
        let between = |key: &str, from: u64| {
            let took = line[key].as_u64().unwrap();
            assert!((from..from + 500).contains(&took), "{key} in {line}");
        };
        between("time_to_head_ms", 2000);
        between("duration_ms", 5000);
        for absent in ["events", "heartbeats", "time_to_first_event_ms", "trace_id"] {
            assert!(line.get(absent).is_none(), "{absent} in {line}");
        }
        assert!(!line.to_string().contains("secret"), "{line}");
        let peer = client.stream.local_addr().unwrap().to_string();
        assert_eq!(line["peer"], peer);
    });
}

#[test]
fn event_streams_over_each_http() {
    for (client, upstream) in WAYS {
        run(move || async move {
            let url = either::backend(upstream, |mut teller| async move {
                teller.open_events().await;
                sleep(Duration::from_secs(20)).await; // a heartbeat
                teller.say("data: x\n\n").await;
                teller.end().await;
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, JSON).await;
            let mut asker = Asker::ask(&sidecar, client).await;
            asker.head().await;
            asker.rest().await;
            let line = json(&sidecar).await;
            let protocol = match client {
                either::Http::One => "HTTP/1.1",
                either::Http::Two => "HTTP/2.0",
            };
            assert_eq!(line["protocol"], protocol);
            assert_eq!((&line["status"], &line["events"]), (&200.into(), &1.into()));
            assert_eq!(
                (&line["bytes"], &line["heartbeats"]),
                (&9.into(), &1.into())
            );
            assert_eq!(
                (&line["reason"], &line["path"]),
                (&"complete".into(), &"/events".into())
            );
            assert!(
                line["time_to_first_event_ms"].as_u64() >= Some(20_000),
                "{line}"
            );
        });
    }
}

#[test]
fn clients_that_leave() {
    run(|| async {
        let silent = backend(|mut peer| async move {
            if peer.head().await.starts_with("GET /events") {
                peer.send([EVENTS.as_bytes(), &chunk("data: x\n\n")].concat())
                    .await;
            }
            peer.closed().await;
        })
        .await;
        let sidecar = Sidecar::start(silent, JSON).await;
        let mut client = sidecar.get_events().await;
        client.until("data: x\n\n").await;
        drop(client);
        let gone = json(&sidecar).await;
        assert_eq!(
            (&gone["status"], &gone["reason"]),
            (&200.into(), &"client_gone".into())
        );
        assert_eq!(gone["side"], "client");

        drop(
            sidecar
                .request("GET /never HTTP/1.1\r\nHost: t\r\n\r\n")
                .await,
        );
        let gone = json(&sidecar).await;
        assert_eq!(
            (&gone["status"], &gone["reason"]),
            (&499.into(), &"client_gone".into())
        );
        assert!(gone.get("time_to_head_ms").is_none(), "{gone}");
    });
}

#[test]
fn what_the_sidecar_answers_itself() {
    run(|| async {
        let toml = format!("{JSON}\ntimeouts.connect_retry = 'off'");
        let sidecar = Sidecar::in_front_of("http://127.0.0.1:1", &toml).await;
        for (request, status, reason) in [
            (
                "GET / HTTP/1.1\r\nHost: t\r\n\r\n",
                502,
                "upstream_unreachable",
            ),
            (
                "HEAD / HTTP/1.1\r\nHost: t\r\n\r\n",
                502,
                "upstream_unreachable",
            ),
            (
                "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
                405,
                "method_refused",
            ),
            (
                "GET / HTTP/1.1\r\nHost : t\r\n\r\n",
                400,
                "request_malformed",
            ),
            ("GET / HTTP/1.1\r\nHost", 408, "request_head_timeout"),
        ] {
            let mut client = sidecar.request(request).await;
            let head = client.head().await;
            let length = head.to_lowercase();
            let length = length.split_once("content-length: ").unwrap().1;
            let length: u64 = length.lines().next().unwrap().parse().unwrap();
            let line = json(&sidecar).await;
            assert_eq!(
                (&line["status"], &line["reason"]),
                (&status.into(), &reason.into())
            );
            let sent = if request.starts_with("HEAD") {
                0
            } else {
                length
            };
            assert_eq!(line["bytes"], sent, "{line}");
            assert_eq!(line["client_ip"], "127.0.0.1", "{line}");
        }
        assert!(sidecar.access.borrow().is_empty());
    });
}

#[test]
fn a_request_with_too_many_fields_over_http2() {
    run(|| async {
        let toml = format!("{JSON}\nserver.max_request_headers = 10");
        let sidecar = Sidecar::start(backend_that_says(OK).await, &toml).await;
        let mut request = Request::get("http://test/many");
        for number in 0..20 {
            request = request.header(format!("x-{number}"), "x");
        }
        let whole = Connection::to(&sidecar).await.get(request).await.unwrap();
        let line = json(&sidecar).await;
        assert_eq!(
            (&line["status"], &line["path"]),
            (&431.into(), &"/many".into())
        );
        assert_eq!(line["bytes"], whole.body.len());
        assert_eq!(line["protocol"], "HTTP/2.0");
    });
}

#[test]
fn upgraded_connections_when_they_end() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.send(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nfour",
            )
            .await;
            peer.until("bye").await;
            peer.send("five!").await;
        })
        .await;
        let sidecar = Sidecar::start(backend, JSON).await;
        let request = "GET /x HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        let mut client = sidecar.request(request).await;
        client.until("four").await;
        assert!(sidecar.access.borrow().is_empty());
        client.send("bye").await;
        client.until("five!").await;
        drop(client);
        let line = json(&sidecar).await;
        assert_eq!(
            (&line["status"], &line["reason"]),
            (&101.into(), &"complete".into())
        );
        assert_eq!(line["bytes"], 9);
    });
}

#[test]
fn the_combined_format_and_no_way_to_break_out_of_it() {
    run(|| async {
        let sidecar = Sidecar::start(backend_that_says(OK).await, "log.access = 'combined'").await;
        let request = "GET /a?token=secret HTTP/1.1\r\nHost: t\r\nReferer: \\\" 1 2\r\n\
                       User-Agent: evil\" 200 5 \"\t\u{9b}31m é\r\n\r\n";
        sidecar.request(request).await.until("hello").await;
        let line = line(&sidecar).await;
        let (before, after) = line.split_once('[').unwrap();
        let (time, after) = after.split_once(']').unwrap();
        assert_eq!(before, "127.0.0.1 - - ");
        assert!(time.ends_with(" +0000") && time.len() == 26, "{time}");
        assert_eq!(
            after,
            " \"GET /a HTTP/1.1\" 200 5 \"\\x5c\\x22 1 2\" \
             \"evil\\x22 200 5 \\x22\\x09\\xc2\\x9b31m \\xc3\\xa9\""
        );
    });
}

#[test]
fn a_template_says_what_it_names_and_each_value_ends_where_it_does() {
    run(|| async {
        let toml = "log.access = '{method} {target}|{header.x-tenant}|{status} {duration} {{{header.x}}} \"{header.x} {events}\"'";
        let sidecar = Sidecar::start(backend_that_says(OK).await, toml).await;
        let request =
            "GET /a?b=c|d HTTP/1.1\r\nHost: t\r\nX-Tenant: one|two three\r\nX: }}\"\r\n\r\n";
        sidecar.request(request).await.until("hello").await;
        let line = line(&sidecar).await;
        let (before, after) = line.split_once("200 ").unwrap();
        assert_eq!(before, "GET /a?b=c\\x7cd|one\\x7ctwo\\x20three|");
        let (duration, rest) = after.split_once(' ').unwrap();
        assert!(
            duration.parse::<f64>().is_ok() && duration.contains('.'),
            "{duration}"
        );
        assert_eq!(rest, "{\\x7d\\x7d\\x22} \"}}\\x22 -\"");
    });
}

#[test]
fn the_client_is_the_one_that_a_trusted_proxy_names() {
    run(|| async {
        for (trusted, expected) in [("[]", "127.0.0.1"), ("['127.0.0.0/8']", "192.0.2.7")] {
            let toml = format!(
                "log.access = '{{client_ip}} {{peer}}'\nserver.trusted_proxies = {trusted}"
            );
            let sidecar = Sidecar::start(backend_that_says(OK).await, &toml).await;
            let request =
                "GET / HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n\r\n";
            sidecar.request(request).await.until("hello").await;
            let line = line(&sidecar).await;
            assert!(
                line.starts_with(&format!("{expected} 127.0.0.1:")),
                "{line}"
            );
        }
    });
}

#[test]
fn no_line_unless_it_is_asked_for() {
    run(|| async {
        let says = [
            EVENTS.as_bytes(),
            &chunk("data: x\n\n"),
            LAST_CHUNK.as_bytes(),
        ]
        .concat();
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        sidecar.request(GET_EVENTS).await.until(LAST_CHUNK).await;
        while sse_sidecar::exchange::snapshots(0).1 > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(sidecar.access.borrow().is_empty());
    });
}
