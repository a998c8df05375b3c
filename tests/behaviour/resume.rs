//! A client that loses its connection and comes back with the id that it was given gets what it has missed, once, and then what comes.

use std::time::Duration;

use sse_sidecar::sse::parse::parse;
use tokio::time::{Instant, sleep, timeout};

use crate::common::{EVENTS, LAST_CHUNK, Peer, Sidecar, chunk, run};
use crate::kept::{Backends, GRACE, event, get, id_of, post};

#[test]
fn whoever_comes_back_gets_the_rest_once() {
    for (request, began) in [(get as fn(&str) -> String, 'g'), (post, 'p')] {
        run(move || async move {
            let mut backends = Backends::start().await;
            let sidecar = Sidecar::start(backends.address, GRACE).await;
            let mut client = sidecar.request(&request("")).await;
            let mut backend = backends.next().await;
            backend.send(EVENTS).await;
            let head = client.head().await;
            let token = head.split("sse-sidecar-stream: ").nth(1).unwrap();
            let token = &token[..18];
            assert!(token.starts_with(&format!("_{began}")), "{head}");
            let mut seen = String::new();
            for number in 1..=3 {
                backend.send(chunk(event(number))).await;
                seen += &client.chunk().await;
            }
            let last = id_of(&seen);
            assert_eq!(last, format!("{token}.3"));
            client.reset();
            sleep(Duration::from_secs(2)).await;
            for number in 4..=6 {
                backend.send(chunk(event(number))).await;
            }
            sleep(Duration::from_millis(10)).await;

            let mut client = sidecar.request(&request(&last)).await;
            let head = client.head().await;
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(head.contains("sse-sidecar-resumed: 3\r\n"), "{head}");
            assert!(head.contains("no-store"), "{head}");
            let mut rest = client.chunk().await;
            backend.send(chunk(event(7))).await;
            rest += &client.chunk().await;
            backend.send(LAST_CHUNK).await;
            assert_eq!(client.chunk().await, "");
            let events = parse(rest.as_bytes());
            let data: Vec<_> = events.iter().map(|event| &*event.data).collect();
            assert_eq!(data, ["4", "5", "6", "7"]);
            assert_eq!(events[3].id, format!("{token}.7"));
            assert!(backends.no_more(), "one request");
            let replayed = sidecar.metric("sse_sidecar_resumes_total{result=\"replayed\"}");
            assert!((replayed - 1.0).abs() < 0.1);
            assert!((sidecar.metric("sse_sidecar_replayed_events_total") - 3.0).abs() < 0.1);
            assert!((sidecar.metric("sse_sidecar_detached_events_total") - 3.0).abs() < 0.1);
            assert!(sidecar.metric("sse_sidecar_streams_detached").abs() < 0.1);
        });
    }
}

#[test]
fn nobody_comes_back() {
    run(|| async {
        let mut backends = Backends::start().await;
        let sidecar = Sidecar::start(backends.address, "resume.grace = \"2s\"").await;
        let mut client = sidecar.request(&get("")).await;
        let mut backend = backends.next().await;
        backend
            .send([EVENTS.as_bytes(), &chunk(event(1))].concat())
            .await;
        client.head().await;
        let id = id_of(&client.chunk().await);
        let left = Instant::now();
        drop(client);
        sleep(Duration::from_millis(10)).await;
        assert!((sidecar.metric("sse_sidecar_streams_detached") - 1.0).abs() < 0.1);
        backend.closed().await;
        let waited = left.elapsed();
        assert!((2000..2100).contains(&waited.as_millis()), "{waited:?}");
        assert!(sidecar.metric("sse_sidecar_streams_detached").abs() < 0.1);

        // What there was of it is still there, and shows that something is missing.
        let mut late = sidecar.request(&get(&id.replace(".1", ".0"))).await;
        late.head().await;
        assert_eq!(id_of(&late.chunk().await), id);
        assert_eq!(late.try_chunk().await, None, "cut");
    });
}

#[test]
fn a_client_that_cannot_come_back_cancels_at_once() {
    run(|| async {
        // An id that the client has, one that it has not got yet, and clients that get none.
        for (accept, sends_event, may_return) in [
            ("text/event-stream", true, true),
            ("text/event-stream", false, false),
            ("application/json", true, false),
            ("*/*", true, false),
        ] {
            let mut backends = Backends::start().await;
            let sidecar = Sidecar::start(backends.address, "resume.grace = \"2s\"").await;
            let request = get("").replace("text/event-stream", accept);
            let mut client = sidecar.request(&request).await;
            let mut backend = backends.next().await;
            backend.send(EVENTS).await;
            client.head().await;
            if sends_event {
                backend.send(chunk(event(1))).await;
                let chunk = client.chunk().await;
                assert_eq!(chunk.contains("id: _g"), may_return, "{accept}");
            }
            let left = Instant::now();
            drop(client);
            backend.closed().await;
            let waited = left.elapsed() >= Duration::from_secs(2);
            assert_eq!(
                waited,
                may_return,
                "{accept} {sends_event}: {:?}",
                left.elapsed()
            );
            assert!(
                waited || left.elapsed() < Duration::from_millis(5),
                "{accept}"
            );
        }
    });
}

