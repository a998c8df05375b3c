//! A thread's requests in progress, for the status page.
//!
//! A request itself keeps everything that the page shows. Being listed costs one slot; an event costs the same with the list as
//! without.

use std::cell::{Cell, Ref, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, Request, Version};
use ipnet::IpNet;
use tokio::time::Instant;

use super::{Ids, TraceId};
use crate::client::{ClientAddress, Downstream, address_text};
use crate::metrics::Phase;
use crate::reason::Reason;
use crate::sse::Counts;
use crate::upstream_stats::InFlight;

thread_local! {
    /// Those of this thread, in no order.
    static LIST: RefCell<Vec<Rc<OpenRequest>>> = const { RefCell::new(Vec::new()) };
}

/// The next number; they are of the whole process.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A request that is being answered, as its [`Exchange`](super::Exchange) and the list share it.
#[derive(Debug)]
pub(super) struct OpenRequest {
    number: u64,
    /// Its index in the list.
    slot: Cell<usize>,
    pub(super) client: Rc<dyn Downstream>,
    /// Determined once: the forwarded fields move to the upstream with the request.
    pub(super) client_address: ClientAddress,
    pub(super) method: Method,
    /// Without the query: it may hold secrets.
    pub(super) path: Box<str>,
    pub(super) version: Version,
    pub(super) ids: Ids,
    pub(super) route_info: RefCell<Option<Arc<RouteInfo>>>,
    /// The upstream has part in it.
    pub(super) in_flight: RefCell<Option<InFlight>>,
    pub(super) began: Instant,
    /// How far its upstream's part has come.
    pub(super) phase: Cell<Phase>,
    /// When the client got the head of an event stream.
    pub(super) opened: Cell<Option<Instant>>,
    pub(super) first_event: Cell<Option<Instant>>,
    pub(super) last_read: Cell<Instant>,
    pub(super) counts: Cell<Counts>,
    /// How many bytes of a response's body, that is no stream, have gone to the client.
    sent: Cell<u64>,
    /// The stream is to end at its next event boundary: an operator wants it, or it was planned.
    pub(super) is_to_end: Cell<bool>,
}

/// The progress of a request, for the code that sends it to the upstream.
#[derive(Debug)]
pub struct Progress(Rc<OpenRequest>);

impl Progress {
    pub(super) fn of(open: &Rc<OpenRequest>) -> Self {
        Self(open.clone())
    }

    /// How far its upstream's part has come.
    pub fn phase(&self) -> &Cell<Phase> {
        &self.0.phase
    }

    /// So many bytes more of the response's body go to the client.
    pub fn sent(&self, bytes: u64) {
        self.0.sent(bytes);
    }

    /// The same, for code that may outlive the request.
    pub fn downgrade(&self) -> WeakProgress {
        WeakProgress(Rc::downgrade(&self.0))
    }

    /// The request goes to this upstream now, and no longer to the one before.
    pub fn engage(&self, route_info: &Arc<RouteInfo>, in_flight: InFlight) {
        self.0.engage(route_info, in_flight);
    }

    /// The upstream that it goes to has failed it, for `reason`, and it goes elsewhere.
    pub fn failed_over(&self, reason: Reason) {
        if let Some(in_flight) = self.0.in_flight.take() {
            in_flight.failed(reason);
        }
    }

    /// When the client got the head of its event stream, if it did.
    pub fn opened(&self) -> Option<Instant> {
        self.0.opened.get()
    }

    /// When the upstream last sent something.
    pub fn last_read(&self) -> Instant {
        self.0.last_read.get()
    }

    /// The upstream's count of this request, for code that continues it: its client's disconnect is no cancellation then.
    pub fn take_in_flight(&self) -> Option<InFlight> {
        self.0.in_flight.take()
    }

    /// Whether the client has the head of an event stream.
    pub fn is_open(&self) -> bool {
        self.0.opened.get().is_some()
    }
}

/// A request, for code that may outlive it.
#[derive(Debug)]
pub struct WeakProgress(Weak<OpenRequest>);

impl WeakProgress {
    /// Whether the request is still being answered.
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// Where a request goes, as its route knows it.
#[derive(Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// The route's name, or its conditions.
    pub route: String,
    /// The upstream's URL.
    pub upstream: String,
}

/// A request as it was at the moment of the question.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its number in this process.
    pub number: u64,
    /// How it is named.
    pub request_id: String,
    /// The trace it is part of.
    pub trace_id: Option<TraceId>,
    /// `None` before a route is found.
    pub route_info: Option<Arc<RouteInfo>>,
    /// Its method.
    pub method: Method,
    /// Its path without the query.
    pub path: String,
    /// The peer's address; none on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The client, if known.
    pub client: ClientAddress,
    /// What the client speaks.
    pub version: Version,
    /// The client speaks it over TLS.
    pub is_tls: bool,
    /// How far the upstream's part has come.
    pub phase: Phase,
    /// Since the request's head.
    pub age: Duration,
    /// Since the upstream's last byte; only of event streams.
    pub silence: Option<Duration>,
    /// From the request's head to the first event; `None` before it.
    pub time_to_first_event: Option<Duration>,
    /// What a stream has carried so far.
    pub counts: Counts,
    /// Bytes wait that the client does not take.
    pub is_stalled: bool,
    /// It is to end at its next event boundary.
    pub is_ending: bool,
}

