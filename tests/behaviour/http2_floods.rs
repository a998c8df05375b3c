//! HTTP/2 as an attacker speaks it: refused or closed, and nobody else suffers.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};

use crate::common::{Sidecar, run};
use crate::either::{Asker, Connection, Http, Teller, backend, request};
use crate::frames::{END_HEADERS, END_STREAM, Frame, Kind, PREFACE, PSEUDO, Raw, block};

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
                // Each request is on its way upstream when it is given up.
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
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn what_breaks_the_protocol_ends_the_connection() {
    let whole = |stream| Frame::request(stream, &PSEUDO);
    let begun = || Frame::new(Kind::Headers, END_STREAM, 1, block(&PSEUDO));
    let opened = || Frame::new(Kind::Headers, END_HEADERS, 1, block(&PSEUDO));
    let more = || Frame::new(Kind::Continuation, 0, 1, block(&[("x", "y")]));
    let cases: Vec<(&str, Vec<Frame>, &[u32])> = vec![
        (
            "DATA on stream 0",
            vec![Frame::new(Kind::Data, 0, 0, *b"x")],
            &[PROTOCOL_ERROR],
        ),
        ("HEADERS on stream 0", vec![whole(0)], &[PROTOCOL_ERROR]),
        (
            "RST_STREAM on stream 0",
            vec![Frame::reset(0)],
            &[PROTOCOL_ERROR],
        ),
        (
            "HEADERS on an even stream",
            vec![whole(2)],
            &[PROTOCOL_ERROR],
        ),
        (
            "DATA on an idle stream",
            vec![Frame::new(Kind::Data, 0, 7, *b"x")],
            &[PROTOCOL_ERROR],
        ),
        (
            "RST_STREAM on an idle stream",
            vec![Frame::reset(7)],
            &[PROTOCOL_ERROR],
        ),
        (
            "WINDOW_UPDATE on an idle stream",
            vec![Frame::window_update(7, 1)],
            &[PROTOCOL_ERROR],
        ),
        (
            "SETTINGS on a stream",
            vec![Frame::new(Kind::Settings, 0, 1, [])],
            &[PROTOCOL_ERROR],
        ),
        (
            "PING on a stream",
            vec![Frame::new(Kind::Ping, 0, 1, [0; 8])],
            &[PROTOCOL_ERROR],
        ),
        (
            "a short PING",
            vec![Frame::new(Kind::Ping, 0, 0, [0; 7])],
            &[FRAME_SIZE_ERROR, PROTOCOL_ERROR],
        ),
        (
            "a short setting",
            vec![Frame::new(Kind::Settings, 0, 0, [0; 5])],
            &[FRAME_SIZE_ERROR, PROTOCOL_ERROR],
        ),
        (
            "a frame that is too long",
            vec![Frame::new(Kind::Ping, 0, 0, [0; 20_000])],
            &[FRAME_SIZE_ERROR, PROTOCOL_ERROR],
        ),
        (
            "too large an initial window",
            vec![Frame::new(Kind::Settings, 0, 0, [0, 4, 255, 255, 255, 255])],
            &[FLOW_CONTROL_ERROR, PROTOCOL_ERROR],
        ),
        (
            "a window of more than 2^31 - 1",
            vec![Frame::window_update(0, 0x7fff_ffff); 2],
            &[FLOW_CONTROL_ERROR, PROTOCOL_ERROR],
        ),
        (
            "a window update of nothing",
            vec![Frame::window_update(0, 0)],
            &[PROTOCOL_ERROR],
        ),
        (
            "PUSH_PROMISE from a client",
            vec![Frame::new(Kind::PushPromise, END_HEADERS, 1, [0, 0, 0, 2])],
            &[PROTOCOL_ERROR],
        ),
        (
            "CONTINUATION without HEADERS",
            vec![more()],
            &[PROTOCOL_ERROR],
        ),
        (
            "a frame between HEADERS and CONTINUATION",
            vec![begun(), Frame::new(Kind::Ping, 0, 0, [0; 8])],
            &[PROTOCOL_ERROR],
        ),
        (
            "HPACK that is none",
            vec![Frame::new(Kind::Headers, 5, 1, [0xff; 20])],
            &[COMPRESSION_ERROR, PROTOCOL_ERROR],
        ),
        (
            "a stream that is opened again",
            vec![whole(5), whole(3)],
            &[PROTOCOL_ERROR, 5],
        ),
        (
            "garbage",
            vec![Frame::new(Kind::Data, 0xff, u32::MAX, [0xff; 100])],
            &[PROTOCOL_ERROR],
        ),
        (
            "padding longer than its frame",
            vec![opened(), Frame::new(Kind::Data, 8, 1, [200, 0, 0])],
            &[PROTOCOL_ERROR],
        ),
        (
            "a flood of CONTINUATION",
            std::iter::once(begun())
                .chain((0..100_000).map(|_| more()))
                .collect(),
            &[ENHANCE_YOUR_CALM, PROTOCOL_ERROR],
        ),
        (
            "a flood of empty CONTINUATION",
            std::iter::once(begun())
                .chain((0..100_000).map(|_| Frame::new(Kind::Continuation, 0, 1, [])))
                .collect(),
            &[ENHANCE_YOUR_CALM, PROTOCOL_ERROR],
        ),
        (
            "uploads nobody reads in empty frames",
            std::iter::once(opened())
                .chain((0..200_000).map(|_| Frame::new(Kind::Data, 0, 1, [])))
                .collect(),
            &[ENHANCE_YOUR_CALM, 0],
        ),
    ];
    for (name, frames, codes) in cases {
        run(move || async move {
            let (sidecar, mut other, asked) = setup().await;
            let mut client = Raw::connect(&sidecar).await;
            client.settings(&[]).await;
            let code = end_of(client, frames.into_iter()).await;
            assert!(
                code.is_some_and(|code| codes.contains(&code)),
                "{name}: {code:?}"
            );
            assert!(asked.get() <= 1, "{name}: {}", asked.get());
            is_unharmed(&mut other).await;
        });
    }
}

