//! HTTP/2 clients that take nothing: one stream of a connection, or all of it.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use h2::{Reason, RecvStream};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};

use crate::common::full_sockets;
use crate::common::{Sidecar, chunk, moment, run};
use crate::either::{Connection, Http, Teller, backend, request};
use crate::frames::{Frame, Kind, Raw};

const PROMPTLY: Duration = Duration::from_millis(5);
/// The window of one stream of the test's client, in bytes.
const WINDOW: u32 = 1000;

/// A client's connection whose streams have little windows.
async fn with_little_windows(sidecar: &Sidecar) -> Connection {
    Connection::with(sidecar, |builder| {
        builder.initial_window_size(WINDOW);
    })
    .await
}

/// The body of an event stream, which is not read yet.
async fn open(client: &Connection, target: &str) -> RecvStream {
    let asked = request("GET")
        .uri(format!("http://test{target}"))
        .header("accept", "text/event-stream");
    let (response, _) = client.send(asked.body(()).unwrap(), false).await.unwrap();
    response.await.unwrap().into_body()
}

/// The next `length` bytes, given back to the sender.
async fn read(body: &mut RecvStream, length: usize) -> Result<String, h2::Error> {
    let mut seen = Vec::new();
    while seen.len() < length {
        let data = body.data().await.expect("it ended")?;
        body.flow_control().release_capacity(data.len()).unwrap();
        seen.extend_from_slice(&data);
    }
    Ok(String::from_utf8(seen).unwrap())
}

/// Answers `/flood` with as much as can be sent and notes how much that is; anything else with an event each second.
async fn flood_or_tick(mut teller: Teller, sent: Rc<Cell<usize>>, gone: impl Fn(())) {
    let floods = teller.asked().contains("/flood");
    teller.open_events().await;
    if !floods {
        for n in 0.. {
            teller.say(&format!("data: {n}\n\n")).await;
            sleep(Duration::from_secs(1)).await;
        }
    }
    let event = format!("data: {}\n\n", "x".repeat(992));
    match teller {
        Teller::One { mut peer, .. } => {
            let (mut reading, mut writing) = peer.stream.split();
            let chunk = chunk(&event);
            let flood = async {
                while tokio::io::AsyncWriteExt::write_all(&mut writing, &chunk)
                    .await
                    .is_ok()
                {
                    sent.set(sent.get() + event.len());
                }
            };
            let mut nothing = [0];
            tokio::select! {
                () = flood => {}
                _ = reading.read(&mut nothing) => {}
            }
        }
        Teller::Two { body, .. } => {
            let mut body = body.unwrap();
            loop {
                body.reserve_capacity(event.len());
                let Some(Ok(_)) = poll_fn(|cx| body.poll_capacity(cx)).await else {
                    break;
                };
                if body.capacity() >= event.len() {
                    body.send_data(event.clone().into(), false).unwrap();
                    sent.set(sent.get() + event.len());
                }
            }
        }
    }
    gone(());
}

