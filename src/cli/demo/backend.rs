//! The awkward backend: it gzips an event stream though nobody asked for that, and falls silent in the middle of it.
//!
//! | path | what |
//! |---|---|
//! | `/` | the page |
//! | `/stream?KEY` | an answer, token by token; KEY is a name that the client makes up |
//! | `/record?KEY` | what became of that stream |

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{Either, Full};
use serde_json::json;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Pace;
use super::page;
use crate::page::Page;

/// The two parts of the answer, with a silence in between.
const ANSWER: [&str; 2] = [
    "You are reading this while it is being written. A proxy on the way may hold it back until it has a whole page. \
     Now let me think for a moment.\n\n",
    "Still connected: heartbeats filled the silence. Now start again, and press Stop in the middle: only one of the two \
     backends will stop writing.",
];

/// How many streams are remembered.
const MEMORY: usize = 100;

/// Answers requests.
#[derive(Debug)]
pub(super) struct Backend {
    pace: Pace,
    page: Page,
    records: RefCell<VecDeque<Rc<Record>>>,
}

/// What became of a stream.
#[derive(Debug)]
struct Record {
    key: Box<str>,
    opened: Instant,
    /// Tokens sent so far.
    sent: Cell<u64>,
    /// The current state, and since when.
    state: Cell<(State, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Streaming,
    Finished,
    /// Its client was gone before the end.
    Cancelled,
}

/// The stream, as a body that is gzipped event by event. Dropped before its end, it was cancelled.
#[derive(Debug)]
pub(super) struct DemoStream {
    /// The events that are left, each with its time.
    events: VecDeque<(Instant, Event)>,
    /// Until the first of them.
    sleep: Pin<Box<Sleep>>,
    gzip: GzEncoder<Vec<u8>>,
    record: Rc<Record>,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Token(&'static str),
    Done,
}

impl Backend {
    /// Speaks at `pace`.
    pub(super) fn new(page: Page, speed: Pace) -> Self {
        Self {
            pace: speed,
            page,
            records: RefCell::default(),
        }
    }

    /// Answers a request.
    pub(super) fn answer<B>(
        &self,
        request: &Request<B>,
    ) -> Response<Either<Full<Bytes>, DemoStream>> {
        let key = request.uri().query().unwrap_or_default();
        match request.uri().path() {
            "/stream" => self.stream(key).map(Either::Right),
            "/record" => typed("application/json", Full::new(self.record(key))).map(Either::Left),
            "/" => page::response(&self.page).map(Either::Left),
            _ => {
                let mut response = Response::new(Either::Left(Full::default()));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        }
    }

    fn stream(&self, key: &str) -> Response<DemoStream> {
        let stream = DemoStream::new(key, &self.pace);
        let mut records = self.records.borrow_mut();
        records.push_front(stream.record.clone());
        records.truncate(MEMORY);
        let mut response = typed("text/event-stream", stream);
        response
            .headers_mut()
            .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    }

    /// The record of the stream `key` in JSON; `null` if it is not known.
    fn record(&self, key: &str) -> Bytes {
        let records = self.records.borrow();
        let record = records.iter().find(|record| *record.key == *key);
        let told = record.map(|record| {
            let (state, since) = record.state.get();
            json!({
                "sent": record.sent.get(),
                "state": state.name(),
                "since_ms": milliseconds(since.elapsed()),
            })
        });
        json!(told).to_string().into()
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Streaming => "streaming",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
        }
    }
}

impl DemoStream {
    fn new(key: &str, pace: &Pace) -> Self {
        let opened = Instant::now();
        let mut events = VecDeque::new();
        let mut due = opened;
        for part in ANSWER {
            for word in part.split_inclusive(' ') {
                due += pace.token;
                events.push_back((due, Event::Token(word)));
            }
            due += pace.silence;
        }
        events.push_back((due - pace.silence, Event::Done));
        Self {
            events,
            sleep: Box::pin(sleep_until(opened + pace.token)),
            gzip: GzEncoder::new(Vec::new(), Compression::default()),
            record: Rc::new(Record {
                key: key.into(),
                opened,
                sent: Cell::new(0),
                state: Cell::new((State::Streaming, opened)),
            }),
        }
    }
}

impl Body for DemoStream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Self {
            events,
            sleep,
            gzip,
            record,
        } = &mut *self;
        if record.is(State::Finished) {
            return Poll::Ready(None);
        }
        if let Some(&(_, event)) = events.front() {
            ready!(sleep.as_mut().poll(cx));
            events.pop_front();
            if let Some(&(due, _)) = events.front() {
                sleep.as_mut().reset(due);
            }
            gzip.write_all(event.at(record.opened.elapsed()).as_bytes())?;
            gzip.flush()?;
            if let Event::Token(_) = event {
                record.sent.update(|sent| sent + 1);
            }
        } else {
            gzip.try_finish()?;
            record.becomes(State::Finished);
        }
        let coded = mem::take(gzip.get_mut());
        Poll::Ready(Some(Ok(Frame::data(coded.into()))))
    }
}

impl Drop for DemoStream {
    fn drop(&mut self) {
        if self.record.is(State::Streaming) {
            self.record.becomes(State::Cancelled);
        }
    }
}

impl Record {
    fn is(&self, state: State) -> bool {
        self.state.get().0 == state
    }

    fn becomes(&self, state: State) {
        self.state.set((state, Instant::now()));
    }
}

impl Event {
    /// The event as it is written, `age` after its stream was opened.
    fn at(self, age: Duration) -> String {
        match self {
            Self::Token(token) => {
                let data = json!({ "token": token, "sent_ms": milliseconds(age) });
                format!("data: {data}\n\n")
            }
            Self::Done => "data: [DONE]\n\n".to_owned(),
        }
    }
}

pub(super) fn typed<B>(content_type: &'static str, body: B) -> Response<B> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
