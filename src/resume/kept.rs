//! [`KeptStream`]: one stream that outlives its clients, as all threads share it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use super::cursor::Token;
use super::identity::{Identity, Tag};
use super::saved::SavedHead;
use super::state::State;
use super::streams::Streams;
use crate::config;
use crate::exchange::RouteInfo;
use crate::sse::{EndReason, Gap, History, Place, UpstreamEnd, parse};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A stream that outlives its clients.
pub struct KeptStream {
    /// Its number in this process: what operators see instead of its name.
    number: u64,
    token: Token,
    origin: Origin,
    head: SavedHead,
    began: Instant,
    pub(super) streams: Arc<Streams>,
    state: Mutex<State>,
}

/// What it comes from.
#[derive(Debug)]
pub struct Origin {
    /// Where it went.
    pub route_info: Arc<RouteInfo>,
    /// Who began it.
    pub identity: Identity,
    /// Identity and target, for clients that come back with an id of the backend's.
    pub owner: Option<Tag>,
    /// Route, identity and key, where it has one.
    pub key: Option<Tag>,
    /// By what requests that are the same find it.
    pub claim: Option<Tag>,
    /// That is a key, with which its client can ask for the same again.
    pub is_by_key: bool,
    /// Who counts as one for the share of all streams.
    pub share: Tag,
    /// The session of MCP that it belongs to.
    pub session: Option<Tag>,
    /// The first request's method.
    pub method: Method,
    /// Its path, without the query.
    pub path: Box<str>,
    /// Its events get ids.
    pub ids: bool,
    /// What its route says of it.
    pub settings: Arc<Settings>,
}

/// What holds for the streams of a route.
#[derive(Debug)]
pub struct Settings {
    /// How they are kept.
    pub resume: config::Resume,
    /// Their timeouts, which go on when their clients are away.
    pub timeouts: config::Timeouts,
    /// What becomes of them when the process drains.
    pub drain_streams: config::DrainStreams,
}

/// A reader's place, and how it came to it.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) id: u32,
    pub(super) place: Place,
    /// How long nobody has read the stream.
    pub(super) away: Duration,
    /// How many events had come after the reader's place.
    pub(super) waiting: u64,
}

/// How a stream ended that somebody asks for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Complete, with an event after which nothing comes.
    Terminal,
    /// Complete, as far as its framing tells.
    Clean,
    /// Broken off, or never read to its end.
    Broken,
}

