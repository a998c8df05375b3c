//! The catalogue of metrics: one field for each, its help text beside it. Labels are enums, never strings off the wire.
//!
//! The life of a stream never enters a request's latency: what is timed is the way to the head, to the first event, and from
//! read to read.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use crate::process;
use crate::reason::{Reason, Side};
use crate::stderr;
use crate::upstream_stats::Upstreams;

/// What a request is doing; the label `phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A connection to the upstream is being made.
    Connecting,
    /// The request is sent, or being sent; there is no response head.
    WaitingForHead,
    /// The body of a response that is no event stream passes.
    Body,
    /// An event stream is open.
    Streaming,
}

/// What came of reading the configuration again; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// It is in force.
    Applied,
    /// It has a mistake, and what was in force stays.
    Rejected,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    requests_active: IntGauge,
    refused: IntCounterVec,
    cancels: IntCounterVec,
    ends: IntCounterVec,
    /// Seconds from a request's head to its response's head.
    pub time_to_head: Histogram,
    /// Seconds from a request's head to the first event of its stream.
    pub time_to_first_event: Histogram,
    /// Seconds between two reads that brought events.
    pub event_gap: Histogram,
    /// Seconds that ended streams were open.
    pub stream_age: Histogram,
    /// Event streams that are open.
    pub streams_active: IntGauge,
    /// Event streams that were opened.
    pub streams: IntCounter,
    /// Those whose client got its head before the upstream's was there.
    pub early_heads: IntCounter,
    /// Events that passed.
    pub events: IntCounter,
    /// Bytes of event streams that passed, decoded.
    pub stream_bytes: IntCounter,
    /// Heartbeats that were written.
    pub heartbeats_sent: IntCounter,
    /// Heartbeats that were due while the client took no bytes.
    pub heartbeats_skipped: IntCounter,
    /// Streams in a coding that cannot be undone.
    pub streams_opaque: IntCounter,
    /// Streams whose suspected buffering.
    pub suspected_buffering: IntCounter,
    /// Responses that the shutdown cut.
    pub cut: IntCounter,
    /// Connections from clients; brought up to date by who asks for the text.
    pub connections_active: IntGauge,
    /// How many of them there may be.
    pub connections_limit: IntGauge,
    /// Connections from clients whose TLS handshake failed, or was not done in time.
    pub tls_handshakes_failed: IntCounter,
    /// Lines that did not get into the log; brought up to date with the text.
    log_lines_lost: IntCounter,
    /// Connections that were made to upstreams.
    pub upstream_connects: IntCounter,
    /// Requests that went out on a connection that was kept open.
    pub upstream_reuses: IntCounter,
    /// How each of them is doing, for the status page.
    pub upstreams: Upstreams,
    reloads: IntCounterVec,
    reload_successful: IntGauge,
    reload_success_time: IntGauge,
}

/// How often something happened for a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Why.
    pub reason: Reason,
    /// How often.
    pub times: u64,
}

/// From a millisecond to the silence that a platform allows.
const SECONDS: [f64; 14] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];
/// From a short answer to a day.
const AGES: [f64; 10] = [
    1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0,
];

