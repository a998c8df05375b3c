//! Clients that come back while their old connection still looks alive, a thousand times at any moment: each event once, in order.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use sse_sidecar::sse::parse::parse;
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::common::{EVENTS, LAST_CHUNK, Sidecar, chunk, run};
use crate::kept::{Backends, GRACE, event, get};

#[test]
fn a_thousand_returns_at_any_moment() {
    run(|| async {
        let mut backends = Backends::start().await;
        let sidecar = Sidecar::start(backends.address, GRACE).await;
        let mut client = sidecar.request(&get("")).await;
        let mut backend = backends.next().await;
        let is_over = Rc::new(Cell::new(false));
        let goes_on = is_over.clone();
        let sending = spawn_local(async move {
            backend.send(EVENTS).await;
            let mut number = 0;
            while !goes_on.get() {
                // Whole events, halves, and several at once.
                let mut bytes = Vec::new();
                for _ in 0..fastrand::usize(1..4) {
                    number += 1;
                    bytes.extend(event(number).into_bytes());
                }
                let split = fastrand::usize(..bytes.len());
                backend.send(chunk(&bytes[..split.max(1)])).await;
                sleep(Duration::from_micros(fastrand::u64(..1500))).await;
                if split.max(1) < bytes.len() {
                    backend.send(chunk(&bytes[split.max(1)..])).await;
                }
            }
            backend.send(LAST_CHUNK).await;
            number
        });
        client.head().await;
        let mut last = 0;
        let mut token = String::new();
        let mut old = Vec::new();
        for round in 0..1000 {
            let wanted = fastrand::usize(..3) + usize::from(round == 0);
            let mut seen = String::new();
            while parse(seen.as_bytes()).len() < wanted {
                seen += &client.chunk().await;
            }
            for event in parse(seen.as_bytes()) {
                last += 1;
                assert_eq!(event.data, last.to_string(), "round {round}");
                token = event.id.split('.').next().unwrap().to_owned();
            }
            sleep(Duration::from_micros(fastrand::u64(..2500))).await;
            match fastrand::u8(..3) {
                0 => drop(client),
                1 => client.reset(),
                _ => old.push(client), // open, and not read any more
            }
            sleep(Duration::from_micros(fastrand::u64(..200))).await;
            client = sidecar
                .request(&get(&format!("{token}.{}", base36(last))))
                .await;
            let head = client.head().await;
            assert!(
                head.contains(&format!("sse-sidecar-resumed: {last}\r\n")),
                "{head}"
            );
            if old.len() > 20 {
                old.clear();
            }
        }
        is_over.set(true);
        let all = sending.await.unwrap();
        let (rest, is_whole) = client.chunks().await;
        assert!(is_whole);
        for event in parse(&rest) {
            last += 1;
            assert_eq!(event.data, last.to_string());
        }
        assert_eq!(last, all);
        assert!(backends.no_more(), "one request");
    });
}

fn base36(number: usize) -> String {
    let mut digits = [0; 13];
    let digits = sse_sidecar::sse::base36(number as u64, &mut digits);
    str::from_utf8(digits).unwrap().to_owned()
}
