//! One request and its response: timed, counted, logged, and ended exactly once, also by being dropped.

mod ids;
mod open;

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use ipnet::IpNet;
use tokio::time::Instant;

pub use self::ids::{Ids, TraceId};
use self::open::Open;
pub use self::open::{Progress, RouteInfo, Snapshot, WeakProgress, end_stream, snapshots};
use crate::client::{ClientAddress, Downstream};
use crate::metrics::{Active, Metrics, Phase};
use crate::reason::{Reason, Side};
use crate::sse::Counts;
use crate::upstream_stats::{InFlight, UpstreamStats};

/// A request that is being answered. Dropped before its end, it ends with its client's departure.
#[derive(Debug)]
pub struct Exchange {
    metrics: Arc<Metrics>,
    /// What others see of it.
    open: Rc<Open>,
    /// The upstream has part in it.
    upstream: Option<InFlight>,
    stream: Option<Stream>,
    ended: bool,
    /// What the request has for as long as it is answered.
    held: Option<Box<dyn Any>>,
    _active: Active,
}

/// What else is known of an event stream.
#[derive(Debug)]
struct Stream {
    /// When the upstream's head came.
    head: Option<Instant>,
    first_event: Option<Instant>,
    /// When a read last brought events.
    last_events: Option<Instant>,
    /// Between two reads, or before the first.
    longest_silence: Duration,
    suspected: bool,
    _active: Active,
}

/// So many events in one read, after so long a silence, are not how events are born: something collects them.
const SUSPICIOUS_EVENTS: u64 = 8;
const SUSPICIOUS_SILENCE: Duration = Duration::from_secs(2);

impl Exchange {
    /// A request has arrived; the `trusted_proxies` are believed what they say of its client.
    pub fn new<B>(
        metrics: Arc<Metrics>,
        client: Rc<dyn Downstream>,
        request: &Request<B>,
        trusted_proxies: &[IpNet],
    ) -> Self {
        let active = metrics.request();
        Self {
            metrics,
            open: Open::new(client, request, trusted_proxies),
            upstream: None,
            stream: None,
            ended: false,
            held: None,
            _active: active,
        }
    }

    /// How the request is named.
    pub fn ids(&self) -> &Ids {
        &self.open.ids
    }

    /// Whose request it is.
    pub fn client_address(&self) -> ClientAddress {
        self.open.client_address
    }

    /// Keeps `held` for as long as the request is answered.
    pub fn hold(&mut self, held: impl Any) {
        self.held = Some(Box::new(held));
    }

    /// How far it has come; for whoever sends it to the upstream, and moves it on.
    pub fn progress(&self) -> Progress {
        Progress::of(&self.open)
    }

    /// Whether an operator wants the stream to end.
    pub fn is_to_end(&self) -> bool {
        self.open.is_to_end.get()
    }

    /// The stream ends at its next event boundary, whoever wanted it.
    pub fn ending(&self) {
        self.open.is_to_end.set(true);
    }

    /// The request goes to an upstream, this `way`: giving it up from now on is a cancellation.
    pub fn start_upstream(&mut self, route_info: &Arc<RouteInfo>, health: &Arc<UpstreamStats>) {
        self.open.route_info.get_or_init(|| route_info.clone());
        self.upstream = Some(health.engage());
    }

    /// The upstream's response head is here and goes to the client.
    pub fn head(&mut self, status: StatusCode) {
        self.metrics.answered(status);
        self.late_head(Instant::now());
    }

    /// The client gets the head of an event stream ahead of the upstream's.
    pub fn early_head(&mut self) {
        self.metrics.answered(StatusCode::OK);
        self.metrics.early_heads.inc();
        let stream = self.begin_stream();
        tracing::info!(
            method = self.open.method.as_str(),
            path = &*self.open.path,
            request_id = self.ids().request(),
            trace_id = self.ids().trace().map(tracing::field::display),
            upstream = self.open.upstream(),
            peer = self.open.peer().map(tracing::field::display),
            client = self.open.other_client().map(tracing::field::display),
            waited_ms = milliseconds(self.open.began.elapsed()),
            phase = self.open.phase.get().name(),
            "early head"
        );
        self.stream = Some(stream);
    }

    /// The upstream's response head came at `now`; the client had its own before.
    pub fn late_head(&mut self, now: Instant) {
        self.open.phase.set(Phase::Body);
        self.open.last_read.set(now);
        if let Some(stream) = &mut self.stream {
            stream.head = Some(now);
        }
        let since = now - self.open.began;
        self.metrics.time_to_head.observe(since.as_secs_f64());
    }

    fn begin_stream(&self) -> Stream {
        let now = Instant::now();
        self.open.opened.set(Some(now));
        Stream {
            head: None,
            first_event: None,
            last_events: None,
            longest_silence: Duration::ZERO,
            suspected: false,
            _active: self.metrics.stream(),
        }
    }