impl Metrics {
    /// All of them, at zero.
    ///
    /// # Panics
    ///
    /// Never: the names below are constants, valid and different.
    pub fn new() -> Self {
        let registry = Registry::new();
        let catalogue = Catalogue {
            registry: &registry,
        };
        let metrics = Self {
            requests: catalogue.counters("requests_total", "Requests answered, by the class of their status.", &["status"]),
            requests_active: catalogue.gauge("requests_active", "Requests that are being answered, event streams among them."),
            refused: catalogue.counters(
                "refused_total",
                "Requests and connections that the sidecar answered or closed itself, by reason and by the side it is laid to.",
                &["reason", "side"],
            ),
            cancels: catalogue.counters(
                "upstream_cancels_total",
                "Upstream requests cancelled before their response was complete, by what they were doing.",
                &["phase"],
            ),
            ends: catalogue.counters(
                "stream_ends_total",
                "Event streams that ended, by reason and by the side it is laid to.",
                &["reason", "side"],
            ),
            time_to_head: catalogue.histogram(
                "time_to_head_seconds",
                "From a request's head to its upstream's response head; the body's life is not in it.",
                &SECONDS,
            ),
            time_to_first_event: catalogue.histogram(
                "time_to_first_event_seconds",
                "From a request's head to the first event of its stream.",
                &SECONDS,
            ),
            event_gap: catalogue.histogram(
                "event_gap_seconds",
                "Between two reads from an upstream that brought events of the same stream.",
                &SECONDS,
            ),
            stream_age: catalogue.histogram("stream_age_seconds", "How long event streams were open, when they ended.", &AGES),
            streams_active: catalogue.gauge("streams_active", "Event streams that are open."),
            streams: catalogue.counter("streams_total", "Event streams that were opened."),
            early_heads: catalogue.counter(
                "early_heads_total",
                "Event streams that were opened before the upstream's response head was there (heartbeat.before_head).",
            ),
            events: catalogue.counter("events_total", "Events that passed."),
            stream_bytes: catalogue.counter("stream_bytes_total", "Bytes of event streams that passed, after content decoding."),
            heartbeats_sent: catalogue.counter("heartbeats_sent_total", "Heartbeats that were written."),
            heartbeats_skipped: catalogue
                .counter("heartbeats_skipped_total", "Heartbeats that were due while the client took no bytes."),
            streams_opaque: catalogue.counter(
                "streams_opaque_total",
                "Event streams in a content coding that cannot be undone: they pass without heartbeats.",
            ),
            suspected_buffering: catalogue.counter(
                "suspected_upstream_buffering_total",
                "Event streams on which eight or more events came in one read after two seconds of silence: they were born one by \
                 one, so something in the backend, or between it and the sidecar, seems to collect them. Look there for \
                 compression, response buffering and missing flushes; the log names the path of each stream.",
            ),
            cut: catalogue.counter("cut_total", "Responses that the sidecar's shutdown cut before their end."),
            connections_active: catalogue.gauge("connections_active", "Connections from clients."),
            connections_limit: catalogue.gauge(
                "connections_limit",
                "How many connections from clients there may be (server.max_connections); more are turned away.",
            ),
            tls_handshakes_failed: catalogue.counter(
                "tls_handshakes_failed_total",
                "Connections from clients whose TLS handshake failed, or was not done in time.",
            ),
            log_lines_lost: catalogue.counter(
                "log_lines_lost_total",
                "Log lines that were dropped because whoever reads the log was too slow, or could not be written.",
            ),
            upstream_connects: catalogue.counter("upstream_connects_total", "Connections made to upstreams."),
            upstream_reuses: catalogue
                .counter("upstream_reuses_total", "Requests sent on an upstream connection that was kept open."),
            upstreams: Upstreams::default(),
            reloads: catalogue.counters(
                "config_reloads_total",
                "How often the configuration was read again, by what came of it: applied, or rejected because of a mistake.",
                &["result"],
            ),
            reload_successful: catalogue.gauge(
                "config_last_reload_successful",
                "Whether the configuration that was read last is in force: 0 while its file has a mistake.",
            ),
            reload_success_time: catalogue.gauge(
                "config_last_reload_success_timestamp_seconds",
                "When the configuration in force was read, in seconds since unix epoch.",
            ),
            registry,
        };
        metrics.configured();
        metrics.show_zeros();
        show_version(&metrics.registry);
        metrics
    }

    /// A response's head goes out.
    pub fn answered(&self, status: http::StatusCode) {
        let class = match status.as_u16() {
            100..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.requests.with_label_values(&[class]).inc();
    }

    /// A request or a connection is answered by the sidecar itself.
    pub fn refused(&self, reason: Reason) {
        self.refused
            .with_label_values(&[reason.name(), reason.side().name()])
            .inc();
    }

    /// An upstream request is given up before its response was complete.
    pub fn cancelled(&self, phase: Phase) {
        self.cancels.with_label_values(&[phase.name()]).inc();
    }

    /// An event stream ended.
    pub fn stream_ended(&self, reason: Reason) {
        self.ends
            .with_label_values(&[reason.name(), reason.side().name()])
            .inc();
    }

    /// How often event streams ended, by reason.
    pub fn stream_ends(&self) -> Vec<Count> {
        counts(&self.ends)
    }

    /// How often the sidecar answered itself, by reason.
    pub fn refusals(&self) -> Vec<Count> {
        counts(&self.refused)
    }

    /// The configuration was read again.
    pub fn reloaded(&self, reload: Reload) {
        self.reloads.with_label_values(&[reload.name()]).inc();
        match reload {
            Reload::Applied => self.configured(),
            Reload::Rejected => self.reload_successful.set(0),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a timestamp is of the wall clock"
    )]
    fn configured(&self) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = since_epoch.map_or(0, |time| time.as_secs());
        self.reload_success_time
            .set(i64::try_from(seconds).unwrap_or(i64::MAX));
        self.reload_successful.set(1);
    }

    /// A request begins; it ends with the guard.
    pub fn request(&self) -> Active {
        Active::of(&self.requests_active)
    }

    /// An event stream opens; it ends with the guard.
    pub fn stream(&self) -> Active {
        self.streams.inc();
        Active::of(&self.streams_active)
    }

