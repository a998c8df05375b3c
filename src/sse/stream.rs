//! [`EventStream`]: one open stream, from its head to its end.

use std::sync::Arc;
use std::time::Instant;

use super::end::{End, EndReason, Manner, UpstreamEnd};
use super::failure::{Failure, FailureEvent};
use super::heartbeat::{FrameChoice, Heartbeat};
use super::position::{BOM, Insertion, Position};
use super::timeouts::{Deadlines, Timeouts};

/// One event stream between an upstream and a client.
///
/// A driver calls [`handle_data`](Self::handle_data) with each piece of the upstream's decoded body,
/// [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) has come, and
/// [`handle_end`](Self::handle_end) when the upstream's body is over; it writes what each [`Output`] holds, and stops when one
/// carries an [`End`]. There is no output after that.
#[derive(Debug)]
pub struct EventStream {
    position: Position,
    deadlines: Deadlines,
    heartbeat: Arc<Heartbeat>,
    frame: FrameChoice,
    failure: FailureEvent,
    content: Content,
    head: Head,
    bom: Bom,
    /// A heartbeat is due and waits for a position that allows it.
    heartbeat_held: bool,
    /// The stream is to end at the next boundary, for this reason.
    planned_end: Option<EndReason>,
    ended: bool,
    counts: Counts,
    /// The in-band failure event, kept here so that an [`Output`] can borrow it.
    last_words: Vec<u8>,
}

/// What the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Events, that can be read.
    Events,
    /// Events in a coding that cannot be decoded: they pass, and nothing is ever inserted.
    Opaque,
    /// Another format, in which nothing can be inserted, and whose length is trusted.
    Foreign,
}

/// Where the upstream's head is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// It came before the client's.
    Here,
    /// The client has one, and the upstream's is still to come: until then its timeouts do not run.
    Awaited,
}

/// What becomes of a BOM at the start of the upstream's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bom {
    /// It passes: nothing was written before it.
    Pass,
    /// A comment went out first, so a BOM would no longer be one. So many bytes of it (0 to 2) are held back until it shows
    /// whether it is a BOM, which is dropped, or something else, which passes.
    Drop(u8),
}

/// What to write, in order, and whether the stream is over after it. Only `inserted` did not come from the upstream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Output<'a> {
    /// Bytes of an earlier call that were held back.
    pub held: &'a [u8],
    /// The upstream's bytes before the insertion.
    pub before: &'a [u8],
    /// A heartbeat or an in-band failure event.
    pub inserted: &'a [u8],
    /// The upstream's bytes after the insertion.
    pub after: &'a [u8],
    /// The stream is over once these bytes are written.
    pub end: Option<End>,
}

/// What a judged end means for this client.
enum Judgement {
    /// All of it is here.
    Complete,
    /// It ends without a word.
    Over(End),
    /// The upstream has failed it.
    Broken,
}

/// Whether the client takes bytes at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Writes go through.
    Taking,
    /// Bytes wait in a full socket.
    Stalled,
}

/// What a stream has carried so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// The upstream's bytes, after content decoding.
    pub bytes: u64,
    /// Events dispatched.
    pub events: u64,
    /// Heartbeats written.
    pub heartbeats: u64,
    /// Heartbeats that were due while the client took no bytes.
    pub heartbeats_skipped: u64,
}

impl EventStream {
    /// A stream whose head goes out at `now`.
    pub fn new(
        heartbeat: Arc<Heartbeat>,
        frame: FrameChoice,
        timeouts: Timeouts,
        failure: FailureEvent,
        now: Instant,
    ) -> Self {
        Self {
            position: Position::start(),
            deadlines: Deadlines::new(timeouts, now),
            heartbeat,
            frame,
            failure,
            content: Content::Events,
            head: Head::Here,
            bom: Bom::Pass,
            heartbeat_held: false,
            planned_end: None,
            ended: false,
            counts: Counts::default(),
            last_words: Vec::new(),
        }
    }

    /// The same stream, but in a content coding that cannot be decoded: nothing is ever inserted.
    #[must_use]
    pub fn opaque(mut self) -> Self {
        self.content = Content::Opaque;
        self
    }

