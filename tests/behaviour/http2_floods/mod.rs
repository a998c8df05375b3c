//! HTTP/2 as an attacker speaks it: refused or closed, and no other client suffers.

mod malformed;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};

use crate::common::{Sidecar, run};
use crate::either::{Asker, Connection, Http, Teller, backend, request};
use crate::frames::{Frame, Kind, Raw};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A sidecar whose backend answers nothing but `/events`, an event stream on another connection, and how many requests came.
async fn setup() -> (Sidecar, Asker, Rc<Cell<usize>>) {
    let asked = Rc::new(Cell::new(0));
    let counted = asked.clone();
    let url = backend(Http::Two, move |mut teller: Teller| {
        counted.set(counted.get() + 1);
        async move {
            if teller.asked().contains("/events") {
                teller.open_events().await;
                for n in 0.. {
                    sleep(Duration::from_secs(1)).await;
                    teller.say(&format!("data: {n}\n\n")).await;
                }
            }
            sleep(Duration::from_secs(100_000)).await;
        }
    })
    .await;
    let sidecar = Sidecar::in_front_of(&url, "").await;
    let mut other = Asker::ask(&sidecar, Http::Two).await;
    other.head().await;
    asked.set(0);
    (sidecar, other, asked)
}

/// Its next event is there in time.
async fn is_unharmed(other: &mut Asker) {
    let next = timeout(Duration::from_millis(1100), other.data()).await;
    assert!(next.unwrap().unwrap().unwrap().starts_with("data: "));
}

/// Sends `frames` as far as they are taken, and returns the code with which the connection ended.
async fn end_of(client: Raw, frames: impl Iterator<Item = Frame> + 'static) -> Option<u32> {
    let (reading, mut writing) = client.peer.stream.into_split();
    let sending = tokio::task::spawn_local(async move {
        for frame in frames {
            if writing.write_all(&frame.bytes()).await.is_err() {
                return;
            }
        }
        sleep(Duration::from_secs(1000)).await;
    });
    let mut raw = Raw {
        peer: crate::common::Peer::over(tokio::io::join(reading, tokio::io::sink())),
    };
    let (frames, _) = timeout(Duration::from_secs(200), raw.rest())
        .await
        .expect("it is not closed");
    sending.abort();
    let last = frames.iter().rfind(|frame| frame.is(Kind::GoAway));
    last.map(Frame::code)
}

fn streams() -> impl Iterator<Item = u32> {
    (0..).map(|n| 2 * n + 1)
}

#[test]
fn rapid_resets_are_stopped_after_a_bounded_number_of_requests() {
    for patient in [false, true] {
        run(move || async move {
            let (sidecar, mut other, asked) = setup().await;
            let mut client = Raw::connect(&sidecar).await;
            client.settings(&[]).await;
            let code = if patient {
                // Each request is at its upstream when it is cancelled.
                for stream in streams().take(400) {
                    client.send(Frame::get(stream, "/")).await;
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                    if client
                        .peer
                        .stream
                        .write_all(&Frame::reset(stream).bytes())
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
                end_of(client, std::iter::empty()).await
            } else {
                let flood = streams().take(100_000);
                end_of(
                    client,
                    flood.flat_map(|stream| [Frame::get(stream, "/"), Frame::reset(stream)]),
                )
                .await
            };
            assert_eq!(code, Some(ENHANCE_YOUR_CALM), "patient: {patient}");
            assert!(asked.get() <= 210, "{}", asked.get());
            is_unharmed(&mut other).await;
        });
    }
}

#[test]
fn a_client_that_changes_its_mind_half_of_the_time_is_left_alone() {
    run(|| async {
        let url = backend(Http::One, |mut teller: Teller| async move {
            if teller.asked().contains("post") {
                return sleep(Duration::from_secs(1000)).await;
            }
            teller.open(200, "text/plain").await;
            teller.end().await;
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        let client = Connection::to(&sidecar).await;
        for _ in 0..600 {
            let (response, mut upload) = client
                .send(request("POST").body(()).unwrap(), true)
                .await
                .unwrap();
            sleep(Duration::from_millis(1)).await;
            upload.send_reset(h2::Reason::CANCEL);
            drop(response);
            assert_eq!(client.get(request("GET")).await.unwrap().head.status, 200);
        }
    });
}

#[test]
fn floods_that_want_an_answer_wait_until_the_answers_are_read() {
    for frame in [
        Frame::new(Kind::Ping, 0, 0, [0; 8]),
        Frame::new(Kind::Settings, 0, 0, []),
        Frame::request(1, &[(":method", "GET"), ("X", "bad")]),
    ] {
        run(move || async move {
            let (sidecar, mut other, _) = setup().await;
            let mut client = Raw::connect(&sidecar).await;
            client.settings(&[]).await;
            let start = Instant::now();
            let mut stream = 1;
            let mut sent = 0;
            let flood = async {
                loop {
                    let mut frames = Vec::new();
                    for _ in 0..1000 {
                        let mut frame = frame.clone();
                        if frame.is(Kind::Headers) {
                            frame.stream = stream;
                            stream += 2;
                        }
                        frames.extend(frame.bytes());
                    }
                    if client.peer.stream.write_all(&frames).await.is_err() {
                        return;
                    }
                    sent += frames.len();
                }
            };
            timeout(Duration::from_secs(60), flood)
                .await
                .expect("it is not closed");
            assert!(sent < 20_000_000, "{sent}");
            assert!(
                start.elapsed() <= Duration::from_secs(40),
                "{:?}",
                start.elapsed()
            );
            is_unharmed(&mut other).await;
        });
    }
}
