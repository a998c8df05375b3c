//! Invariant: however reads, writes and everything else that happens on a client's connection fall, hyper gets the same messages,
//! byte for byte, and the client gets every response after the interim ones before it. No head is asked for before the response to
//! the one before it has left, and until then no timeout of the client's runs.
//!
//! Input: a byte says how many events there are, each of which is a byte; the rest is what the client sends. What is left to do after
//! them is done at once.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sse_sidecar::client::Limits;
use sse_sidecar::wire;
use tokio::time::Instant;

/// The state machine itself, which the crate does not export.
#[allow(
    dead_code,
    reason = "what is said to a client at the end is not asked here"
)]
#[path = "../../src/client/state.rs"]
mod state;

use state::{Clock, Next, State};

fuzz_target!(|data: &[u8]| {
    let Some((&count, rest)) = data.split_first() else {
        return;
    };
    let (events, input) = rest.split_at(rest.len().min(usize::from(count)));
    let at_once = Connection::new(input).run(&[]);
    let as_it_falls = Connection::new(input).run(events);
    for run in [&at_once, &as_it_falls] {
        let messages = run.messages.iter();
        let passed: Vec<u8> = messages
            .flat_map(|message| [&message.raw[..], &message.body].concat())
            .collect();
        assert!(input.starts_with(&passed), "nothing is lost or moved");
    }
    assert_eq!(as_it_falls.is_refused, at_once.is_refused);
    let lengths = (as_it_falls.messages.len(), at_once.messages.len());
    assert_eq!(lengths.0, lengths.1, "how many requests");
    for (index, (one, other)) in as_it_falls
        .messages
        .iter()
        .zip(&at_once.messages)
        .enumerate()
    {
        assert_eq!((&one.raw, &one.head), (&other.raw, &other.head));
        // How much of a broken body comes before the refusal depends on how it comes.
        if index + 1 < lengths.0 || !at_once.is_refused {
            assert_eq!(one.body, other.body);
        }
    }
});

/// What hyper got.
#[derive(Debug, Default)]
struct Message {
    raw: Vec<u8>,
    head: Vec<u8>,
    body: Vec<u8>,
}

/// hyper's state of the last message.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// It reads a head, or waits for one.
    Head,
    /// It has read one.
    Request,
    /// It has the response, of which it has written nothing, or some.
    Response { has_begun: bool },
    /// The same, and there will be no more of it.
    Ended { has_begun: bool },
    /// The connection is about to be taken over.
    Yielding,
}

/// A connection with a client that has sent all that it will send, and takes everything.
struct Connection<'a> {
    state: State<()>,
    /// Not yet read.
    input: &'a [u8],
    messages: Vec<Message>,
    turn: Turn,
    /// What hyper wants to write.
    queue: Vec<u8>,
    has_asked: bool,
    is_spelled: bool,
    sent: Vec<u8>,
    expected: Vec<u8>,
    is_refused: bool,
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const INTERIM: &[u8] = b"HTTP/1.1 103 Early Hints\r\n\r\n";
const SPELLING: &[u8] = b"HTTP/1.1 200 OK\r\nContent-LENGTH: 1\r\n\r\n";
/// More than there ever is.
const EVERYTHING: usize = 1 << 20;
const LIMITS: Limits = Limits {
    request_head: EVERYTHING,
    request_headers: 100,
    streams: 1,
};

impl<'a> Connection<'a> {
    fn new(input: &'a [u8]) -> Self {
        Self {
            state: State::new(LIMITS, Instant::now()),
            input,
            messages: Vec::new(),
            turn: Turn::Head,
            queue: Vec::new(),
            has_asked: false,
            is_spelled: false,
            sent: Vec::new(),
            expected: Vec::new(),
            is_refused: false,
        }
    }

    fn run(mut self, events: &[u8]) -> Self {
        for event in events {
            let amount = usize::from(event >> 4);
            match event & 0xF {
                0..=3 => drop(self.read(amount * amount + 1)),
                4 => self.end_head(),
                5 => self.respond(),
                6 => self.end_response(),
                7 | 8 => self.write(amount * 4),
                9 | 10 => self.flush(amount * 4),
                11 => self.inform(),
                12 => self.go_on(),
                13 => self.want_body(),
                14 => self.spell(),
                _ => self.yield_or_take(),
            }
            self.check();
            if self.is_refused {
                return self;
            }
        }
        self.finish();
        self
    }