impl OpenRequest {
    /// Puts a request on this thread's list.
    pub(super) fn new<B>(
        client: Rc<dyn Downstream>,
        request: &Request<B>,
        trusted_proxies: &[IpNet],
    ) -> Rc<Self> {
        let now = Instant::now();
        let client_address = ClientAddress::find(client.peer(), request.headers(), trusted_proxies);
        LIST.with_borrow_mut(|list| {
            let open = Rc::new(Self {
                number: NEXT.fetch_add(1, Ordering::Relaxed),
                slot: Cell::new(list.len()),
                client,
                client_address,
                method: request.method().clone(),
                path: request.uri().path().into(),
                version: request.version(),
                ids: Ids::of(request.headers()),
                route_info: RefCell::default(),
                in_flight: RefCell::default(),
                began: now,
                phase: Cell::new(Phase::Connecting),
                opened: Cell::new(None),
                first_event: Cell::new(None),
                last_read: Cell::new(now),
                counts: Cell::default(),
                sent: Cell::new(0),
                is_to_end: Cell::new(false),
            });
            list.push(open.clone());
            open
        })
    }

    /// Takes it off the list again.
    pub(super) fn close(&self) {
        LIST.with_borrow_mut(|list| {
            list.swap_remove(self.slot.get());
            if let Some(moved) = list.get(self.slot.get()) {
                moved.slot.set(self.slot.get());
            }
        });
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.sent.set(self.sent.get() + bytes);
    }

    pub(super) fn bytes_sent(&self) -> u64 {
        self.sent.get()
    }

    /// Where it goes, with the URL of the upstream, for the log.
    pub(super) fn route_info(&self) -> Ref<'_, Option<Arc<RouteInfo>>> {
        self.route_info.borrow()
    }

    /// It goes to this upstream, and to none that it went to before: giving it up from now on is a cancellation.
    pub(super) fn engage(&self, route_info: &Arc<RouteInfo>, in_flight: InFlight) {
        *self.route_info.borrow_mut() = Some(route_info.clone());
        *self.in_flight.borrow_mut() = Some(in_flight);
    }

    /// The peer's address, for the log.
    pub(super) fn peer(&self) -> Option<String> {
        self.client.peer().map(address_text)
    }

    /// From the request's head to the first event.
    pub(super) fn time_to_first_event(&self) -> Option<Duration> {
        self.first_event.get().map(|at| at - self.began)
    }

    /// The client, where that is not the peer, for the log.
    pub(super) fn other_client(&self) -> Option<ClientAddress> {
        let is_other = ClientAddress::of(self.client.peer()) != self.client_address;
        is_other.then_some(self.client_address)
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        let stream_silence = |_| now.duration_since(self.last_read.get());
        Snapshot {
            number: self.number,
            request_id: self.ids.request().to_owned(),
            trace_id: self.ids.trace(),
            route_info: self.route_info.borrow().clone(),
            method: self.method.clone(),
            path: self.path.to_string(),
            peer: self.client.peer(),
            client: self.client_address,
            version: self.version,
            is_tls: self.client.is_tls(),
            phase: self.phase.get(),
            age: now.duration_since(self.began),
            silence: self.opened.get().map(stream_silence),
            time_to_first_event: self.time_to_first_event(),
            counts: self.counts.get(),
            is_stalled: self.client.is_stalled(),
            is_ending: self.is_to_end.get(),
        }
    }
}

/// The `most` youngest requests that this thread is answering, in no order, and how many there are.
pub fn snapshots(most: usize) -> (Vec<Snapshot>, usize) {
    LIST.with_borrow(|list| {
        let now = Instant::now();
        let mut youngest: Vec<&Rc<OpenRequest>> = list.iter().collect();
        if most < youngest.len() {
            youngest.select_nth_unstable_by_key(most, |open| std::cmp::Reverse(open.number));
            youngest.truncate(most);
        }
        let snapshots = youngest.iter().map(|open| open.snapshot(now)).collect();
        (snapshots, list.len())
    })
}

/// Has the event stream `number` end at its next event boundary, if it is one of this thread's. Its connection has to be woken.
pub fn end_stream(number: u64) -> bool {
    LIST.with_borrow(|list| {
        let mut streams = list.iter().filter(|open| open.opened.get().is_some());
        let found = streams.find(|open| open.number == number);
        found.inspect(|open| open.is_to_end.set(true)).is_some()
    })
}
