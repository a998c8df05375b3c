//! [`Reader`]: a kept stream on its way to one client.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::cursor::Token;
use super::detached::{Detached, Left};
use super::kept::{Attachment, KeptStream};
use super::local::LocalStreams;
use crate::body::EventSource;
use crate::client::Downstream;
use crate::config::OnReset;
use crate::exchange::Progress;
use crate::reason::Reason;
use crate::sse::{End, EndReason, Gap, Place, UpstreamEnd};

/// What a client reads of a kept stream: its history from some place on, and then what comes.
pub struct Reader {
    stream: Arc<KeptStream>,
    local: Rc<LocalStreams>,
    client: Rc<dyn Downstream>,
    progress: Progress,
    id: u32,
    place: Place,
    /// With which ids.
    token: Option<Token>,
    role: Role,
}

/// Who reads the upstream.
enum Role {
    /// This reader, since nobody has left the stream so far.
    Driver(Box<dyn EventSource>),
    /// Somebody else.
    Follower,
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// Behind this event.
    pub sequence: u64,
    /// Nobody else is to read the stream any more.
    pub only: bool,
    /// It gets ids.
    pub ids: bool,
}

/// How much is read at once for a client that takes nothing.
const READ_SIZE: usize = 16 * 1024;

thread_local! {
    static AHEAD: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into());
}

impl Reader {
    /// The first: whoever reads `source` keeps it for others.
    pub fn first(
        stream: &Arc<KeptStream>,
        source: Box<dyn EventSource>,
        local: &Rc<LocalStreams>,
        client: &Rc<dyn Downstream>,
        progress: Progress,
    ) -> Self {
        let attachment = stream.attach_first();
        let ids = stream.origin().ids;
        let role = Role::Driver(source);
        Self::new(stream, &attachment, ids, role, local, client, progress)
    }

    /// One that comes later. The upstream is read by whoever does so already.
    pub fn later(
        stream: &Arc<KeptStream>,
        start: Start,
        local: &Rc<LocalStreams>,
        client: &Rc<dyn Downstream>,
        progress: Progress,
    ) -> Result<Self, Gap> {
        let attachment = stream.attach(start.sequence, start.only)?;
        stream.streams.resumed(&attachment, stream);
        let ids = start.ids;
        let role = Role::Follower;
        Ok(Self::new(
            stream,
            &attachment,
            ids,
            role,
            local,
            client,
            progress,
        ))
    }

    fn new(
        stream: &Arc<KeptStream>,
        attachment: &Attachment,
        ids: bool,
        role: Role,
        local: &Rc<LocalStreams>,
        client: &Rc<dyn Downstream>,
        progress: Progress,
    ) -> Self {
        Self {
            token: ids.then_some(*stream.token()),
            stream: stream.clone(),
            local: local.clone(),
            client: client.clone(),
            progress,
            id: attachment.id,
            place: attachment.place,
            role,
        }
    }

    /// The upstream's part is over.
    fn ended(&mut self, end: UpstreamEnd) {
        self.role = Role::Follower; // dropping the source cancels what is left
        self.local.ended(&self.stream, end);
    }

    /// Ends the stream if that has been asked for, or gives up this reader.
    fn verdict(&mut self, cx: &Context<'_>) -> Option<UpstreamEnd> {
        let mut state = self.stream.lock();
        if let Some(reason) = state.verdict(self.id) {
            return Some(UpstreamEnd::Judged(reason));
        }
        if let (Some(reason), Role::Driver(_)) = (state.stop, &self.role) {
            drop(state);
            self.ended(UpstreamEnd::Judged(reason));
            return Some(UpstreamEnd::Judged(reason));
        }
        state.wait(self.id, cx);
        None
    }