impl KeptStream {
    pub(super) fn new(
        token: Token,
        origin: Origin,
        head: SavedHead,
        streams: Arc<Streams>,
    ) -> Arc<Self> {
        let accounted = size_of::<Self>() + head.memory();
        streams.account(0, accounted);
        Arc::new(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            token,
            origin,
            head,
            began: Instant::now(),
            streams,
            state: Mutex::new(State::new(accounted)),
        })
    }

    /// Its number in this process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its name.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// What it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The head of the response.
    pub fn head(&self) -> &SavedHead {
        &self.head
    }

    /// How long ago it began.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upstream has sent `bytes` to whoever reads it, maybe the reader `by`, for whom the lock is still held.
    pub(super) fn append(&self, bytes: &[u8], by: Option<u32>) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.history.append(bytes);
        let fastest = state.fastest();
        let most = self.origin.settings.resume.history;
        state.history.trim(most, fastest);
        let memory = self.memory(&state);
        if memory != state.accounted {
            let before = std::mem::replace(&mut state.accounted, memory);
            if !self.streams.account(before, memory) {
                drop(state);
                self.make_room(bytes.len());
                state = self.lock();
            }
        }
        state.wake_readers(by);
        state
    }

    /// All histories together take too much: others that nobody needs go, or this one does not grow by what it was given.
    #[cold]
    fn make_room(&self, given: usize) {
        if self.streams.evict(0) {
            return;
        }
        let mut state = self.lock();
        let most = state.history.length().saturating_sub(given as u64);
        let fastest = state.fastest();
        state.history.trim(most, fastest);
        let memory = self.memory(&state);
        let before = std::mem::replace(&mut state.accounted, memory);
        self.streams.account(before, memory);
        self.streams.shortened();
    }

    /// Gives up the history at once: nobody reads it, and nobody finds it any more.
    pub(super) fn discard(&self) {
        let mut state = self.lock();
        state.history = History::new();
        let memory = self.memory(&state);
        let before = std::mem::replace(&mut state.accounted, memory);
        self.streams.account(before, memory);
    }

    fn memory(&self, state: &State) -> usize {
        size_of::<Self>() + self.head.memory() + state.history.memory()
    }

    /// The upstream's part is over; false if it was already.
    pub(super) fn end(&self, end: UpstreamEnd) -> bool {
        let mut state = self.lock();
        if state.end.is_some() {
            return false;
        }
        state.end = Some(end);
        self.count(&mut state);
        state.wake_readers(None);
        true
    }

    /// Has the stream end, whoever reads it; false if it has ended.
    pub fn stop(&self, reason: EndReason) -> bool {
        let mut state = self.lock();
        if state.end.is_some() || state.stop.is_some() {
            return false;
        }
        state.stop = Some(reason);
        state.wake_readers(None);
        state.wake_driver();
        true
    }

    /// Registers a reader behind the event `sequence`. An `only` one takes the place of all others.
    pub(super) fn attach(&self, sequence: u64, only: bool) -> Result<Attachment, Gap> {
        let mut state = self.lock();
        let place = state.history.after(sequence)?;
        Ok(self.attach_at(&mut state, place, only))
    }

    /// Registers the reader of a stream that begins.
    pub(super) fn attach_first(&self) -> Attachment {
        self.attach_at(&mut self.lock(), Place::START, false)
    }

    fn attach_at(&self, state: &mut State, place: Place, only: bool) -> Attachment {
        let id = state.add(place, only);
        let since = state.unread_since.take();
        self.count(state);
        state.wake_driver(); // the time of grace is over, in the other sense
        Attachment {
            id,
            place,
            away: since.map(|since| since.elapsed()).unwrap_or_default(),
            waiting: state.history.newest().saturating_sub(place.passed()),
        }
    }

    /// It begins without a reader.
    pub(super) fn begin_unread(&self) {
        let mut state = self.lock();
        state.unread_since = Some(Instant::now());
        self.count(&mut state);
        drop(state);
        self.streams.unread(self);
    }

    /// The reader `id` is gone; whether it was the last.
    pub(super) fn leave(&self, id: u32) -> bool {
        let mut state = self.lock();
        let is_last = state.leave(id);
        self.count(&mut state);
        let goes_on = state.is_counted;
        drop(state);
        if is_last && goes_on {
            self.streams.unread(self);
        }
        is_last
    }

    fn count(&self, state: &mut State) {
        let is_detached = state.unread_since.is_some() && state.end.is_none();
        let was_detached = std::mem::replace(&mut state.is_counted, is_detached);
        match (was_detached, is_detached) {
            (false, true) => self.streams.metrics.resume.detached(),
            (true, false) => self.streams.metrics.resume.attached(),
            (true, true) | (false, false) => {}
        }
    }

    /// Whether it is over for whoever has seen it up to `sequence`, and how.
    pub fn ended_for(&self, sequence: u64) -> Option<Ended> {
        let state = self.lock();
        let end = state.end?;
        if sequence != state.history.newest() || !state.history.is_at_boundary() {
            return None;
        }
        Some(match end {
            UpstreamEnd::Finished
            | UpstreamEnd::Judged(EndReason::Complete | EndReason::Total | EndReason::Stopped) => {
                if state.history.last_event_terminal() || is_answer(state.history.last_event()) {
                    Ended::Terminal
                } else {
                    Ended::Clean
                }
            }
            UpstreamEnd::ShortOfLength => Ended::Clean,
            UpstreamEnd::WithoutLastChunk if state.history.last_event_terminal() => Ended::Terminal,
            UpstreamEnd::WithoutLastChunk | UpstreamEnd::Failed | UpstreamEnd::Judged(_) => {
                Ended::Broken
            }
        })
    }

    /// The event behind which a client goes on that was given this id of the backend's.
    pub fn find(&self, id: &[u8]) -> Option<u64> {
        self.lock().history.find(id)
    }

    /// The earliest event behind which a client can go on.
    pub fn oldest(&self) -> u64 {
        self.lock().history.oldest()
    }

    /// Whether nobody reads it.
    pub fn is_unread(&self) -> bool {
        self.lock().readers.is_empty()
    }

    /// Whether its upstream's part is over.
    pub fn has_ended(&self) -> bool {
        let state = self.lock();
        state.end.is_some() || state.stop.is_some()
    }

    /// How many events there were, how many bytes are kept, and how many read it.
    pub fn size(&self) -> (u64, u64, usize) {
        let state = self.lock();
        let history = &state.history;
        (history.newest(), history.length(), state.readers.len())
    }

    /// How long it still waits for a client, if nobody reads it and it has not ended.
    pub fn grace_left(&self) -> Option<Duration> {
        let state = self.lock();
        let since = state.unread_since.filter(|_| state.end.is_none())?;
        let grace = self.origin.settings.resume.grace.unwrap_or_default();
        Some(grace.saturating_sub(since.elapsed()))
    }
}

impl Drop for KeptStream {
    fn drop(&mut self) {
        let mut state = self.lock();
        state.end.get_or_insert(UpstreamEnd::Failed);
        self.count(&mut state);
        self.streams.account(state.accounted, 0);
    }
}

/// Whether an event is the response to a JSON-RPC request, after which MCP's streams end.
fn is_answer(event: Option<Vec<u8>>) -> bool {
    let events = event.map(|event| parse::parse(&event));
    let data = events.and_then(|mut events| Some(events.pop()?.data));
    let message: Option<serde_json::Value> = data.and_then(|data| serde_json::from_str(&data).ok());
    message.is_some_and(|message| {
        message.get("jsonrpc").is_some()
            && message.get("id").is_some()
            && (message.get("result").is_some() || message.get("error").is_some())
    })
}

impl fmt::Debug for KeptStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptStream")
            .field("token", &self.token)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
