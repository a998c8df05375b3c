//! What violates the protocol.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{
    COMPRESSION_ERROR, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR,
    end_of, is_unharmed, setup,
};
use crate::common::run;
use crate::frames::{END_HEADERS, END_STREAM, Frame, Kind, PREFACE, PSEUDO, Raw, block};

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
            // The connection continues.
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