#[test]
fn the_newest_connection_wins() {
    run(|| async {
        let mut backends = Backends::start().await;
        let sidecar = Sidecar::start(backends.address, GRACE).await;
        let mut first = sidecar.request(&get("")).await;
        let mut backend = backends.next().await;
        backend
            .send([EVENTS.as_bytes(), &chunk(event(1))].concat())
            .await;
        first.head().await;
        let id = id_of(&first.chunk().await);
        let mut second = sidecar.request(&get(&id)).await;
        second.head().await;
        assert_eq!(first.try_chunk().await, None, "it is cut");
        assert!((sidecar.ends("superseded", "client") - 1.0).abs() < 0.1);
        backend.send(chunk(event(2))).await;
        assert!(second.chunk().await.contains("data: 2\n"));
        drop(second);
        sleep(Duration::from_millis(10)).await;
        let mut third = sidecar.request(&get(&id)).await;
        third.head().await;
        assert!(third.chunk().await.contains("data: 2\n"), "once more");
        backend.send(LAST_CHUNK).await;
        assert_eq!(third.chunk().await, "");
    });
}

#[test]
fn a_client_that_takes_nothing_does_not_hold_up_its_successor() {
    run(|| async {
        let mut backends = Backends::start().await;
        let toml =
            "resume.grace = \"30s\"\nresume.history = \"16MiB\"\n[timeouts]\nwrite = \"off\"";
        let sidecar = Sidecar::start(backends.address, toml).await;
        let mut first = sidecar.request(&get("")).await;
        let mut backend = backends.next().await;
        backend
            .send([EVENTS.as_bytes(), &chunk(event(1))].concat())
            .await;
        first.head().await;
        let id = id_of(&first.chunk().await);
        let long = format!("data: {}\n\n", "x".repeat(8 * 1024 * 1024));
        // It takes nothing, and the upstream is read all the same: by itself it would never be rid of so much.
        timeout(Duration::from_secs(30), backend.send(chunk(&long)))
            .await
            .unwrap();
        let mut second = sidecar.request(&get(&id)).await;
        second.head().await;
        let mut seen = String::new();
        while seen.len() < long.len() {
            seen += &second.chunk().await;
        }
        assert_eq!(parse(seen.as_bytes()).len(), 1);
        let (rest, _) = first.rest().await;
        assert!(rest.len() < long.len(), "what waited for it is gone");
        backend.send(LAST_CHUNK).await;
        assert_eq!(second.chunk().await, "");
    });
}

#[test]
fn a_cursor_in_the_query_is_one_too_and_neither_reaches_the_backend() {
    run(|| async {
        let mut backends = Backends::start().await;
        let sidecar = Sidecar::start(backends.address, GRACE).await;
        let mut client = sidecar.request(&get("")).await;
        let mut backend = backends.next().await;
        backend
            .send([EVENTS.as_bytes(), &chunk(event(1)), &chunk(event(2))].concat())
            .await;
        client.head().await;
        let mut seen = client.chunk().await;
        while !seen.contains("data: 2\n") {
            seen += &client.chunk().await;
        }
        let id = id_of(&seen).replace(".2", ".1");
        drop(client);
        for name in ["lastEventId", "last_event_id"] {
            let target = format!("/events?a=1&{name}={id}");
            let mut client = sidecar.request(&get("").replace("/events", &target)).await;
            client.head().await;
            assert!(client.chunk().await.starts_with("data: 2\n"), "{name}");
        }
        // A cursor of a stream that nobody knows: the backend gets a request without it.
        let unknown = "_gAAAAAAAAAAAAAAAA.5";
        for (target, field) in [
            (format!("/events?a=1&lastEventId={unknown}"), ""),
            ("/events?a=1".to_owned(), unknown),
        ] {
            let mut client = sidecar
                .request(&get(field).replace("/events", &target))
                .await;
            let mut backend = backends.next_head().await;
            assert!(
                backend.0.starts_with("GET /events?a=1 HTTP/1.1\r\n"),
                "{}",
                backend.0
            );
            assert!(
                !backend.0.to_lowercase().contains("last-event-id"),
                "{}",
                backend.0
            );
            backend
                .1
                .send([EVENTS.as_bytes(), LAST_CHUNK.as_bytes()].concat())
                .await;
            let head = client.head().await;
            assert!(head.contains("sse-sidecar-resumed: none\r\n"), "{head}");
            assert_eq!(client.chunk().await, "");
        }
        backend.send(LAST_CHUNK).await;
    });
}

#[test]
fn compressed_streams_are_kept_decoded() {
    run(|| async {
        use std::io::Write;
        let mut backends = Backends::start().await;
        let sidecar = Sidecar::start(backends.address, GRACE).await;
        let mut client = sidecar.request(&get("")).await;
        let mut backend = backends.next().await;
        let head = EVENTS.replace("\r\n\r\n", "\r\nContent-Encoding: gzip\r\n\r\n");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(event(1).as_bytes()).unwrap();
        gzip.flush().unwrap();
        let sent = gzip.get_ref().len();
        backend
            .send([head.as_bytes(), &chunk(gzip.get_ref())].concat())
            .await;
        client.head().await;
        let id = id_of(&client.chunk().await);
        drop(client);
        sleep(Duration::from_millis(10)).await;
        gzip.write_all(event(2).as_bytes()).unwrap();
        let rest = gzip.finish().unwrap().split_off(sent);
        backend
            .send([chunk(rest), LAST_CHUNK.into()].concat())
            .await;
        let mut client = sidecar.request(&get(&id)).await;
        let head = client.head().await;
        assert!(!head.contains("gzip"), "{head}");
        assert!(client.chunk().await.starts_with("data: 2\n"));
        assert_eq!(client.chunk().await, "");
        drop::<Peer>(client);
    });
}
