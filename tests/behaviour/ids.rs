//! Requests are known by the same name to the client, the upstream and the log.

use crate::common::{EVENTS, GET_EVENTS, Sidecar, backend, backend_that_says, chunk, moment, run};
use crate::either::{self, Asker, WAYS};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The value of a field in a head, whose names are in lower case.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// What the upstream and the client see of a request with these fields.
async fn seen(fields: &str) -> (String, String) {
    let (asked, mut heard) = moment();
    let backend = backend(move |mut peer| {
        let asked = asked.clone();
        async move {
            asked(peer.head().await.to_lowercase());
            peer.send(EVENTS).await;
        }
    })
    .await;
    let sidecar = Sidecar::start(backend, "").await;
    let request = format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    let answer = sidecar.request(&request).await.head().await;
    (heard.recv().await.unwrap().1, answer.to_lowercase())
}

#[test]
fn a_request_without_an_id_gets_one() {
    run(|| async {
        let (asked, answered) = seen("").await;
        let id = field(&asked, "x-request-id").unwrap();
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(field(&answered, "x-request-id"), Some(id));
        assert_eq!(field(&asked, "traceparent"), None, "nobody has recorded it");
    });
}

#[test]
fn ids_of_the_client_are_passed_on_and_returned() {
    run(|| async {
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-00");
        let fields = format!("X-Request-Id: mine\r\nTraceparent: {parent}\r\nTracestate: a=b\r\n");
        let (asked, answered) = seen(&fields).await;
        assert_eq!(field(&asked, "x-request-id"), Some("mine"));
        assert_eq!(field(&asked, "traceparent"), Some(&*parent));
        assert_eq!(field(&asked, "tracestate"), Some("a=b"));
        assert_eq!(field(&answered, "x-request-id"), Some("mine"));
        assert_eq!(field(&answered, "traceparent"), None);

        let (asked, answered) = seen(&format!("traceparent: {parent}\r\n")).await;
        assert_eq!(field(&asked, "x-request-id"), Some(TRACE));
        assert_eq!(field(&answered, "x-request-id"), Some(TRACE));
    });
}

#[test]
fn ids_that_could_forge_a_log_line_are_replaced() {
    run(|| async {
        for id in ["a b", "a\"},{\"b", &"x".repeat(129)] {
            let fields =
                format!("X-Request-Id: {id}\r\ntraceparent: 00-{id}\r\ntracestate: a=b\r\n");
            let (asked, answered) = seen(&fields).await;
            let told = field(&asked, "x-request-id").unwrap();
            assert!(told != id && told.len() == 32, "{told}");
            assert_eq!(field(&answered, "x-request-id"), Some(told));
            assert_eq!(field(&asked, "traceparent"), None);
            assert_eq!(field(&asked, "tracestate"), None);
        }
        // Nor does one get lost that the client calls a matter of its connection.
        let (asked, _) = seen("Connection: x-request-id\r\nX-Request-Id: mine\r\n").await;
        assert_eq!(field(&asked, "x-request-id"), Some("mine"));
    });
}

#[test]
fn streams_and_errors_are_named_too() {
    for (client, upstream) in WAYS {
        run(move || async move {
            let url = either::backend(upstream, |mut teller| async move {
                assert!(teller.asked().contains("x-request-id"));
                teller.open_events().await;
                teller.end().await;
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let head = Asker::ask(&sidecar, client).await.head().await;
            assert_eq!(field(&head, "x-request-id").unwrap().len(), 32);
        });
    }
    run(|| async {
        let nobody = "http://127.0.0.1:1";
        let sidecar = Sidecar::in_front_of(nobody, "").await;
        let request = GET_EVENTS.replace("Host: ", "X-Request-Id: mine\r\nHost: ");
        let head = sidecar.request(&request).await.head().await;
        assert!(head.contains(" 502 "), "{head}");
        assert_eq!(field(&head, "x-request-id"), Some("mine"));
    });
}

#[test]
fn other_responses_pass_untouched() {
    run(|| async {
        let says = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        assert_eq!(sidecar.get_events().await.head().await, says);
    });
}

#[test]
fn the_upstreams_name_of_a_response_stays() {
    run(|| async {
        let named = EVENTS.replace("\r\n\r\n", "\r\nX-Request-Id: req_011CS\r\n\r\n");
        let says = [named.as_bytes(), &chunk("data: x\n\n")].concat();
        let sidecar = Sidecar::start(backend_that_says(says).await, "").await;
        let head = sidecar.get_events().await.head().await;
        assert_eq!(head.to_lowercase().matches("x-request-id").count(), 1);
        assert!(head.contains("req_011CS"), "{head}");
    });
}