    /// Does what is left to do, without delay.
    fn finish(&mut self) {
        loop {
            let has_read = self.read(EVERYTHING);
            self.check();
            if self.is_refused {
                return;
            }
            if has_read {
                continue;
            }
            match self.turn {
                Turn::Head if self.state.next() == Next::Nothing => self.end_head(),
                Turn::Head => break,
                Turn::Request => self.respond(),
                Turn::Response { .. } => self.end_response(),
                Turn::Ended { .. } | Turn::Yielding if !self.queue.is_empty() => {
                    self.write(EVERYTHING);
                }
                Turn::Ended { .. } | Turn::Yielding => {
                    self.flush(EVERYTHING);
                    self.yield_or_take();
                    if self.turn != Turn::Head {
                        break; // the request's body has not come whole
                    }
                }
            }
        }
        self.write(EVERYTHING);
        self.flush(EVERYTHING);
        assert_eq!(
            self.sent.escape_ascii().to_string(),
            self.expected.escape_ascii().to_string()
        );
    }

    fn check(&self) {
        if self.turn != Turn::Head {
            assert!(!matches!(self.state.next(), Next::ReadHead | Next::Head));
            assert_eq!(self.state.clock(), Clock::None);
        }
    }

    /// As `Gate::poll_read` does it, with at most `most` bytes at once. Whether there was something.
    fn read(&mut self, most: usize) -> bool {
        match self.state.next() {
            Next::Nothing => false,
            Next::Head => {
                if self.messages.last().is_none_or(|last| !last.raw.is_empty()) {
                    self.messages.push(Message::default());
                }
                let message = self.messages.last_mut().expect("there is one");
                self.state
                    .pass_head(most, |bytes| message.head.extend(bytes));
                if self.state.next() != Next::Head {
                    message.raw = self.state.take_raw_head();
                }
                true
            }
            Next::ReadHead => {
                let mut read = self.state.take_unread();
                if read.is_empty() {
                    read = self.receive(most);
                }
                self.is_refused = self.state.handle_head(&read, Instant::now()).is_err();
                !read.is_empty()
            }
            Next::ReadBody(limit) => {
                let limit = limit.min(most);
                let mut read = self.state.take_unread();
                let mut unread = Vec::new();
                if read.is_empty() {
                    read = self.receive(limit);
                } else {
                    unread = read.split_off(limit.min(read.len()));
                }
                let Ok(passed) = self.state.pass_body(&read) else {
                    self.is_refused = true;
                    return true;
                };
                let message = self.messages.last_mut().expect("its head was read");
                message.body.extend_from_slice(&read[..passed]);
                let mut surplus = read.split_off(passed);
                surplus.append(&mut unread);
                *self.state.unread() = surplus;
                passed > 0
            }
        }
    }

    fn receive(&mut self, most: usize) -> Vec<u8> {
        let (now, later) = self.input.split_at(self.input.len().min(most));
        self.input = later;
        now.to_vec()
    }

    /// hyper has read a head, and says what follows it.
    fn end_head(&mut self) {
        if self.turn != Turn::Head || self.state.next() != Next::Nothing {
            return;
        }
        let head = &self.messages.last().expect("it was passed").head;
        match body_length(head) {
            Some(length) => {
                self.state.handle_request(length);
                self.turn = Turn::Request;
                self.has_asked = false;
            }
            None => self.is_refused = true,
        }
    }

    /// hyper has a response to write.
    fn respond(&mut self) {
        if self.turn != Turn::Request {
            return;
        }
        self.queue.extend(self.response(false));
        self.turn = Turn::Response { has_begun: false };
    }

