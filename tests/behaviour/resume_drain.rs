//! Streams without a client when the process ends: they count as open, and follow `drain.streams`.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::common::{EVENTS, LAST_CHUNK, Peer, Sidecar, chunk, run};
use crate::kept::{Backends, event, get};

async fn detached(toml: &str) -> (Sidecar, Peer) {
    let mut backends = Backends::start().await;
    let sidecar =
        Sidecar::start(backends.address, &format!("resume.grace = \"30s\"\n{toml}")).await;
    let mut client = sidecar.request(&get("")).await;
    let mut backend = backends.next().await;
    backend
        .send([EVENTS.as_bytes(), &chunk(event(1))].concat())
        .await;
    client.head().await;
    client.chunk().await;
    drop(client);
    sleep(Duration::from_millis(10)).await;
    (sidecar, backend)
}

#[test]
fn one_that_finishes_is_read_to_its_end() {
    run(|| async {
        let (sidecar, mut backend) = detached("").await;
        sidecar.drain(Duration::from_secs(30));
        sleep(Duration::from_secs(5)).await;
        backend
            .send([chunk(event(2)), LAST_CHUNK.into()].concat())
            .await;
        sleep(Duration::from_millis(10)).await;
        assert!(sidecar.metric("sse_sidecar_streams_detached").abs() < 0.1);
        let complete = sidecar.metric("sse_sidecar_detached_events_total");
        assert!((complete - 1.0).abs() < 0.1);
    });
}

#[test]
fn one_that_rotates_ends_with_the_drains_beginning() {
    run(|| async {
        let (sidecar, mut backend) = detached("drain.streams = \"rotate\"").await;
        let asked = Instant::now();
        sidecar.drain(Duration::from_secs(30));
        backend.closed().await;
        assert!(asked.elapsed() < Duration::from_millis(5));
    });
}

#[test]
fn one_that_is_left_is_cut() {
    run(|| async {
        let (sidecar, mut backend) = detached("").await;
        sidecar.drain(Duration::from_secs(30));
        sleep(Duration::from_secs(1)).await;
        let asked = Instant::now();
        sidecar.cut();
        backend.closed().await;
        assert!(asked.elapsed() < Duration::from_millis(5));
    });
}