    /// The response is an event stream.
    pub fn open_stream(&mut self, status: StatusCode, opaque: bool) {
        let now = Instant::now();
        self.open.phase.set(Phase::Streaming);
        self.open.last_read.set(now);
        if opaque {
            self.metrics.streams_opaque.inc();
        }
        let early_head = self.stream.is_some();
        let mut stream = self.stream.take().unwrap_or_else(|| self.begin_stream());
        stream.head.get_or_insert(now);
        self.stream = Some(stream);
        tracing::info!(
            method = self.open.method.as_str(),
            path = &*self.open.path,
            request_id = self.ids().request(),
            trace_id = self.ids().trace().map(tracing::field::display),
            status = status.as_u16(),
            upstream = self.open.upstream(),
            peer = self.open.peer().map(tracing::field::display),
            client = self.open.other_client().map(tracing::field::display),
            time_to_head_ms = milliseconds(now - self.open.began),
            opaque,
            early_head,
            "stream opened"
        );
    }

    /// A read from the upstream brought the stream to `counts`, after `silence`.
    pub fn read(&mut self, now: Instant, silence: Duration, counts: &Counts) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        self.open.last_read.set(now);
        stream.longest_silence = stream.longest_silence.max(silence);
        let events = counts.events - self.open.counts.get().events;
        if events == 0 {
            return;
        }
        if let Some(last) = stream.last_events.replace(now) {
            self.metrics.event_gap.observe((now - last).as_secs_f64());
        } else {
            stream.first_event = Some(now);
            let since = now - self.open.began;
            self.metrics
                .time_to_first_event
                .observe(since.as_secs_f64());
        }
        if events >= SUSPICIOUS_EVENTS && silence >= SUSPICIOUS_SILENCE && !stream.suspected {
            stream.suspected = true;
            self.metrics.suspected_buffering.inc();
            tracing::warn!(
                path = &*self.open.path,
                request_id = self.open.ids.request(),
                events,
                silence_ms = milliseconds(silence),
                "many events at once after a long silence: suspected buffering in front of or in the upstream"
            );
        }
    }

    /// The stream has come to `counts`.
    pub fn passed(&mut self, counts: &Counts) {
        let before = self.open.counts.replace(*counts);
        let add = |counter: &prometheus::IntCounter, now: u64, before: u64| {
            if now > before {
                counter.inc_by(now - before);
            }
        };
        add(&self.metrics.events, counts.events, before.events);
        add(&self.metrics.stream_bytes, counts.bytes, before.bytes);
        add(
            &self.metrics.heartbeats_sent,
            counts.heartbeats,
            before.heartbeats,
        );
        add(
            &self.metrics.heartbeats_skipped,
            counts.heartbeats_skipped,
            before.heartbeats_skipped,
        );
    }

    /// The sidecar answers itself, for `reason`.
    pub fn refuse(&mut self, reason: Reason, detail: Option<&str>) {
        self.metrics.refused(reason);
        if let Some(status) = reason.status() {
            self.metrics.answered(status);
        }
        self.fail(reason, detail);
    }

    /// It ends for `reason` before there was an answer of the upstream's to pass on.
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
                    upstream = self.open.upstream(),
                    $sentence
                )
            };
        }
        match reason.side() {
            Side::Upstream => line!(warn, "request failed"),
            Side::Proxy => line!(info, "request refused"),
            // Whoever sends bad requests must not fill the log with them.
            Side::Client | Side::None => line!(debug, "request refused"),
        }
        self.end(reason);
    }

    /// The shutdown cuts the response where its client cannot go on.
    pub fn cut(&mut self) {
        self.metrics.cut.inc();
        self.end(Reason::Shutdown);
    }

    /// It is over; only the first call counts.
    pub fn end(&mut self, reason: Reason) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.open.close();
        let gave_up = matches!(reason.side(), Side::Client | Side::Proxy)
            || matches!(
                reason,
                Reason::UpstreamHeadTimeout
                    | Reason::UpstreamReadTimeout
                    | Reason::UpstreamFirstEventTimeout
            );
        if let Some(upstream) = self.upstream.take() {
            if gave_up {
                self.metrics.cancelled(self.open.phase.get());
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
                upstream = self.open.upstream(),
                phase,
                duration_ms,
                "request ended"
            );
            return;
        };
        let now = Instant::now();
        // Nothing is read while the client takes nothing: that silence is not the upstream's.
        let last_silence = if self.open.client.is_stalled() {
            Duration::ZERO
        } else {
            now - self.open.last_read.get()
        };
        let longest_silence = stream.longest_silence.max(last_silence);
        self.metrics.stream_ended(reason);
        self.metrics
            .stream_age
            .observe((now - opened).as_secs_f64());
        let counts = self.open.counts.get();
        tracing::info!(
            reason = name,
            side,
            method,
            path,
            request_id = self.ids().request(),
            trace_id = self.ids().trace().map(tracing::field::display),
            upstream = self.open.upstream(),
            peer = self.open.peer().map(tracing::field::display),
            client = self.open.other_client().map(tracing::field::display),
            time_to_head_ms = stream.head.map(|at| milliseconds(at - self.open.began)),
            time_to_first_event_ms = stream
                .first_event
                .map(|at| milliseconds(at - self.open.began)),
            longest_silence_ms = milliseconds(longest_silence),
            age_ms = milliseconds(now - self.open.began), // as the other times, and as on the status page
            events = counts.events,
            bytes = counts.bytes,
            heartbeats = counts.heartbeats,
            heartbeats_skipped = counts.heartbeats_skipped,
            "stream ended"
        );
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let reason = self.open.client.cancellation();
        if !self.ended && reason == Reason::Shutdown {
            self.metrics.cut.inc();
        }
        self.end(reason);
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