    /// Each request has a response of its own.
    fn response(&self, is_spelled: bool) -> Vec<u8> {
        let body = self.messages.len().to_string();
        let name = if is_spelled {
            "Content-LENGTH"
        } else {
            "content-length"
        };
        format!("HTTP/1.1 200 OK\r\n{name}: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    fn end_response(&mut self) {
        if let Turn::Response { has_begun } = self.turn {
            self.state.handle_response_end();
            self.turn = Turn::Ended { has_begun };
        }
    }

    /// As `Gate::poll_write_vectored` does it, to a socket that takes at most `most` bytes.
    fn write(&mut self, most: usize) {
        if self.queue.is_empty() {
            return;
        }
        let after_100 = self.queue.strip_prefix(CONTINUE);
        let (asks, answers) = (
            after_100.is_some(),
            after_100.is_none_or(|rest| !rest.is_empty()),
        );
        let dealt_with = self.state.handle_output(&self.queue);
        self.state.handle_dirt();
        if asks {
            self.expect_continue();
        }
        if answers
            && let Turn::Response { has_begun } | Turn::Ended { has_begun } = &mut self.turn
            && !std::mem::replace(has_begun, true)
        {
            let is_spelled = std::mem::take(&mut self.is_spelled);
            self.expected.extend(self.response(is_spelled));
        }
        let ahead = self.state.ahead().len();
        self.sent.extend(self.state.ahead().iter().take(most));
        self.state.handle_written(ahead.min(most));
        let after = self.queue.split_off(dealt_with);
        let (now, later) = after.split_at(after.len().min(most.saturating_sub(ahead)));
        self.sent.extend_from_slice(now);
        self.queue = later.to_vec();
    }

    /// As `Gate::poll_flush` does it, which hyper asks for once it has written everything.
    fn flush(&mut self, most: usize) {
        if !self.queue.is_empty() {
            return;
        }
        let ahead = self.state.ahead().len();
        self.sent.extend(self.state.ahead().iter().take(most));
        self.state.handle_written(ahead.min(most));
        if ahead > most {
            return;
        }
        if self.state.handle_flushed(Instant::now()) {
            assert_eq!(self.turn, Turn::Ended { has_begun: true });
            assert_eq!(self.sent, self.expected, "all of it has left");
            self.turn = Turn::Head;
        }
    }

    fn has_begun(&self) -> bool {
        match self.turn {
            Turn::Request | Turn::Yielding => false,
            Turn::Response { has_begun } | Turn::Ended { has_begun } => has_begun,
            Turn::Head => true,
        }
    }

    /// The upstream has sent an interim response.
    fn inform(&mut self) {
        // After the response's end none is left that could.
        if !matches!(self.turn, Turn::Ended { .. }) {
            self.state.inform(INTERIM);
            if !self.has_begun() {
                self.expected.extend_from_slice(INTERIM);
            }
        }
    }

    /// The upstream has asked for the request's body.
    fn go_on(&mut self) {
        if matches!(
            self.turn,
            Turn::Request | Turn::Response { .. } | Turn::Yielding
        ) {
            self.state.go_on();
            self.expect_continue();
        }
    }

    /// hyper asks for it.
    fn want_body(&mut self) {
        if self.turn == Turn::Request && self.queue.is_empty() {
            self.queue.extend_from_slice(CONTINUE);
        }
    }

    fn expect_continue(&mut self) {
        // No body is asked for after its response.
        let is_late = self.has_begun() || matches!(self.turn, Turn::Ended { .. });
        if !std::mem::replace(&mut self.has_asked, true) && !is_late {
            self.expected.extend_from_slice(CONTINUE);
        }
    }

    fn spell(&mut self) {
        if self.turn == Turn::Request {
            self.state.spell(Bytes::from_static(SPELLING));
            self.is_spelled = true;
        }
    }

    /// A takeover responds, once the request's body was read.
    fn yield_or_take(&mut self) {
        let can_yield = self.turn == Turn::Request && self.queue.is_empty() && !self.is_spelled;
        if can_yield && self.state.has_whole_request() {
            self.state.yield_to(());
            self.turn = Turn::Yielding;
        } else if self.turn == Turn::Yielding && self.state.take().is_some() {
            self.check();
            assert_eq!(self.sent, self.expected, "what came before has left");
            let response = self.response(false);
            self.sent.extend_from_slice(&response);
            self.expected.extend_from_slice(&response);
            self.state.handle_return(Instant::now());
            self.turn = Turn::Head;
        }
    }
}

/// What hyper finds; none if it refuses the head.
fn body_length(head: &[u8]) -> Option<Option<u64>> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(head).ok()?;
    let mut length = Some(0);
    for field in request.headers.iter() {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            length = None;
        } else if field.name.eq_ignore_ascii_case("content-length") {
            length = Some(str::from_utf8(field.value).ok()?.parse().ok()?);
        }
    }
    Some(length)
}
