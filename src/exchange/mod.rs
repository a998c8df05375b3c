//! One request and its response: timed, counted, logged, and ended exactly once, also by being dropped.

mod access;
mod ids;
mod open;
mod stream;
mod written;

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use ipnet::IpNet;
use tokio::time::Instant;

use self::access::Record;
pub use self::access::{AccessLine, AccessLog, AccessSink};
pub use self::ids::{Ids, TraceId};
use self::open::OpenRequest;
pub use self::open::{Progress, RouteInfo, Snapshot, WeakProgress, end_stream, snapshots};
use self::stream::StreamTiming;
use crate::client::{ClientAddress, Downstream};
use crate::counters::Local;
use crate::metrics::{Cause, Metrics, Phase, RouteCounters};
use crate::reason::{Reason, Side};
use crate::upstream_stats::UpstreamStats;

/// A request in progress. Dropped before its end, it ends with its client's disconnect.
#[derive(Debug)]
pub struct Exchange {
    metrics: Arc<Metrics>,
    /// The part that is visible to others.
    open: Rc<OpenRequest>,
    /// This thread's counters of its route; none before it has one.
    counters: Option<Local<RouteCounters>>,
    stream: Option<StreamTiming>,
    /// The status of the client's response.
    status: Option<StatusCode>,
    /// When the upstream's head arrived.
    head: Option<Instant>,
    /// The data for its line in the access log, if there is one.
    record: Option<Box<Record>>,
    ended: bool,
    /// Values that are kept as long as the request is in progress.
    held: Option<Box<dyn Any>>,
}

impl Exchange {
    /// A request that has arrived; the `trusted_proxies` may name its client.
    pub fn new<B>(
        metrics: Arc<Metrics>,
        client: Rc<dyn Downstream>,
        request: &Request<B>,
        trusted_proxies: &[IpNet],
    ) -> Self {
        Self {
            metrics,
            open: OpenRequest::new(client, request, trusted_proxies),
            counters: None,
            stream: None,
            status: None,
            head: None,
            record: None,
            ended: false,
            held: None,
        }
    }

    /// The `request` gets a line in the `log` when it is over.
    pub fn record<B>(&mut self, log: &AccessLog, request: &Request<B>) {
        let client_ip = self.open.client_address.ip();
        self.record = Some(Box::new(log.record(request, client_ip)));
    }

    /// Counts more bytes of the response's body.
    pub fn sent(&self, bytes: u64) {
        self.open.sent(bytes);
    }

    /// The IDs of the request.
    pub fn ids(&self) -> &Ids {
        &self.open.ids
    }

    /// The client of the request.
    pub fn client_address(&self) -> ClientAddress {
        self.open.client_address
    }

    /// Keeps `held` for as long as the request is answered.
    pub fn hold(&mut self, held: impl Any) {
        self.held = Some(Box::new(held));
    }

    /// Its progress, for the code that sends it to the upstream.
    pub fn progress(&self) -> Progress {
        Progress::of(&self.open)
    }

    /// Whether an operator has asked for the stream to end.
    pub fn is_to_end(&self) -> bool {
        self.open.is_to_end.get()
    }

    /// The stream ends at its next event boundary, whoever asked for that.
    pub fn ending(&self) {
        self.open.is_to_end.set(true);
    }

    /// The request has a route, whose `counters` are this thread's.
    pub fn take_route(&mut self, route_info: &Arc<RouteInfo>, counters: &Local<RouteCounters>) {
        *self.open.route_info.borrow_mut() = Some(route_info.clone());
        counters.requests_active.increment();
        self.counters = Some(counters.clone());
    }

    /// The request goes to this upstream: from now on, dropping it counts as a cancellation.
    pub fn start_upstream(&mut self, route_info: &Arc<RouteInfo>, health: &Arc<UpstreamStats>) {
        self.open.engage(route_info, health.engage());
    }

    /// The upstream's response head has arrived and goes to the client.
    pub fn head(&mut self, status: StatusCode) {
        self.answered(status);
        self.late_head(Instant::now());
    }

    fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        match &self.counters {
            Some(counters) => counters.answered(status),
            None => self.metrics.answered(status),
        }
    }

    /// The upstream's response head arrived at `now`; the client had one before.
    pub fn late_head(&mut self, now: Instant) {
        self.open.phase.set(Phase::Body);
        self.open.last_read.set(now);
        self.head = Some(now);
        if let Some(counters) = &self.counters {
            counters.head_after(now - self.open.began);
        }
    }

    /// The sidecar responds itself, for `reason`.
    pub fn refuse(&mut self, reason: Reason, detail: Option<&str>) {
        match &self.counters {
            Some(counters) => counters.refused(reason),
            None => self.metrics.refused(reason),
        }
        if let Some(status) = reason.status() {
            self.answered(status);
        }
        self.fail(reason, detail);
    }

    /// It ends for `reason` before the upstream had a response.
    pub fn fail(&mut self, reason: Reason, detail: Option<&str>) {
        // The level has to be a constant of each line.
        macro_rules! line {
            ($level:ident, $sentence:literal) => {
                tracing::$level!(
                    reason = reason.name(),
                    side = reason.side().name(),
                    detail,
                    method = self.open.method.as_str(),
                    path = &*self.open.path,
                    request_id = self.ids().request(),
                    trace_id = self.ids().trace().map(tracing::field::display),
                    route = self.open.route_info().as_ref().map(|info| &*info.route),
                    upstream = self.open.route_info().as_ref().map(|info| &*info.upstream),
                    $sentence
                )
            };
        }
        match reason.side() {
            Side::Upstream => line!(warn, "request failed"),
            Side::Proxy => line!(info, "request refused"),
            // Bad requests must not fill the log.
            Side::Client | Side::None => line!(debug, "request refused"),
        }
        self.end(reason);
    }

    /// The shutdown aborts the response where its client cannot resume.
    pub fn cut(&mut self) {
        self.metrics.cut();
        self.end(Reason::Shutdown);
    }

    /// It is over; only the first call counts.
    pub fn end(&mut self, reason: Reason) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.open.close();
        if let Some(record) = self.record.take() {
            self.write_access(&record, reason);
        }
        if let Some(upstream) = self.open.in_flight.take() {
            if let Some(cause) = Cause::of(reason) {
                upstream.cancelled(cause, self.open.phase.get());
            }
            if reason.side() == Side::Upstream {
                upstream.failed(reason);
            }
        }
        let phase = self.open.phase.get().name();
        let (name, side) = (reason.name(), reason.side().name());
        let (method, path) = (self.open.method.as_str(), &*self.open.path);
        let Some((stream, opened)) = self.stream.as_ref().zip(self.open.opened.get()) else {
            let duration_ms = milliseconds(self.open.began.elapsed());
            tracing::debug!(
                reason = name,
                side,
                method,
                path,
                request_id = self.ids().request(),
                trace_id = self.ids().trace().map(tracing::field::display),
                route = self.open.route_info().as_ref().map(|info| &*info.route),
                upstream = self.open.route_info().as_ref().map(|info| &*info.upstream),
                phase,
                duration_ms,
                "request ended"
            );
            return;
        };
        let now = Instant::now();
        // Nothing is read while the client is stalled: that silence is not the upstream's.
        let last_silence = if self.open.client.is_stalled() {
            Duration::ZERO
        } else {
            now - self.open.last_read.get()
        };
        let longest_silence = stream.longest_silence.max(last_silence);
        let counts = self.open.counts.get();
        if let Some(counters) = &self.counters {
            counters.stream_ended(reason, now - opened);
            if let Some((first, last)) = self.open.first_event.get().zip(stream.last_events) {
                // The last read may not have been forwarded.
                let events = counts.events.saturating_sub(stream.first_events);
                counters.events_came_within(events, last - first);
            }
        }
        tracing::info!(
            reason = name,
            side,
            method,
            path,
            request_id = self.ids().request(),
            trace_id = self.ids().trace().map(tracing::field::display),
            route = self.open.route_info().as_ref().map(|info| &*info.route),
            upstream = self.open.route_info().as_ref().map(|info| &*info.upstream),
            peer = self.open.peer().map(tracing::field::display),
            client = self.open.other_client().map(tracing::field::display),
            time_to_head_ms = self.head.map(|at| milliseconds(at - self.open.began)),
            time_to_first_event_ms = self.open.time_to_first_event().map(milliseconds),
            longest_silence_ms = milliseconds(longest_silence),
            age_ms = milliseconds(now - self.open.began), // as the other times, and as on the status page
            events = counts.events,
            bytes = counts.bytes,
            heartbeats = counts.heartbeats,
            heartbeats_skipped = counts.heartbeats_skipped,
            "stream ended"
        );
    }

    fn write_access(&self, record: &Record, reason: Reason) {
        let now = Instant::now();
        let since = |at: Instant| at - self.open.began;
        let counts = self.open.counts.get();
        let stream = self.stream.as_ref();
        let info = self.open.route_info();
        let is_upstreams = self.open.in_flight.borrow().is_some();
        record.write(&AccessLine {
            client_ip: record.client_ip(),
            peer: self.open.client.peer(),
            is_tls: self.open.client.is_tls(),
            method: Some(&self.open.method),
            path: &self.open.path,
            version: Some(self.open.version),
            status: self.status,
            bytes: stream.map_or_else(|| self.open.bytes_sent(), |_| counts.bytes),
            duration: Some(since(now)),
            // The sidecar's own responses wait for no upstream.
            time_to_head: self.head.filter(|_| is_upstreams).map(since),
            time_to_first_event: self.open.time_to_first_event(),
            upstream: info.as_ref().map(|info| &*info.upstream),
            route: info.as_ref().map(|info| &*info.route),
            reason: Some(reason),
            events: stream.map(|_| counts.events),
            heartbeats: stream.map(|_| counts.heartbeats),
            request_id: self.ids().request(),
            trace_id: self.ids().trace(),
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let reason = self.open.client.cancellation();
        if !self.ended && reason == Reason::Shutdown {
            self.metrics.cut();
        }
        self.end(reason);
        if let Some(counters) = &self.counters {
            counters.requests_active.decrement();
            if self.stream.is_some() {
                counters.streams_active.decrement();
            }
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
