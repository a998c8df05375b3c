//! What kept streams may take, and who has to make room.

use std::time::Duration;

use tokio::time::sleep;

use crate::common::{EVENTS, LAST_CHUNK, Peer, Sidecar, chunk, run};
use crate::kept::{Backends, event, get, id_of, with};

/// A client with a stream of which it has seen one event, which is so long; and its last id.
async fn begun(
    sidecar: &Sidecar,
    backends: &mut Backends,
    who: &str,
    length: usize,
) -> (Peer, Peer, String) {
    let shown = format!("Cookie: sid={who}");
    let mut client = sidecar.request(&with(&get(""), &shown)).await;
    let mut backend = backends.next().await;
    let event = format!("data: 1{}\n\n", "x".repeat(length));
    backend
        .send([EVENTS.as_bytes(), &chunk(event)].concat())
        .await;
    client.head().await;
    let mut seen = String::new();
    while !seen.ends_with("\n\n") {
        seen += &client.chunk().await;
    }
    let id = if seen.contains("id: ") {
        id_of(&seen)
    } else {
        String::new()
    };
    (client, backend, id)
}

#[test]
fn histories_stay_within_their_memory_and_the_oldest_that_ended_go_first() {
    run(|| async {
        let toml = "resume.grace = \"30s\"\n[history]\nmemory = \"256KiB\"";
        let mut backends = Backends::start().await;
        let sidecar = Sidecar::start(backends.address, toml).await;
        let mut ids = Vec::new();
        for who in 0..10 {
            let (mut client, mut backend, id) =
                begun(&sidecar, &mut backends, &who.to_string(), 60_000).await;
            backend.send(LAST_CHUNK).await;
            assert_eq!(client.chunk().await, "");
            ids.push(id);
            let bytes = sidecar.metric("sse_sidecar_history_bytes");
            assert!(bytes < 400_000.0, "{bytes}"); // and one read
        }
        let evicted = sidecar.metric("sse_sidecar_history_evictions_total{why=\"memory\"}");
        assert!(evicted >= 5.0, "{evicted}");
        for (who, is_there) in [(0, false), (9, true)] {
            let id = ids[who].replace(".1", ".0");
            let mut client = sidecar
                .request(&with(&get(&id), &format!("Cookie: sid={who}")))
                .await;
            sleep(Duration::from_millis(10)).await;
            assert_eq!(backends.no_more(), is_there, "{who}");
            if is_there {
                client.head().await;
                assert!(client.chunk().await.starts_with("data: 1x"));
            }
        }
    });
}

#[test]
fn what_is_promised_is_kept_and_streams_beyond_that_get_no_history() {
    run(|| async {
        let toml = "resume.grace = \"30s\"\n[history]\nmemory = \"64KiB\"";
        let mut backends = Backends::start().await;
        let sidecar = Sidecar::start(backends.address, toml).await;
        let (first, mut backend, id) = begun(&sidecar, &mut backends, "1", 70_000).await;
        // All the memory is taken by a stream whose client is there: the next one passes as ever.
        let (second, mut other, none) = begun(&sidecar, &mut backends, "2", 10).await;
        assert_eq!(none, "", "no ids");
        assert!((sidecar.metric("sse_sidecar_history_refused_total") - 1.0).abs() < 0.1);
        drop(second);
        other.closed().await;
        drop(first);
        sleep(Duration::from_millis(10)).await;
        // A stream that waits for its client for less than half its time stays.
        let (third, mut other, none) = begun(&sidecar, &mut backends, "3", 10).await;
        assert_eq!(none, "");
        drop(third);
        other.closed().await;
        let mut client = sidecar.request(&with(&get(&id), "Cookie: sid=1")).await;
        client.head().await;
        backend.send(chunk(event(2))).await;
        assert!(client.chunk().await.contains("data: 2\n"));
        drop(client);
        // After that it makes room, and its upstream is cancelled.
        sleep(Duration::from_secs(16)).await;
        let (mut fourth, mut fourth_backend, id) = begun(&sidecar, &mut backends, "4", 10).await;
        assert_ne!(id, "");
        backend.closed().await;
        fourth_backend.send(LAST_CHUNK).await;
        assert_eq!(fourth.chunk().await, "");
    });
}

#[test]
fn one_identity_has_a_tenth_of_all_streams() {
    run(|| async {
        let toml = "resume.grace = \"30s\"\n[history]\nstreams = 20";
        let mut backends = Backends::start().await;
        let sidecar = Sidecar::start(backends.address, toml).await;
        let mut open = Vec::new();
        for (who, has_history) in [("1", true), ("1", true), ("1", false), ("2", true)] {
            let (client, backend, id) = begun(&sidecar, &mut backends, who, 10).await;
            assert_eq!(!id.is_empty(), has_history, "{who}");
            open.push((client, backend));
        }
        for (client, backend) in &mut open {
            backend.send(LAST_CHUNK).await;
            assert_eq!(client.chunk().await, "");
        }
    });
}

#[test]
fn an_event_longer_than_the_history_passes_and_its_cursor_is_good() {
    run(|| async {
        let toml = "resume.grace = \"30s\"\nresume.history = \"64KiB\"";
        let mut backends = Backends::start().await;
        let sidecar = Sidecar::start(backends.address, toml).await;
        let (mut client, mut backend, first) = begun(&sidecar, &mut backends, "1", 10).await;
        let long = format!("data: {}\n\n", "y".repeat(1024 * 1024));
        let mut seen = String::new();
        for part in long.as_bytes().chunks(30_000) {
            backend.send(chunk(part)).await;
            seen += &client.chunk().await;
            let bytes = sidecar.metric("sse_sidecar_history_bytes");
            assert!(bytes < 64.0 * 1024.0 + 40_000.0, "{bytes}");
        }
        while !seen.ends_with("\n\n") {
            seen += &client.chunk().await;
        }
        let second = id_of(&seen);
        assert!(seen.len() > long.len());
        drop(client);
        backend.send(chunk(event(3))).await;
        sleep(Duration::from_millis(10)).await;
        let mut client = sidecar.request(&with(&get(&second), "Cookie: sid=1")).await;
        client.head().await;
        assert!(client.chunk().await.starts_with("data: 3\n"));
        let _gap = sidecar.request(&with(&get(&first), "Cookie: sid=1")).await;
        backends.next().await; // it begins anew
        backend.send(LAST_CHUNK).await;
        assert_eq!(client.chunk().await, "");
    });
}