#[test]
fn what_breaks_one_request_ends_its_stream() {
    let with = |field: (&'static str, &'static str)| [&PSEUDO[..], &[field]].concat();
    let [method, scheme, authority, path] = PSEUDO;
    for (name, fields) in [
        ("an upper-case name", with(("X-One", "1"))),
        ("connection", with(("connection", "close"))),
        ("keep-alive", with(("keep-alive", "timeout=5"))),
        ("proxy-connection", with(("proxy-connection", "close"))),
        ("transfer-encoding", with(("transfer-encoding", "chunked"))),
        ("upgrade", with(("upgrade", "websocket"))),
        ("te", with(("te", "gzip"))),
        ("an unknown pseudo-header field", with((":one", "1"))),
        (":status", with((":status", "200"))),
        (":protocol", with((":protocol", "websocket"))),
        ("a line end in a value", with(("x", "a\r\nb"))),
        ("a space in a name", with(("x y", "a"))),
        ("an empty name", with(("", "a"))),
        ("no method", vec![scheme, authority, path]),
        ("no scheme", vec![method, authority, path]),
        ("no path", vec![method, scheme, authority]),
        (
            "an empty path",
            vec![method, scheme, authority, (":path", "")],
        ),
        ("two paths", vec![method, scheme, authority, path, path]),
        (
            "two authorities",
            vec![method, scheme, authority, authority, path],
        ),
        (
            "a pseudo-header field after another",
            vec![method, scheme, authority, ("x", "y"), path],
        ),
        (
            "a method that is none",
            vec![(":method", "G T"), scheme, authority, path],
        ),
        (
            "a path that is none",
            vec![method, scheme, authority, (":path", "/a b")],
        ),
        (
            "an authority that is none",
            vec![method, scheme, (":authority", "a b"), path],
        ),
        ("a length of no body", with(("content-length", "5"))),
        ("a length that is none", with(("content-length", "x"))),
        (
            "two lengths",
            [
                &PSEUDO[..],
                &[("content-length", "0"), ("content-length", "1")],
            ]
            .concat(),
        ),
    ] {
        run(move || async move {
            let (sidecar, mut other, asked) = setup().await;
            let mut client = Raw::connect(&sidecar).await;
            client.settings(&[]).await;
            client.send(Frame::request(1, &fields)).await;
            let refused = async {
                loop {
                    let frame = client.next().await;
                    if frame.stream == 1 || frame.is(Kind::GoAway) {
                        return frame;
                    }
                }
            };
            let refused = timeout(Duration::from_secs(1), refused).await;
            let refused = refused.unwrap_or_else(|_| panic!("{name} passes"));
            assert_eq!(asked.get(), 0, "{name} reached the backend");
            is_unharmed(&mut other).await;
            if refused.is(Kind::GoAway) {
                // So h2 does where a field cannot even be decoded; a stream's error would be enough.
                return assert_eq!(refused.code(), PROTOCOL_ERROR, "{name}");
            }
            if refused.is(Kind::RstStream) {
                assert_eq!(refused.code(), PROTOCOL_ERROR, "{name}");
            } else {
                // 0x8c is `:status: 400`.
                assert!(
                    refused.is(Kind::Headers) && refused.payload[0] == 0x8c,
                    "{name}: {refused:?}"
                );
            }
            // The connection goes on.
            client.send(Frame::get(3, "/")).await;
            sleep(Duration::from_millis(10)).await;
            assert_eq!(asked.get(), 1, "{name}");
        });
    }
}

#[test]
fn a_body_of_another_length_than_said_ends_its_stream() {
    for (sent, ends) in [("toolong", false), ("s", true)] {
        run(move || async move {
            let (sidecar, mut other, _) = setup().await;
            let mut client = Raw::connect(&sidecar).await;
            client.settings(&[]).await;
            let fields = [&PSEUDO[..], &[("content-length", "5")]].concat();
            client
                .send(Frame::new(Kind::Headers, END_HEADERS, 1, block(&fields)))
                .await;
            client
                .send(Frame::new(Kind::Data, u8::from(ends), 1, sent))
                .await;
            let reset = client.next_of(Kind::RstStream).await;
            assert_eq!((reset.stream, reset.code()), (1, PROTOCOL_ERROR));
            is_unharmed(&mut other).await;
        });
    }
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

#[test]
fn a_preface_with_something_else_behind_it() {
    run(|| async {
        let (sidecar, mut other, _) = setup().await;
        for garbage in [
            &[0xff; 1000][..],
            b"GET / HTTP/1.1\r\nHost: t\r\n\r\n",
            &[0; 1000],
        ] {
            let mut client = sidecar.connect().await;
            client.send([PREFACE, garbage].concat()).await;
            timeout(Duration::from_secs(80), client.closed())
                .await
                .expect("it is not closed");
        }
        is_unharmed(&mut other).await;
    });
}