#[test]
fn a_stalled_stream_is_reset_and_no_other_suffers() {
    for upstream in [Http::One, Http::Two] {
        run(move || async move {
            let (gone, mut seen) = moment();
            let sent = Rc::new(Cell::new(0));
            let url = backend(upstream, move |teller| {
                flood_or_tick(teller, sent.clone(), gone.clone())
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let client = with_little_windows(&sidecar).await;
            let start = Instant::now();
            let mut ticking = open(&client, "/tick").await;
            let mut stalled = open(&client, "/flood").await;
            for n in 0..60 {
                let event = format!("data: {n}\n\n");
                assert_eq!(read(&mut ticking, event.len()).await.unwrap(), event);
                let late = start.elapsed().checked_sub(Duration::from_secs(n));
                assert!(
                    late.is_some_and(|late| late < PROMPTLY),
                    "event {n}: {late:?}"
                );
                if n == 20 {
                    // A byte that is taken is progress.
                    read(&mut stalled, 500).await.unwrap();
                }
            }
            let (at, ()) = seen.try_recv().unwrap();
            let after = (at - start).as_secs_f64();
            assert!(
                (50.0..50.1).contains(&after),
                "{upstream:?}: cancelled after {after}"
            );
            read(&mut stalled, 1000).await.unwrap();
            let error = read(&mut stalled, 500).await.unwrap_err();
            assert_eq!(error.reason(), Some(Reason::CANCEL));
            assert!((sidecar.ends("client_stalled", "client") - 1.0).abs() < 0.1);
        });
    }
}

#[test]
fn a_client_that_comes_back_gets_every_byte_and_no_heap_of_heartbeats() {
    for upstream in [Http::One, Http::Two] {
        run(move || async move {
            let url = backend(upstream, |mut teller: Teller| async move {
                teller.open_events().await;
                for n in 0..3000 {
                    teller.say(&format!("data: {n}\n\n")).await;
                }
                sleep(Duration::from_secs(110)).await;
                teller.say("data: last\n\n").await;
                teller.end().await;
                sleep(Duration::from_secs(1000)).await;
            })
            .await;
            let toml = "timeouts.write = \"off\"";
            let sidecar = Sidecar::in_front_of(&url, toml).await;
            let client = with_little_windows(&sidecar).await;
            let mut body = open(&client, "/").await;
            let mut sibling = open(&client, "/").await;
            sleep(Duration::from_secs(100)).await;
            let start = Instant::now();
            let expected: String = (0..3000).map(|n| format!("data: {n}\n\n")).collect();
            for body in [&mut sibling, &mut body] {
                assert_eq!(read(body, expected.len()).await.unwrap(), expected);
            }
            assert!(start.elapsed() < PROMPTLY, "it was all there");
            assert_eq!(read(&mut body, 12).await.unwrap(), "data: last\n\n");
            assert!(
                body.data()
                    .await
                    .is_none_or(|data| data.unwrap().is_empty())
            );
        });
    }
}

#[test]
fn what_stalled_streams_make_the_sidecar_hold_is_bounded() {
    for upstream in [Http::One, Http::Two] {
        run(move || async move {
            let sent = Rc::new(Cell::new(0));
            let (gone, mut seen) = moment();
            let counted = sent.clone();
            let url = backend(upstream, move |teller| {
                flood_or_tick(teller, counted.clone(), gone.clone())
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            // A socket that is not read, under streams with more window than they need.
            let mut client = Raw::connect(&sidecar).await;
            client.settings(&[(4, 1 << 30)]).await;
            client.send(Frame::window_update(0, 1 << 30)).await;
            for stream in 0..20 {
                client.send(Frame::get(2 * stream + 1, "/flood")).await;
            }
            full_sockets(&sidecar).await;
            let start = Instant::now();
            sleep(Duration::from_secs(29)).await;
            let held = sent.get();
            assert!(seen.try_recv().is_err());
            // Over HTTP/1 the kernel's buffers of twenty sockets are in it, over HTTP/2 the windows.
            let most = if upstream == Http::One {
                20 * 7_000_000
            } else {
                20 * 300_000 + 7_000_000
            };
            assert!(held < most, "{upstream:?}: {held}");
            for _ in 0..20 {
                let (at, ()) = seen.recv().await.unwrap();
                let after = (at - start).as_secs_f64();
                assert!((29.9..38.0).contains(&after), "{after}");
            }
            assert!((sidecar.ends("client_stalled", "client") - 20.0).abs() < 0.1);
        });
    }
}

#[test]
fn thousands_of_small_frames_for_a_stalled_client_never_cost_the_upstreams_connection() {
    run(|| async {
        let (finished, mut seen) = moment();
        let url = backend(Http::Two, move |mut teller: Teller| {
            let finished = finished.clone();
            async move {
                let is_small = teller.asked().contains("/small");
                teller.open_events().await;
                for n in 0..if is_small { 20_000 } else { 60 } {
                    teller.say(&format!("data: {n}\n\n")).await;
                    sleep(Duration::from_millis(if is_small { 1 } else { 1000 })).await;
                }
                teller.end().await;
                finished(());
                sleep(Duration::from_secs(1000)).await;
            }
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, "timeouts.write = \"off\"").await;
        let client = with_little_windows(&sidecar).await;
        let mut small = open(&client, "/small").await;
        let mut ticking = sidecar.get_events().await;
        ticking.head().await;
        for n in 0..40 {
            assert_eq!(ticking.chunk().await, format!("data: {n}\n\n"));
        }
        let expected: String = (0..20_000).map(|n| format!("data: {n}\n\n")).collect();
        let got = read(&mut small, expected.len()).await.unwrap();
        assert!(got == expected);
        assert!((sidecar.metric("sse_sidecar_upstream_connects_total") - 1.0).abs() < 0.1);
        for n in 40..60 {
            assert_eq!(ticking.chunk().await, format!("data: {n}\n\n"));
        }
        seen.recv().await.unwrap();
    });
}

#[test]
fn events_that_are_ready_together_leave_in_one_frame() {
    for upstream in [Http::One, Http::Two] {
        run(move || async move {
            let url = backend(upstream, |mut teller: Teller| async move {
                teller.open_events().await;
                for burst in 0..3 {
                    sleep(Duration::from_secs(1)).await;
                    let events = (0..100).map(|n| format!("data: {burst} {n}\n\n"));
                    if let Teller::One { peer, .. } = &mut teller {
                        peer.send(events.flat_map(chunk).collect::<Vec<_>>()).await;
                    } else {
                        for event in events {
                            teller.say(&event).await;
                        }
                    }
                }
                sleep(Duration::from_secs(1000)).await;
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let mut client = Raw::connect(&sidecar).await;
            client.settings(&[]).await;
            client.send(Frame::get(1, "/")).await;
            for burst in 0..3 {
                let data = client.next_of(Kind::Data).await;
                let expected: String = (0..100).map(|n| format!("data: {burst} {n}\n\n")).collect();
                assert_eq!(
                    String::from_utf8(data.payload).unwrap(),
                    expected,
                    "{upstream:?}"
                );
            }
        });
    }
}

#[test]
fn a_full_socket_is_waited_for_as_long_as_the_most_patient_request_says() {
    run(|| async {
        let (gone, mut seen) = moment();
        let url = backend(Http::One, move |teller| {
            flood_or_tick(teller, Rc::default(), gone.clone())
        })
        .await;
        let toml =
            "timeouts.write = \"10s\"\n[[route]]\npath = \"/flood\"\ntimeouts.write = \"40s\"";
        let sidecar = Sidecar::in_front_of(&url, toml).await;
        let mut client = Raw::connect(&sidecar).await;
        client.settings(&[(4, 1 << 30)]).await;
        client.send(Frame::window_update(0, 1 << 30)).await;
        client.send(Frame::get(1, "/flood")).await;
        full_sockets(&sidecar).await;
        let start = Instant::now();
        let (at, ()) = seen.recv().await.unwrap();
        let after = (at - start).as_secs_f64();
        assert!((39.9..45.0).contains(&after), "{after}");
    });
}
