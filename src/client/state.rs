//! Where a connection with HTTP/1 stands: what its client's next bytes are, and what may be written to it. Sans-IO.
//!
//! One message passes at a time, each way. hyper gets a request's head as a whole, once it was scanned, then the request's body. The
//! next request's head is not even read before all of the response has left: until then whatever else the client has sent stays in
//! the kernel. So nothing is ever between two messages but what this names.
//!
//! ```text
//!              input          handle_request       handle_response_end        handle_flushed
//! Waiting ───▶ Head ────────▶ Answering ─────────▶ Leaving ─────────────────▶ Waiting
//!                                 │ yield_to         handle_flushed
//!                                 └─────────────▶ Yielding ───▶ Taken ──────▶ Waiting
//!                                                        take       handle_return
//! ```

use bytes::Bytes;
use tokio::time::Instant;

use super::Limits;
use crate::wire::{BadChunk, Chunked, Malformed, Piece, RequestHead, respell, with_valid_target};

/// The state of a connection. `T` is a takeover.
#[derive(Debug)]
pub(super) struct State<T> {
    phase: Phase<T>,
    inbound: Inbound,
    /// Read, and not yet looked at.
    unread: Vec<u8>,
    /// The head of the request under way, as the client sent it.
    raw_head: Vec<u8>,
    /// Bytes to be sent ahead of hyper's output: interim responses, and the head that replaces hyper's.
    ahead: Vec<u8>,
    /// The upstream's head, in whose spelling hyper's is written.
    spelling: Bytes,
    /// The client has been asked for the body of the current request.
    has_asked: bool,
    /// hyper has written something that it has not flushed.
    is_dirty: bool,
    limits: Limits,
}

/// What a connection is doing.
#[derive(Debug)]
enum Phase<T> {
    /// Nothing of the next request has come. `is_first` if there was none before it.
    Waiting { since: Instant, is_first: bool },
    /// A request's head is arriving.
    Head { since: Instant },
    /// A request is being answered. hyper has written none of the response, or it `has_begun`.
    Answering { has_begun: bool },
    /// All of the response is with hyper, and some of it may still be there.
    Leaving { has_begun: bool },
    /// The connection is taken over once hyper has written what it has.
    Yielding(T),
    /// It is taken over.
    Taken,
}

/// What the client's next bytes are.
#[derive(Debug)]
enum Inbound {
    /// A request's head, as far as it has come.
    Head {
        scanner: RequestHead,
        bytes: Vec<u8>,
    },
    /// A whole head, of which hyper has so much.
    Whole { bytes: Vec<u8>, passed: usize },
    /// hyper has the head: whether a body follows is known once hyper has parsed it.
    Verdict,
    /// This many bytes of a request's body.
    Length(u64),
    /// A request's body in chunks.
    Chunked(Chunked),
}

/// What hyper may read next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing for now.
    Nothing,
    /// Part of a head, which is here.
    Head,
    /// Bytes from the socket, to be [handled](State::handle_head) as part of a head.
    ReadHead,
    /// Bytes of a request's body, at most this many, to be [passed](State::pass_body).
    ReadBody(usize),
}

/// Which of the connection's timeouts is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// A request's head has been awaited since then: the connection's first, or one that has begun.
    RequestHead(Instant),
    /// Idle since then.
    KeepAlive(Instant),
    /// None of the connection's own.
    None,
}

/// What hyper writes by itself when it wants a request's body. It is sent like any interim response.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Inbound {
    fn head(limits: Limits) -> Self {
        Self::Head {
            scanner: RequestHead::new(limits.request_head),
            bytes: Vec::new(),
        }
    }
}

