//! The catalogue: every family with its help text, in Prometheus' format.
//!
//! A series that appears with its first increment cannot be alerted on: so every series that may occur exists from the start, at
//! zero.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::route::{AGES, CLASSES, RATES, RouteCounters, SECONDS};
use super::text::{Kind, Labels, Text};
use super::{Cause, Certificate, Metrics, Phase, Reload};
use crate::counters::{Counter, Histogram};
use crate::output;
use crate::reason::{Reason, Side};
use crate::upstream_stats::Report;

/// A counter or gauge that each route has one of.
struct OfRoute {
    kind: Kind,
    name: &'static str,
    help: &'static str,
    counter: fn(&RouteCounters) -> &Counter,
}

const OF_ROUTE: [OfRoute; 10] = [
    OfRoute {
        kind: Kind::Gauge,
        name: "requests_active",
        help: "Requests in progress, event streams included, by route.",
        counter: |route| &route.requests_active,
    },
    OfRoute {
        kind: Kind::Gauge,
        name: "streams_active",
        help: "Open event streams.",
        counter: |route| &route.streams_active,
    },
    OfRoute {
        kind: Kind::Counter,
        name: "streams_total",
        help: "Event streams that were opened.",
        counter: |route| &route.streams,
    },
    OfRoute {
        kind: Kind::Counter,
        name: "early_heads_total",
        help: "Event streams that were opened before the upstream's response head arrived (heartbeat.before_head).",
        counter: |route| &route.early_heads,
    },
    OfRoute {
        kind: Kind::Counter,
        name: "events_total",
        help: "Events forwarded; tokens, where a model sends one in each.",
        counter: |route| &route.events,
    },
    OfRoute {
        kind: Kind::Counter,
        name: "stream_bytes_total",
        help: "Bytes of event streams forwarded, after content decoding.",
        counter: |route| &route.stream_bytes,
    },
    OfRoute {
        kind: Kind::Counter,
        name: "heartbeats_sent_total",
        help: "Heartbeats written.",
        counter: |route| &route.heartbeats_sent,
    },
    OfRoute {
        kind: Kind::Counter,
        name: "heartbeats_skipped_total",
        help: "Heartbeats due while the client accepted no bytes.",
        counter: |route| &route.heartbeats_skipped,
    },
    OfRoute {
        kind: Kind::Counter,
        name: "streams_opaque_total",
        help: "Event streams in a content coding that cannot be decoded: they are forwarded without heartbeats.",
        counter: |route| &route.streams_opaque,
    },
    OfRoute {
        kind: Kind::Counter,
        name: "suspected_upstream_buffering_total",
        help: "Event streams on which eight or more events came in one read after two seconds of silence: they were produced one by one, so \
               something in the backend, or between it and the sidecar, seems to collect them. Look there for compression, response \
               buffering and missing flushes; the log names the path of each stream.",
        counter: |route| &route.suspected_buffering,
    },
];

type Routes = [(Box<str>, RouteCounters)];

/// All families of the sidecar's own.
pub(super) fn text(metrics: &Metrics) -> String {
    let mut text = Text::default();
    let routes = metrics.by_route();
    requests(&mut text, metrics, &routes);
    for OfRoute {
        kind,
        name,
        help,
        counter,
    } in OF_ROUTE
    {
        let mut family = text.family(kind, name, help);
        for (route, counters) in &routes {
            family.sample(&[("route", route)], counter(counters).get());
        }
    }
    times(&mut text, &routes);
    metrics.resume.text(&mut text);
    upstreams(&mut text, &metrics.upstreams.report());
    process(&mut text, metrics);
    certificates(&mut text, metrics);
    text.finish()
}