    /// The Prometheus text format, version 0.0.4.
    ///
    /// # Panics
    ///
    /// Never: it is written to memory.
    pub fn text(&self) -> Vec<u8> {
        let lost = stderr::lost().saturating_sub(self.log_lines_lost.get());
        self.log_lines_lost.inc_by(lost);
        let mut text = Vec::new();
        let families = self.registry.gather();
        TextEncoder::new()
            .encode(&families, &mut text)
            .expect("writing to memory does not fail");
        text.extend(process::metrics().into_bytes());
        text
    }

    /// A series that appears with its first increment is one that an alert cannot see coming.
    fn show_zeros(&self) {
        for reason in Reason::ALL {
            let labels = [reason.name(), reason.side().name()];
            // Without a PROXY header there is nobody to answer, and no stream that could end.
            let is_answered = reason.status().is_some() || reason == Reason::ProxyHeaderInvalid;
            if is_answered {
                self.refused.with_label_values(&labels);
            }
            // After an early head the stream's end is all that can tell of what else had been answered.
            let may_be_late = reason.side() == Side::Upstream
                || matches!(
                    reason,
                    Reason::RequestBodyTimeout
                        | Reason::RequestBodyFailed
                        | Reason::RequestBodyTooLarge
                );
            if !is_answered || may_be_late {
                self.ends.with_label_values(&labels);
            }
        }
        for phase in [
            Phase::Connecting,
            Phase::WaitingForHead,
            Phase::Body,
            Phase::Streaming,
        ] {
            self.cancels.with_label_values(&[phase.name()]);
        }
        for reload in [Reload::Applied, Reload::Rejected] {
            self.reloads.with_label_values(&[reload.name()]);
        }
    }
}

/// What a family with the labels of a reason has counted, of the reasons that it has.
fn counts(family: &IntCounterVec) -> Vec<Count> {
    let families = family.collect();
    let series = || families.iter().flat_map(MetricFamily::get_metric);
    let has = |reason: &Reason| {
        let labels = series().flat_map(Metric::get_label);
        labels
            .into_iter()
            .any(|label| label.value() == reason.name())
    };
    let count = |reason: Reason| {
        let labels = [reason.name(), reason.side().name()];
        let times = family.with_label_values(&labels).get();
        Count { reason, times }
    };
    Reason::ALL.into_iter().filter(has).map(count).collect()
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Phase {
    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::WaitingForHead => "waiting_for_head",
            Self::Body => "body",
            Self::Streaming => "streaming",
        }
    }
}

impl Reload {
    fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Rejected => "rejected",
        }
    }
}

/// One of what a gauge counts, for as long as this lives.
#[derive(Debug)]
pub struct Active(IntGauge);

impl Active {
    fn of(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A gauge that is always 1: the version is a label, to be joined to others.
fn show_version(registry: &Registry) {
    let opts = Opts::new(Catalogue::name("build_info"), "The version that runs.");
    let opts = opts.const_label("version", env!("CARGO_PKG_VERSION"));
    Catalogue { registry }
        .register(IntGauge::with_opts(opts))
        .set(1);
}

/// Registers metrics under the project's prefix.
struct Catalogue<'a> {
    registry: &'a Registry,
}

impl Catalogue<'_> {
    fn name(name: &str) -> String {
        format!("sse_sidecar_{name}")
    }

    fn register<C: Collector + Clone + 'static>(&self, metric: prometheus::Result<C>) -> C {
        let metric = metric.expect("a constant and valid name");
        self.registry
            .register(Box::new(metric.clone()))
            .expect("every name is used once");
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(Self::name(name), help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(
            Opts::new(Self::name(name), help),
            labels,
        ))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(Self::name(name), help))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::new(Self::name(name), help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(opts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_there_from_the_start_with_its_help() {
        let metrics = Metrics::new();
        let guard = metrics.stream();
        let text = String::from_utf8(metrics.text()).unwrap();
        for line in [
            "# HELP sse_sidecar_streams_active Event streams that are open.",
            "# TYPE sse_sidecar_time_to_head_seconds histogram",
            "sse_sidecar_streams_active 1",
            r#"sse_sidecar_stream_ends_total{reason="client_gone",side="client"} 0"#,
            r#"sse_sidecar_refused_total{reason="upstream_head_timeout",side="upstream"} 0"#,
            r#"sse_sidecar_refused_total{reason="proxy_header_invalid",side="client"} 0"#,
            r#"sse_sidecar_stream_ends_total{reason="upstream_head_timeout",side="upstream"} 0"#,
            r#"sse_sidecar_upstream_cancels_total{phase="streaming"} 0"#,
        ] {
            assert!(
                text.lines().any(|seen| seen == line),
                "{line} is not in\n{text}"
            );
        }
        drop(guard);
        assert!(
            String::from_utf8(metrics.text())
                .unwrap()
                .contains("sse_sidecar_streams_active 0")
        );
    }
}