impl<T> State<T> {
    /// A connection on which nothing has happened yet.
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            phase: Phase::Waiting {
                since: now,
                is_first: true,
            },
            inbound: Inbound::head(limits),
            unread: Vec::new(),
            raw_head: Vec::new(),
            ahead: Vec::new(),
            spelling: Bytes::new(),
            has_asked: false,
            is_dirty: false,
            limits,
        }
    }

    /// What hyper may read next.
    pub(super) fn next(&self) -> Next {
        match (&self.inbound, &self.phase) {
            (Inbound::Whole { .. }, _) => Next::Head,
            (Inbound::Head { .. }, Phase::Waiting { .. } | Phase::Head { .. }) => Next::ReadHead,
            (Inbound::Head { .. } | Inbound::Verdict, _) => Next::Nothing,
            (Inbound::Length(left), _) => {
                Next::ReadBody(usize::try_from(*left).unwrap_or(usize::MAX))
            }
            (Inbound::Chunked(_), _) => Next::ReadBody(usize::MAX),
        }
    }

    /// Bytes that were read but not yet parsed: they come before any from the socket.
    pub(super) fn unread(&mut self) -> &mut Vec<u8> {
        &mut self.unread
    }

    /// The same, and nothing is left of it here.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// Looks at `input`, which belongs to a head at first.
    pub(super) fn handle_head(&mut self, input: &[u8], now: Instant) -> Result<(), Malformed> {
        let Inbound::Head { scanner, bytes } = &mut self.inbound else {
            self.unread.extend_from_slice(input);
            return Ok(());
        };
        let scanned = scanner.scan(input);
        if scanner.is_started() && !matches!(self.phase, Phase::Head { .. }) {
            self.phase = Phase::Head { since: now };
        }
        let Some(end) = scanned? else {
            bytes.extend_from_slice(input);
            return Ok(());
        };
        bytes.extend_from_slice(&input[..end]);
        let raw = std::mem::take(bytes);
        self.unread.extend_from_slice(&input[end..]);
        let bytes = with_valid_target(&raw).unwrap_or_else(|| raw.clone());
        self.raw_head = raw;
        self.inbound = Inbound::Whole { bytes, passed: 0 };
        Ok(())
    }

    /// The next part of a whole head for hyper, at most `most` bytes.
    pub(super) fn pass_head(&mut self, most: usize, pass: impl FnOnce(&[u8])) {
        let Inbound::Whole { bytes, passed } = &mut self.inbound else {
            return;
        };
        let end = bytes.len().min(*passed + most);
        pass(&bytes[*passed..end]);
        *passed = end;
        if end == bytes.len() {
            self.inbound = Inbound::Verdict;
        }
    }

    /// How many of `input`, the next bytes of a request's body, belong to it.
    pub(super) fn pass_body(&mut self, input: &[u8]) -> Result<usize, BadChunk> {
        let passed = match &mut self.inbound {
            Inbound::Head { .. } | Inbound::Whole { .. } | Inbound::Verdict => return Ok(0),
            Inbound::Length(left) => {
                let length =
                    usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= length as u64;
                (length, *left == 0)
            }
            Inbound::Chunked(chunked) => (length_in(chunked, input)?, chunked.is_done()),
        };
        let (length, has_ended) = passed;
        if has_ended {
            self.inbound = Inbound::head(self.limits);
        }
        Ok(length)
    }

    /// hyper has read a request's head and found a body of this length: `None` is chunked.
    pub(super) fn handle_request(&mut self, body_length: Option<u64>) {
        self.phase = Phase::Answering { has_begun: false };
        self.has_asked = false;
        self.inbound = match body_length {
            Some(0) => Inbound::head(self.limits),
            Some(length) => Inbound::Length(length),
            None => Inbound::Chunked(Chunked::new()),
        };
    }

    /// The head of the request under way as the client sent it; once.
    pub(super) fn take_raw_head(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.raw_head)
    }

    /// The response's head is written in the spelling of the head `raw`.
    pub(super) fn spell(&mut self, raw: Bytes) {
        self.spelling = raw;
    }

    /// `bytes`, an interim response, go to the client before the response.
    pub(super) fn inform(&mut self, bytes: &[u8]) {
        if matches!(
            self.phase,
            Phase::Answering { has_begun: false } | Phase::Yielding(_)
        ) {
            self.ahead.extend_from_slice(bytes);
        }
    }

    /// Asks the client for its request's body, unless that was done: hyper asks as soon as it reads the body, and the upstream may
    /// have asked before.
    pub(super) fn go_on(&mut self) {
        if !std::mem::replace(&mut self.has_asked, true) {
            self.inform(CONTINUE);
        }
    }

    /// hyper is about to write `bytes`. Returns how many of them are consumed here: they are [ahead](Self::ahead) now, or dropped.
    pub(super) fn handle_output(&mut self, bytes: &[u8]) -> usize {
        let (Phase::Answering { has_begun } | Phase::Leaving { has_begun }) = &mut self.phase
        else {
            return 0;
        };
        if *has_begun {
            return 0;
        }
        if let Some(rest) = bytes.strip_prefix(CONTINUE) {
            self.go_on();
            // hyper puts a response that is ready at once into the same buffer.
            let of_rest = if rest.is_empty() {
                0
            } else {
                self.handle_output(rest)
            };
            return CONTINUE.len() + of_rest;
        }
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            *has_begun = true; // longer than any head
            return 0;
        };
        *has_begun = true;
        let spelling = std::mem::take(&mut self.spelling);
        let length = end + 4;
        if spelling.is_empty() && self.ahead.is_empty() {
            return 0;
        }
        respell(&bytes[..length], &spelling, &mut self.ahead);
        length
    }

    /// What goes to the client before anything else.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// This many of these bytes were written.
    pub(super) fn handle_written(&mut self, length: usize) {
        self.ahead.drain(..length);
        if self.ahead.is_empty() {
            self.ahead = Vec::new();
        }
    }

    /// hyper has written something.
    pub(super) fn handle_dirt(&mut self) {
        self.is_dirty = true;
    }

    /// hyper is done with the response: all of it that there will be is in its hands.
    pub(super) fn handle_response_end(&mut self) {
        if let Phase::Answering { has_begun } = self.phase {
            self.phase = Phase::Leaving { has_begun };
        }
    }

    /// hyper has nothing left to write. True if the response has left, and the next request may come.
    pub(super) fn handle_flushed(&mut self, now: Instant) -> bool {
        self.is_dirty = false;
        let has_left = matches!(self.phase, Phase::Leaving { .. })
            && matches!(self.inbound, Inbound::Head { .. })
            && self.ahead.is_empty();
        if has_left {
            self.wait(now);
        }
        has_left
    }

    /// The connection goes to `taker`.
    pub(super) fn yield_to(&mut self, taker: T) {
        self.phase = Phase::Yielding(taker);
    }

    /// Who gets the connection, once hyper and the interim responses have left it.
    pub(super) fn take(&mut self) -> Option<T> {
        if self.is_dirty || !self.ahead.is_empty() {
            return None;
        }
        match std::mem::replace(&mut self.phase, Phase::Taken) {
            Phase::Yielding(taker) => Some(taker),
            phase => {
                self.phase = phase;
                None
            }
        }
    }

    /// Who had taken it is done: everything has been written.
    pub(super) fn handle_return(&mut self, now: Instant) {
        self.wait(now);
    }

    /// The connection is over: drops a takeover that has not begun.
    pub(super) fn abandon(&mut self) -> Option<T> {
        match std::mem::replace(&mut self.phase, Phase::Taken) {
            Phase::Yielding(taker) => Some(taker),
            _ => None,
        }
    }

    /// Whether the connection can be taken over: hyper has read the request's body.
    pub(super) fn has_whole_request(&self) -> bool {
        matches!(self.inbound, Inbound::Head { .. })
    }

    /// Whether a request's head has begun that has no response yet: hyper's own response to it is discarded.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.phase, Phase::Head { .. })
    }

    /// Whether the client may still be sending bytes that will not be read.
    pub(super) fn has_unread_input(&self) -> bool {
        !self.unread.is_empty()
            || !matches!(&self.inbound, Inbound::Head { scanner, .. } if !scanner.is_started())
    }

    /// Which timeout is running.
    pub(super) fn clock(&self) -> Clock {
        match self.phase {
            Phase::Waiting {
                since,
                is_first: true,
            }
            | Phase::Head { since } => Clock::RequestHead(since),
            Phase::Waiting {
                since,
                is_first: false,
            } => Clock::KeepAlive(since),
            Phase::Answering { .. } | Phase::Leaving { .. } | Phase::Yielding(_) | Phase::Taken => {
                Clock::None
            }
        }
    }

    fn wait(&mut self, now: Instant) {
        self.raw_head = Vec::new();
        self.phase = Phase::Waiting {
            since: now,
            is_first: false,
        };
    }
}

/// How many of `bytes` belong to the chunked body, framing included.
fn length_in(chunked: &mut Chunked, bytes: &[u8]) -> Result<usize, BadChunk> {
    let mut length = 0;
    while length < bytes.len() && !chunked.is_done() {
        match chunked.next(&bytes[length..])? {
            Piece::Framing(part) | Piece::Trailers(part) | Piece::Data(part) => length += part,
            Piece::End => break,
        }
    }
    Ok(length)
}