    /// The same stream, but of another format than events: its bytes pass, nothing is ever inserted, and its end is trusted only
    /// where its framing marks it.
    #[must_use]
    pub fn foreign(mut self) -> Self {
        self.content = Content::Foreign;
        self
    }

    /// The same stream, but ahead of its upstream, whose head is still to come: the first heartbeat goes out at once.
    #[must_use]
    pub fn ahead(mut self) -> Self {
        self.head = Head::Awaited;
        self.deadlines.beat_at_once();
        self
    }

    /// The upstream of a stream that was [ahead](Self::ahead) has begun an event stream. If it fails later, `failure` says so.
    pub fn handle_head(&mut self, now: Instant, failure: FailureEvent) {
        self.head = Head::Here;
        self.failure = failure;
        self.deadlines.head_at(now);
    }

    /// The upstream of a stream that was [ahead](Self::ahead) has no event stream to give. The head was not its own, so the
    /// client is told in band, whatever its route asks for in other cases, and then sees a clean end.
    pub fn handle_refusal(&mut self, failure: &Failure, event: &FailureEvent) -> Output<'_> {
        if self.ended {
            return Output::default();
        }
        debug_assert!(self.is_at_boundary(), "only heartbeats went out");
        self.ended = true;
        self.last_words = match event {
            FailureEvent::None => FailureEvent::Event.bytes(failure),
            dialect => dialect.bytes(failure),
        };
        let end = End {
            reason: EndReason::NotEvents,
            manner: Manner::Clean,
        };
        Output {
            inserted: &self.last_words,
            end: Some(end),
            ..Output::default()
        }
    }

    /// The upstream sent `data`.
    pub fn handle_data<'a>(&'a mut self, now: Instant, data: &'a [u8]) -> Output<'a> {
        if self.ended || data.is_empty() {
            return Output::default();
        }
        self.deadlines.read_at(now);
        self.deadlines.silent_since(now);
        self.counts.bytes += data.len() as u64;
        if self.is_opaque() {
            return Output {
                before: data,
                ..Output::default()
            };
        }
        // A stream that never pauses never comes to its timers.
        if self.planned_end.is_none() && self.deadlines.total().is_some_and(|at| at <= now) {
            self.planned_end = Some(self.deadlines.end_of_life());
        }
        let (held, data) = self.sort_out_bom(data);
        let output = if self.planned_end.is_some() {
            self.pass_up_to_boundary(data)
        } else if self.heartbeat_held {
            self.pass_with_heartbeat(data)
        } else {
            self.position.advance(data);
            Output {
                before: data,
                ..Output::default()
            }
        };
        Output { held, ..output }
    }

    /// The earliest instant at which [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let total = self
            .deadlines
            .total()
            .filter(|_| self.planned_end.is_none());
        let first_event = self
            .deadlines
            .first_event()
            .filter(|_| self.awaits_first_event());
        let heartbeat = self
            .deadlines
            .heartbeat()
            .filter(|_| !self.heartbeat_held && !self.is_opaque());
        [total, first_event, self.read_deadline(), heartbeat]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has come to `now`. Afterwards [`poll_timeout`](Self::poll_timeout) is later than `now`, or the stream has ended.
    pub fn handle_timeout(&mut self, now: Instant, client: Client) -> Output<'_> {
        if client == Client::Stalled {
            // Nothing is read from the upstream while the client takes nothing: its silence is not its fault.
            self.deadlines.read_at(now);
        }
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if self.ended {
            Output::default()
        } else if self.awaits_first_event() && due(self.deadlines.first_event()) {
            self.fail(EndReason::FirstEventTimeout)
        } else if due(self.read_deadline()) {
            self.fail(EndReason::ReadTimeout)
        } else if self.planned_end.is_none() && due(self.deadlines.total()) {
            self.end_at_boundary(self.deadlines.end_of_life())
        } else if !self.heartbeat_held && !self.is_opaque() && due(self.deadlines.heartbeat()) {
            self.deadlines.silent_since(now);
            self.beat(client)
        } else {
            Output::default()
        }
    }

    /// The upstream's body is over.
    pub fn handle_end(&mut self, end: UpstreamEnd) -> Output<'_> {
        if self.ended {
            return Output::default();
        }
        let at_boundary = self.content == Content::Opaque || self.is_at_boundary();
        let is_complete = match end {
            UpstreamEnd::Finished => true,
            UpstreamEnd::ShortOfLength => at_boundary,
            UpstreamEnd::WithoutLastChunk => at_boundary && self.position.last_event_terminal(),
            UpstreamEnd::Judged(reason) => match self.end_as_judged(reason) {
                Judgement::Complete => true,
                Judgement::Over(end) => {
                    return Output {
                        end: Some(end),
                        ..Output::default()
                    };
                }
                Judgement::Broken => false,
            },
            UpstreamEnd::Failed => false,
        };
        if !is_complete {
            return self.fail(match end {
                UpstreamEnd::Judged(reason) => reason,
                UpstreamEnd::Failed => EndReason::UpstreamFailed,
                UpstreamEnd::Finished
                | UpstreamEnd::ShortOfLength
                | UpstreamEnd::WithoutLastChunk => EndReason::UpstreamClosed,
            });
        }
        self.ended = true;
        let held = match self.bom {
            Bom::Pass => &[][..],
            Bom::Drop(seen) => &BOM[..usize::from(seen)],
        };
        let end = End {
            reason: EndReason::Complete,
            manner: Manner::Clean,
        };
        Output {
            held,
            end: Some(end),
            ..Output::default()
        }
    }

    /// Other code has read the upstream, and ended the stream for this `reason`.
    fn end_as_judged(&mut self, reason: EndReason) -> Judgement {
        let manner = match reason {
            EndReason::Complete => return Judgement::Complete,
            // The connection is dead already, or something is missing after it.
            EndReason::Superseded | EndReason::Lagged | EndReason::GraceOver => Manner::Abort,
            EndReason::Total
            | EndReason::Operator
            | EndReason::Rotated
            | EndReason::Shutdown
            | EndReason::Stopped => {
                if self.is_at_boundary() {
                    Manner::Clean
                } else {
                    Manner::Abort
                }
            }
            EndReason::FirstEventTimeout
            | EndReason::ReadTimeout
            | EndReason::UpstreamClosed
            | EndReason::UpstreamFailed
            | EndReason::NotEvents => return Judgement::Broken,
        };
        self.ended = true;
        Judgement::Over(End { reason, manner })
    }

    /// The stream is to end: now if no event is half sent, else at the next boundary.
    pub fn handle_planned_end(&mut self, reason: EndReason) -> Output<'_> {
        if self.ended || self.planned_end.is_some() {
            return Output::default();
        }
        self.end_at_boundary(reason)
    }

    /// The process drains: the stream ends at `at` or the first boundary after it, unless its `total` timeout ends it before. An
    /// opaque stream shows no boundary, and continues.
    pub fn handle_drain(&mut self, at: Instant) {
        if !self.is_opaque() {
            self.deadlines.shorten_life(at, EndReason::Rotated);
        }
    }

    /// Whether the stream waits for a boundary to end at.
    pub fn is_ending(&self) -> bool {
        self.planned_end.is_some()
    }

    /// The process stops now: the stream ends here, cleanly if no event is half sent.
    pub fn handle_shutdown(&mut self) -> Output<'_> {
        if self.ended {
            return Output::default();
        }
        self.ended = true;
        let manner = if self.is_at_boundary() {
            Manner::Clean
        } else {
            Manner::Abort
        };
        Output {
            end: Some(End {
                reason: EndReason::Shutdown,
                manner,
            }),
            ..Output::default()
        }
    }

    /// What the stream has carried so far.
    pub fn counts(&self) -> Counts {
        Counts {
            events: self.position.events(),
            ..self.counts
        }
    }

    /// When the stream's head went out.
    pub fn opened(&self) -> Instant {
        self.deadlines.opened()
    }

    /// When the upstream last sent a byte; the head counts as one.
    pub fn last_read(&self) -> Instant {
        self.deadlines.last_read()
    }

    fn awaits_first_event(&self) -> bool {
        self.position.events() == 0
            && self.head == Head::Here
            && !(self.is_opaque() && self.counts.bytes > 0)
    }

    fn read_deadline(&self) -> Option<Instant> {
        self.deadlines.read().filter(|_| self.head == Head::Here)
    }

    /// Whether the bytes are not read.
    fn is_opaque(&self) -> bool {
        match self.content {
            Content::Events => false,
            Content::Opaque | Content::Foreign => true,
        }
    }

    /// Whether nothing is half sent. An opaque stream never shows it.
    fn is_at_boundary(&self) -> bool {
        !self.is_opaque() && self.position.is_boundary()
    }

    fn beat(&mut self, client: Client) -> Output<'_> {
        if client == Client::Stalled {
            self.counts.heartbeats_skipped += 1;
            return Output::default();
        }
        let insertion = self.position.insertion();
        if insertion == Insertion::Nothing {
            self.heartbeat_held = true;
            return Output::default();
        }
        if self.position.is_start() {
            self.bom = Bom::Drop(0);
        }
        self.counts.heartbeats += 1;
        let inserted = self
            .heartbeat
            .bytes(self.frame, self.position.id_seen(), insertion);
        Output {
            inserted,
            ..Output::default()
        }
    }

    /// Passes `data` with the heartbeat that was held at the first position that allows it.
    fn pass_with_heartbeat<'a>(&'a mut self, data: &'a [u8]) -> Output<'a> {
        for (index, &byte) in data.iter().enumerate() {
            self.position.step(byte);
            let insertion = self.position.insertion();
            if insertion != Insertion::Nothing {
                let (before, after) = data.split_at(index + 1);
                let id_seen = self.position.id_seen(); // by what came before the insertion
                self.position.advance(after);
                self.heartbeat_held = false;
                self.counts.heartbeats += 1;
                let inserted = self.heartbeat.bytes(self.frame, id_seen, insertion);
                return Output {
                    before,
                    inserted,
                    after,
                    ..Output::default()
                };
            }
        }
        Output {
            before: data,
            ..Output::default()
        }
    }

    fn pass_up_to_boundary<'a>(&mut self, data: &'a [u8]) -> Output<'a> {
        for (index, &byte) in data.iter().enumerate() {
            self.position.step(byte);
            if self.position.is_boundary() {
                let end = self.planned_end.map(|reason| End {
                    reason,
                    manner: Manner::Clean,
                });
                self.ended = true;
                // A client that is no real parser may know blank lines only whole.
                let is_half = byte == b'\r' && data.get(index + 1) == Some(&b'\n');
                return Output {
                    before: &data[..=index + usize::from(is_half)],
                    end,
                    ..Output::default()
                };
            }
        }
        Output {
            before: data,
            ..Output::default()
        }
    }

    fn end_at_boundary(&mut self, reason: EndReason) -> Output<'_> {
        if self.is_opaque() || self.is_at_boundary() {
            // An opaque stream shows no boundary: it is cut, and visibly so.
            let manner = if self.is_opaque() {
                Manner::Abort
            } else {
                Manner::Clean
            };
            self.ended = true;
            return Output {
                end: Some(End { reason, manner }),
                ..Output::default()
            };
        }
        self.planned_end = Some(reason);
        Output::default()
    }

    /// Ends the stream as broken. Inside a half-sent event nothing can be said without dispatching the half.
    fn fail(&mut self, reason: EndReason) -> Output<'_> {
        if self.is_at_boundary() {
            self.last_words = self.failure.bytes(&reason.into());
        }
        self.ended = true;
        let end = End {
            reason,
            manner: Manner::Abort,
        };
        Output {
            inserted: &self.last_words,
            end: Some(end),
            ..Output::default()
        }
    }

    /// Drops a BOM that comes after a comment. Returns the bytes held back earlier that turned out to be something else, and
    /// what is left of `data`.
    fn sort_out_bom<'a>(&mut self, mut data: &'a [u8]) -> (&'static [u8], &'a [u8]) {
        while let Bom::Drop(seen) = self.bom {
            let Some((&byte, rest)) = data.split_first() else {
                break;
            };
            if byte != BOM[usize::from(seen)] {
                self.bom = Bom::Pass;
                return (&BOM[..usize::from(seen)], data);
            }
            self.position.step(byte);
            data = rest;
            self.bom = if seen == 2 {
                Bom::Pass
            } else {
                Bom::Drop(seen + 1)
            };
        }
        (&[], data)
    }
}