/// How requests and streams ended.
fn requests(text: &mut Text, metrics: &Metrics, routes: &Routes) {
    let mut family = text.family(
        Kind::Counter,
        "requests_total",
        "Responses, by route and by the class of their status; requests that matched no route have none.",
    );
    for (index, class) in CLASSES.into_iter().enumerate() {
        for (route, counters) in routes {
            let labels = [("route", &**route), ("status", class)];
            family.sample(&labels, counters.requests[index].get());
        }
        let times = metrics.requests.get(index);
        if times > 0 || matches!(class, "4xx" | "5xx") {
            family.sample(&[("status", class)], times);
        }
    }

    let mut family = text.family(
        Kind::Counter,
        "refused_total",
        "Requests and connections that the sidecar answered or closed itself, by reason and by the side it is attributed to; those that \
         had no route yet have no route.",
    );
    for reason in Reason::ALL {
        let (name, side) = (reason.name(), reason.side().name());
        for (route, counters) in routes {
            let times = counters.refused[reason.index()].get();
            if times > 0 || reason.status().is_some() && !precedes_route(reason) {
                family.sample(&[("reason", name), ("route", route), ("side", side)], times);
            }
        }
        let times = metrics.refused.get(reason.index());
        if times > 0 || precedes_route(reason) {
            family.sample(&[("reason", name), ("side", side)], times);
        }
    }

    let mut family = text.family(
        Kind::Counter,
        "stream_ends_total",
        "Event streams that ended, by reason and by the side it is attributed to.",
    );
    for reason in Reason::ALL {
        let (name, side) = (reason.name(), reason.side().name());
        for (route, counters) in routes {
            let times = counters.ends[reason.index()].get();
            if times > 0 || ends_streams(reason) {
                family.sample(&[("reason", name), ("route", route), ("side", side)], times);
            }
        }
    }
}

/// Whether this happens before a request has a route, so that it ends no stream.
fn precedes_route(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ProxyHeaderInvalid
            | Reason::TlsExpected
            | Reason::RequestMalformed
            | Reason::RequestHeadTooLarge
            | Reason::RequestUriTooLong
            | Reason::RequestHeadTimeout
            | Reason::MethodRefused
            | Reason::RapidReset
            | Reason::NoRoute
            | Reason::TooManyConnections
    )
}

/// Whether a stream may end for this reason: after an early head, its end reports what would otherwise have been a response.
fn ends_streams(reason: Reason) -> bool {
    let may_be_late = reason.side() == Side::Upstream
        || matches!(
            reason,
            Reason::RequestBodyTimeout
                | Reason::RequestBodyFailed
                | Reason::RequestBodyTooLarge
                | Reason::UpstreamBusy
        );
    may_be_late || reason.status().is_none() && !precedes_route(reason)
}

/// How long things took.
fn times(text: &mut Text, routes: &Routes) {
    let mut of_route = |name, help, histogram: fn(&RouteCounters) -> &Histogram<14>| {
        let mut family = text.family(Kind::Histogram, name, help);
        for (route, counters) in routes {
            family.histogram(&[("route", route)], &SECONDS, histogram(counters));
        }
    };
    of_route(
        "time_to_head_seconds",
        "From a request's head to its upstream's response head; the body does not count.",
        |route| &route.time_to_head,
    );
    of_route(
        "time_to_first_event_seconds",
        "From a request's head to the first event of its stream.",
        |route| &route.time_to_first_event,
    );
    of_route(
        "event_gap_seconds",
        "Time between two reads from an upstream that brought events of the same stream.",
        |route| &route.event_gap,
    );
    let mut family = text.family(
        Kind::Histogram,
        "stream_age_seconds",
        "The age of event streams when they ended.",
    );
    for (route, counters) in routes {
        family.histogram(&[("route", route)], &AGES, &counters.stream_age);
    }
    let mut family = text.family(
        Kind::Histogram,
        "stream_events_per_second",
        "The rate of a stream's events after the first ones, when it ended.",
    );
    for (route, counters) in routes {
        family.histogram(&[("route", route)], &RATES, &counters.event_rate);
    }
}

