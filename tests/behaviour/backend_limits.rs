//! How many requests a backend has at once, and who waits meanwhile.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backends::{Backend, Mode, balanced, in_front_of};
use crate::common::{Peer, Sidecar, run};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// So many clients with an open event stream.
async fn streams(sidecar: &Sidecar, count: usize) -> Vec<Peer> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = sidecar.get_events().await;
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
        clients.push(client);
    }
    clients
}

fn queued(sidecar: &Sidecar) -> f64 {
    sidecar.metric("sse_sidecar_upstream_queued")
}

#[test]
fn one_too_many_waits_and_is_told_when_to_retry() {
    run(|| async {
        let backends = Backend::three();
        for backend in &backends {
            backend.set(Mode::Stream);
        }
        let toml = "upstream.max_requests = 2\nupstream.queue_timeout = '3s'";
        let sidecar = in_front_of(&backends, toml).await;
        let open = streams(&sidecar, 6).await;
        for backend in &backends {
            assert_eq!(backend.requests(), 2);
        }
        let begin = Instant::now();
        let head = sidecar.request(GET).await.head().await;
        let took = begin.elapsed().as_millis();
        assert!((3_000..3_100).contains(&took), "{took}");
        assert!(head.starts_with("HTTP/1.1 503"), "{head}");
        assert!(head.to_lowercase().contains("\r\nretry-after: "), "{head}");
        let busy = "sse_sidecar_refused_total{reason=\"upstream_busy\",side=\"proxy\"}";
        assert!((sidecar.metric(busy) - 1.0).abs() < 0.1);
        assert!(queued(&sidecar).abs() < 0.1);
        drop(open);
    });
}

#[test]
fn a_place_that_is_left_goes_to_who_waits_longest() {
    run(|| async {
        let [a, _, _] = Backend::three();
        a.set(Mode::Stream);
        let toml = format!("upstream.url = '{}'\nupstream.max_requests = 1", a.url);
        let sidecar = balanced(&toml).await;
        let mut open = streams(&sidecar, 1).await;
        let mut waiting = Vec::new();
        for _ in 0..5 {
            waiting.push(sidecar.get_events().await);
            sleep(Duration::from_millis(100)).await;
        }
        assert!((queued(&sidecar) - 5.0).abs() < 0.1);
        // A client that leaves loses its own place only.
        drop(waiting.remove(2));
        sleep(Duration::from_millis(100)).await;
        assert!((queued(&sidecar) - 4.0).abs() < 0.1);
        while !waiting.is_empty() {
            let asked = a.requests();
            drop(open.pop());
            let begin = Instant::now();
            let mut next = waiting.remove(0);
            assert!(next.head().await.starts_with("HTTP/1.1 200"));
            assert!(begin.elapsed() < Duration::from_millis(100));
            assert_eq!(a.requests(), asked + 1);
            open.push(next);
        }
    });
}

#[test]
fn the_backend_never_has_more_than_it_may() {
    run(|| async {
        let [a, b, _] = Backend::three();
        let toml = "upstream.max_requests = 3\nupstream.queue_timeout = '60s'";
        let sidecar = in_front_of(&[&a, &b], toml).await;
        a.set(Mode::Slow);
        b.set(Mode::Slow);
        let mut clients = Vec::new();
        for _ in 0..40 {
            clients.push(sidecar.request(GET).await);
        }
        for client in &mut clients {
            assert!(client.head().await.starts_with("HTTP/1.1 200"));
        }
        assert_eq!((a.most_at_once(), b.most_at_once()), (3, 3));
        assert_eq!(a.requests() + b.requests(), 40);
    });
}

#[test]
fn by_a_hash_everybody_waits_for_their_own() {
    run(|| async {
        let [a, b, _] = Backend::three();
        let toml = "upstream.balance = 'hash:header:X-Session'\nupstream.max_requests = 1";
        let sidecar = in_front_of(&[&a, &b], toml).await;
        let ask = |session: usize| {
            format!(
                "GET / HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\nX-Session: {session}\r\n\r\n"
            )
        };
        a.set(Mode::Stream);
        b.set(Mode::Stream);
        let mut session = 0;
        let mut client = sidecar.request(&ask(session)).await;
        client.head().await;
        while a.requests() == 0 {
            drop(client);
            sleep(Duration::from_millis(100)).await;
            session += 1;
            client = sidecar.request(&ask(session)).await;
            client.head().await;
        }
        let before = b.requests();
        let mut waits = sidecar.request(&ask(session)).await;
        sleep(Duration::from_secs(2)).await;
        assert_eq!((a.requests(), b.requests()), (1, before));
        drop(client);
        waits.head().await;
        assert_eq!((a.requests(), b.requests()), (2, before));
    });
}

#[test]
fn one_that_dies_frees_no_other_limit() {
    run(|| async {
        let [a, b, _] = Backend::three();
        let toml = "upstream.max_requests = 1\nupstream.queue_timeout = '2s'";
        let sidecar = in_front_of(&[&a, &b], toml).await;
        a.set(Mode::Stream);
        b.set(Mode::Stream);
        let mut open = streams(&sidecar, 2).await;
        b.stop();
        let ended = {
            let first = open[0].try_chunk();
            tokio::time::timeout(Duration::from_secs(1), first).await
        };
        let _ = ended; // one of the two has ended, whichever it was
        let head = sidecar.request(GET).await.head().await;
        // The other one is still with `a`, and none is at `b`.
        assert!(
            head.starts_with("HTTP/1.1 502") || head.starts_with("HTTP/1.1 503"),
            "{head}"
        );
        assert_eq!(a.most_at_once(), 1);
        b.start();
        sleep(Duration::from_secs(2)).await;
        assert!(
            sidecar
                .request(GET)
                .await
                .head()
                .await
                .starts_with("HTTP/1.1 200")
        );
    });
}
