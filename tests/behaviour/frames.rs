//! A client's end of an HTTP/2 connection, frame by frame: what no library would send.

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::common::{Closed, Peer, Sidecar};

/// The kinds of frames that the tests name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data = 0,
    Headers = 1,
    RstStream = 3,
    Settings = 4,
    PushPromise = 5,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
}

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Fields as HPACK's literals, neither compressed nor remembered.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "longer ones take another form");
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The pseudo-header fields of a GET.
pub(crate) const PSEUDO: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "test"),
    (":path", "/"),
];

impl Frame {
    pub(crate) fn new(kind: Kind, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind: kind as u8,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// A whole request.
    pub(crate) fn request(stream: u32, fields: &[(&str, &str)]) -> Self {
        Self::new(
            Kind::Headers,
            END_STREAM | END_HEADERS,
            stream,
            block(fields),
        )
    }

    /// Asks for an event stream.
    pub(crate) fn get(stream: u32, path: &str) -> Self {
        let [method, scheme, authority, _] = PSEUDO;
        Self::request(stream, &[method, scheme, authority, (":path", path)])
    }

    pub(crate) fn window_update(stream: u32, by: u32) -> Self {
        Self::new(Kind::WindowUpdate, 0, stream, by.to_be_bytes())
    }

    pub(crate) fn reset(stream: u32) -> Self {
        Self::new(Kind::RstStream, 0, stream, 8_u32.to_be_bytes())
    }

    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u8
    }

    /// The code of a GOAWAY or `RST_STREAM`.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.is(Kind::GoAway) { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The frame that `bytes` begin with, and its length, if all of it is here.
    pub(crate) fn first(bytes: &[u8]) -> Option<(Self, usize)> {
        let (head, rest) = bytes.split_at_checked(9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let frame = Self {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(head[5..].try_into().unwrap()),
            payload: rest.get(..length)?.to_vec(),
        };
        Some((frame, 9 + length))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_uint(self.payload.len() as u64, 3);
        bytes.put_u8(self.kind);
        bytes.put_u8(self.flags);
        bytes.put_u32(self.stream);
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// A connection on which frames are sent and read.
pub(crate) struct Raw<S = TcpStream> {
    pub(crate) peer: Peer<S>,
}

impl Raw {
    pub(crate) async fn connect(sidecar: &Sidecar) -> Self {
        Self {
            peer: sidecar.connect().await,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// Begins with these settings.
    pub(crate) async fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for &(name, value) in settings {
            payload.put_u16(name);
            payload.put_u32(value);
        }
        self.peer.send(PREFACE).await;
        self.send(Frame::new(Kind::Settings, 0, 0, payload)).await;
        self.send(Frame::new(Kind::Settings, ACK, 0, [])).await;
    }

    pub(crate) async fn send(&mut self, frame: Frame) {
        self.peer.send(frame.bytes()).await;
    }

    pub(crate) async fn next(&mut self) -> Frame {
        let head = self.peer.bytes(9).await;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(head[5..].try_into().unwrap()),
            payload: self.peer.bytes(length).await,
        }
    }

    /// The next frame of this kind; others are passed over.
    pub(crate) async fn next_of(&mut self, kind: Kind) -> Frame {
        loop {
            let frame = self.next().await;
            if frame.is(kind) {
                return frame;
            }
        }
    }

    /// The frames up to the connection's end.
    pub(crate) async fn rest(&mut self) -> (Vec<Frame>, Closed) {
        let (bytes, closed) = self.peer.rest().await;
        let mut frames = Vec::new();
        let mut rest = &bytes[..];
        while let Some((frame, length)) = Frame::first(rest) {
            frames.push(frame);
            rest = &rest[length..];
        }
        (frames, closed)
    }
}