fn upstreams(text: &mut Text, upstreams: &[Report]) {
    let mut of_upstream = |kind, name, help, number: fn(&Report) -> u64| {
        let mut family = text.family(kind, name, help);
        for report in upstreams {
            family.sample(&[("upstream", &report.url)], number(report));
        }
    };
    of_upstream(
        Kind::Counter,
        "upstream_connects_total",
        "Connections made to upstreams.",
        |report| report.connects,
    );
    of_upstream(
        Kind::Counter,
        "upstream_reuses_total",
        "Requests sent on a kept upstream connection.",
        |report| report.reuses,
    );
    of_upstream(
        Kind::Gauge,
        "upstream_requests_active",
        "Requests in progress at an upstream, event streams included.",
        |report| report.active as u64,
    );
    let mut family = text.family(
        Kind::Counter,
        "upstream_failures_total",
        "Requests and streams that failed because of an upstream, by reason.",
    );
    for report in upstreams {
        for reason in Reason::ALL {
            if reason.side() == Side::Upstream {
                let labels = [("reason", reason.name()), ("upstream", &*report.url)];
                family.sample(&labels, report.failures_by_reason[reason.index()]);
            }
        }
    }
    let mut family = text.family(
        Kind::Counter,
        "upstream_cancels_total",
        "Upstream requests cancelled before their response was complete, by cause and phase.",
    );
    for report in upstreams {
        for cause in Cause::ALL {
            for phase in Phase::ALL {
                let labels: Labels<'_> = &[
                    ("cause", cause.name()),
                    ("phase", phase.name()),
                    ("upstream", &report.url),
                ];
                family.sample(labels, report.cancels(cause, phase));
            }
        }
    }
}

/// Metrics of the whole process.
fn process(text: &mut Text, metrics: &Metrics) {
    let mut one = |kind, name, help, value: u64| text.family(kind, name, help).sample(&[], value);
    let loaded = |number: &std::sync::atomic::AtomicUsize| number.load(Ordering::Relaxed) as u64;
    one(
        Kind::Counter,
        "cut_total",
        "Responses that the sidecar's shutdown aborted.",
        metrics.cuts(),
    );
    one(
        Kind::Gauge,
        "connections_active",
        "Open client connections.",
        loaded(&metrics.connections_active),
    );
    one(
        Kind::Gauge,
        "connections_limit",
        "The limit of client connections (server.max_connections); more are rejected.",
        loaded(&metrics.connections_limit),
    );
    one(
        Kind::Counter,
        "tls_handshakes_failed_total",
        "Connections from clients whose TLS handshake failed, or was not done in time.",
        metrics.tls_handshakes_failed.load(Ordering::Relaxed),
    );
    one(
        Kind::Counter,
        "log_lines_lost_total",
        "Log lines that were dropped because the log's reader was too slow, or could not be written.",
        output::lost(),
    );
    one(
        Kind::Gauge,
        "config_last_reload_successful",
        "Whether the last reload succeeded: 0 while the configuration file has an error.",
        u64::from(!metrics.reload_rejected.load(Ordering::Relaxed)),
    );
    one(
        Kind::Gauge,
        "config_last_reload_success_timestamp_seconds",
        "When the current configuration was loaded, in seconds since unix epoch.",
        metrics.reload_success_time.load(Ordering::Relaxed),
    );
    let mut family = text.family(
        Kind::Counter,
        "config_reloads_total",
        "Reloads of the configuration by result: applied, or rejected because of an error.",
    );
    for reload in Reload::ALL {
        let times = metrics.reloads.get(reload as usize);
        family.sample(&[("result", reload.name())], times);
    }
    // Always 1: the version is a label, to be joined to others.
    let mut family = text.family(Kind::Gauge, "build_info", "The running version.");
    family.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
}

fn certificates(text: &mut Text, metrics: &Metrics) {
    let certificates = metrics
        .certificates
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let mut of_certificate = |name, help, time: fn(&Certificate) -> i64| {
        let mut family = text.family(Kind::Gauge, name, help);
        for certificate in &*certificates {
            let labels = [("file", &*certificate.file), ("owner", certificate.owner)];
            family.sample(&labels, time(certificate));
        }
    };
    of_certificate(
        "certificate_expiry_timestamp_seconds",
        "When a certificate in use expires, in seconds since unix epoch.",
        |certificate| certificate.not_after,
    );
    of_certificate(
        "certificate_not_before_timestamp_seconds",
        "When a certificate in use becomes valid, in seconds since unix epoch.",
        |certificate| certificate.not_before,
    );
}