    /// Whether the client can come back: it has a cursor, or a key.
    fn may_return(&self) -> bool {
        let origin = self.stream.origin();
        let has_stopped =
            self.client.has_reset() && origin.settings.resume.on_reset == OnReset::Cancel;
        if has_stopped || self.client.is_cut() {
            return false;
        }
        let has_event = self.place.passed() > 0;
        let has_cursor = self.token.is_some() && has_event;
        let has_own_id =
            has_event && origin.owner.is_some() && self.stream.lock().history.has_own_ids();
        has_cursor || has_own_id || origin.key.is_some() || origin.is_by_key
    }

    /// How the client left, for the log.
    fn departure(&self) -> &'static str {
        match self.client.cancellation() {
            _ if self.client.has_reset() => "reset",
            Reason::ClientStalled => "vanished",
            _ => "closed",
        }
    }
}

impl EventSource for Reader {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>> {
        if let Some(end) = self.verdict(cx) {
            return Poll::Ready(Err(end));
        }
        let Self {
            stream,
            local,
            client,
            id,
            place,
            token,
            role,
            ..
        } = self;
        let token = token.as_ref().map(Token::as_bytes);
        let mut state = stream.lock();
        loop {
            let length = state.history.read(place, token, buffer);
            if length > 0 {
                state.moved(*id, *place);
                return Poll::Ready(Ok(length));
            }
            if let Some(end) = state.end {
                return Poll::Ready(Err(end));
            }
            drop(state);
            let Role::Driver(source) = role else {
                return Poll::Pending;
            };
            state = match ready!(source.poll_read(cx, buffer)) {
                Ok(length) => stream.append(&buffer[..length], Some(*id)),
                Err(end) => {
                    if let Some(remainder) = source.take_remainder() {
                        client.outlive(remainder);
                    }
                    *role = Role::Follower;
                    local.ended(stream, end);
                    stream.lock()
                }
            };
        }
    }

    /// Reads on for a client that takes nothing, as far as the history reaches: a slow client is not to hold up the upstream.
    fn park(&mut self, cx: &mut Context<'_>) -> Poll<UpstreamEnd> {
        if let Some(end) = self.verdict(cx) {
            return Poll::Ready(end);
        }
        let most = self.stream.origin().settings.resume.history;
        AHEAD.with_borrow_mut(|buffer| {
            loop {
                let Role::Driver(source) = &mut self.role else {
                    return Poll::Pending;
                };
                if self.stream.lock().is_full(most) {
                    let _ = source.park(cx);
                    return Poll::Pending;
                }
                match ready!(source.poll_read(cx, buffer)) {
                    Ok(length) => drop(self.stream.append(&buffer[..length], Some(self.id))),
                    Err(end) => self.ended(end),
                }
            }
        })
    }

    /// The client's stream has ended by itself: unless its client may come back for the rest, the upstream's has too.
    fn dismiss(&mut self, end: End) {
        let is_of_reader = matches!(end.reason, EndReason::Superseded | EndReason::Lagged);
        if matches!(self.role, Role::Driver(_)) && !is_of_reader {
            self.ended(UpstreamEnd::Judged(end.reason));
        } else if end.reason == EndReason::Operator {
            self.stream.stop(EndReason::Operator);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let source = match std::mem::replace(&mut self.role, Role::Follower) {
            Role::Driver(source) => Some(source),
            Role::Follower => None,
        };
        let is_last = self.stream.leave(self.id);
        let has_ended = self.stream.has_ended();
        if is_last && !has_ended {
            tracing::info!(
                route = &*self.stream.origin().route_info.route,
                path = &*self.stream.origin().path,
                departure = self.departure(),
                events = self.place.passed(),
                detached = source.is_none() || self.may_return(),
                "stream left"
            );
        }
        let Some(source) = source else {
            return;
        };
        if has_ended {
            // It has been stopped since this was polled: the source is dropped here.
            self.local
                .ended(&self.stream, UpstreamEnd::Judged(EndReason::Stopped));
        } else if is_last && !self.may_return() {
            self.local.forget(&self.stream);
        } else {
            let detached = Detached::new(
                self.stream.clone(),
                source,
                &self.local,
                Left::of(&self.progress),
            );
            self.local.run(detached);
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("stream", &self.stream)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
