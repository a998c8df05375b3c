//! A body of an upstream that stops being chunked.

use std::time::Duration;

use tokio::time::Instant;

use crate::common::{EVENTS, Sidecar, backend_that_says, chunk, run};
use crate::either::{Asker, End, Http};

/// What came before a chunk that is none arrives, also if both came in one read; then the body breaks off.
#[test]
fn what_comes_before_a_malformed_chunk_arrives() {
    for label in ["text/plain", "text/event-stream"] {
        for bad in ["no size\r\n", "3\r\nabcd\r\n", "1\r\na\r\n\r\n"] {
            for client in [Http::One, Http::Two] {
                run(move || async move {
                    let body = [&chunk("data: 1\n\n")[..], bad.as_bytes()].concat();
                    let head = EVENTS.replace("text/event-stream", label);
                    let backend = backend_that_says([head.as_bytes(), &body].concat()).await;
                    let sidecar = Sidecar::start(backend, "").await;
                    let start = Instant::now();
                    let mut asker = Asker::ask(&sidecar, client).await;
                    asker.head().await;
                    let (seen, end) = asker.rest().await;
                    let valid = bad.lines().skip(1).find(|line| line.starts_with('a'));
                    let valid = valid.map_or("", |line| &line[..line.len().min(3)]);
                    let case = format!("{label} {bad:?} {client:?}");
                    assert_eq!(seen, format!("data: 1\n\n{valid}"), "{case}");
                    assert_eq!(end, End::Cut, "{case}");
                    assert!(start.elapsed() < Duration::from_secs(1), "{case}");
                });
            }
        }
    }
}
