//! The current state of the process as JSON, for the page and for programs.

use std::sync::Arc;
use std::time::Duration;

use http::Version;
use serde_json::{Value, json};

use super::Admin;
use crate::config::Problem;
use crate::exchange::{Snapshot, snapshots};
use crate::metrics::{Count, RouteCounters};
use crate::resume::{KeptStream, Streams};
use crate::server::ShutdownWatch;
use crate::upstream_stats;

/// How long workers have to respond; one that is busy for longer is reported as such.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// The most requests that each worker reports and the page shows: enough for a person, and little work for the worker.
const MOST: usize = 500;

/// Gathers the state of all workers.
pub(super) async fn gather(admin: &Admin) -> String {
    let answers = admin
        .workers
        .ask(PATIENCE, |_: &ShutdownWatch| snapshots(MOST))
        .await;
    let workers = json!({ "all": answers.len(), "answered": answers.iter().flatten().count() });
    let (mut requests, mut open) = (Vec::new(), 0);
    for (mut snapshots, all) in answers.into_iter().flatten() {
        requests.append(&mut snapshots);
        open += all;
    }
    requests.sort_unstable_by_key(|request| std::cmp::Reverse(request.number));
    requests.truncate(MOST);
    let metrics = &admin.metrics;
    let total = metrics.total();
    let shown = admin.shown.borrow();
    let status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": if admin.is_ready() { "running" } else { "draining" },
        "uptime_ms": milliseconds(admin.started.elapsed()),
        "connections": admin.workers.connections(),
        "max_connections": shown.max_connections,
        "workers": workers,
        "requests_open": open,
        "requests": requests.iter().map(request).collect::<Vec<_>>(),
        "totals": {
            "streams_active": total.streams_active.get(),
            "streams": total.streams.get(),
            "events": total.events.get(),
            "bytes": total.stream_bytes.get(),
            "heartbeats": total.heartbeats_sent.get(),
            "heartbeats_skipped": total.heartbeats_skipped.get(),
            "streams_opaque": total.streams_opaque.get(),
            "suspected_upstream_buffering": total.suspected_buffering.get(),
        },
        "stream_ends": counts(metrics.stream_ends()),
        "refused": counts(metrics.refusals()),
        "routes": metrics.by_route().iter().map(route).collect::<Vec<_>>(),
        "upstreams": metrics.upstreams.report().iter().map(upstream).collect::<Vec<_>>(),
        "detached": detached(&admin.streams),
        "certificates": admin.certificates.for_status(),
        "allow_ending": shown.allow_ending,
        "config": shown.text,
        "config_waiting": shown.waiting.iter().map(problem).collect::<Vec<_>>(),
        "config_rejected": shown.rejected.iter().flatten().map(problem).collect::<Vec<_>>(),
    });
    status.to_string()
}

fn request(snapshot: &Snapshot) -> Value {
    let Snapshot {
        number,
        request_id,
        trace_id,
        route_info,
        method,
        path,
        peer,
        client,
        version,
        is_tls,
        phase,
        age,
        silence,
        time_to_first_event,
        counts,
        is_stalled,
        is_ending,
    } = snapshot;
    json!({
        "number": number,
        "request_id": request_id,
        "trace_id": trace_id.map(|id| id.to_string()),
        "route": route_info.as_ref().map(|route_info| &route_info.route),
        "upstream": route_info.as_ref().map(|route_info| &route_info.upstream),
        "method": method.as_str(),
        "path": path,
        "peer": peer.map(|peer| peer.to_string()),
        "client": client.ip().map(|ip| ip.to_string()),
        "protocol": protocol(*version),
        "tls": is_tls,
        "phase": phase.name(),
        "age_ms": milliseconds(*age),
        "silence_ms": silence.map(milliseconds),
        "time_to_first_event_ms": time_to_first_event.map(milliseconds),
        "events": counts.events,
        "bytes": counts.bytes,
        "heartbeats": counts.heartbeats,
        "heartbeats_skipped": counts.heartbeats_skipped,
        "stalled": is_stalled,
        "ending": is_ending,
    })
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// Reasons that have not occurred are left out.
fn counts(counts: Vec<Count>) -> Vec<Value> {
    let happened = counts.into_iter().filter(|count| count.times > 0);
    let value = |Count { reason, times }: Count| json!({ "reason": reason.name(), "side": reason.side().name(), "title": reason.title(), "times": times });
    happened.map(value).collect()
}

/// Without the line itself, and without the message where the file is no TOML: both may show a part of a secret.
fn problem(problem: &Problem) -> Value {
    let Problem {
        severity: _,
        key,
        message,
        help,
        place,
    } = problem;
    json!({
        "key": key,
        "message": message,
        "help": help.as_ref().filter(|_| key.is_some() || place.is_none()),
        "line": place.as_ref().map(|place| place.line),
    })
}

/// The streams that go on while nobody reads them, the oldest first.
fn detached(streams: &Streams) -> Vec<Value> {
    let mut streams = streams.unread_streams();
    streams.sort_unstable_by_key(|stream| stream.number());
    streams.truncate(MOST);
    let value = |stream: &Arc<KeptStream>| {
        let (events, bytes, _) = stream.size();
        let origin = stream.origin();
        json!({
            "number": stream.number(),
            "method": origin.method.as_str(),
            "path": &*origin.path,
            "route": origin.route_info.route,
            "upstream": origin.route_info.upstream,
            "age_ms": milliseconds(stream.age()),
            "grace_left_ms": stream.grace_left().map(milliseconds),
            "events": events,
            "bytes_kept": bytes,
        })
    };
    streams.iter().map(value).collect()
}

/// The counters of a route, as long as it is configured.
fn route((name, counters): &(Box<str>, RouteCounters)) -> Value {
    json!({
        "route": name,
        "requests_active": counters.requests_active.get(),
        "streams_active": counters.streams_active.get(),
        "streams": counters.streams.get(),
        "events": counters.events.get(),
        "bytes": counters.stream_bytes.get(),
        "suspected_upstream_buffering": counters.suspected_buffering.get(),
    })
}

fn upstream(report: &upstream_stats::Report) -> Value {
    let upstream_stats::Report {
        url,
        connects,
        failures,
        last_failure,
        active,
        requests,
        ejected,
        ejections,
        is_unwell,
        ..
    } = report;
    let last_failure = last_failure.map(|(reason, ago)| {
        json!({ "reason": reason.name(), "title": reason.title(), "ago_ms": milliseconds(ago) })
    });
    json!({
        "url": url,
        "connects": connects,
        "failures": failures,
        "last_failure": last_failure,
        "active": active,
        "requests": requests,
        "ejected_ms": ejected.map(milliseconds),
        "ejections": ejections,
        "healthy": !is_unwell,
    })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::atomic::AtomicBool;
    use std::sync::{Mutex, mpsc};

    use super::*;
    use crate::config::{self, Overrides};
    use crate::metrics::Metrics;
    use crate::server::Workers;
    use crate::server::testing::Silent;

    #[tokio::test]
    async fn a_stuck_worker_is_named_and_delays_no_other() {
        let metrics = Arc::new(Metrics::new());
        let workers = Workers::start(2, &metrics, || Rc::new(Silent)).unwrap();
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(Some(held)));
        // One of the two finds it and waits; the other finds nothing.
        let stick = move |_: &ShutdownWatch| {
            let found = held.lock().ok().and_then(|mut held| held.take());
            found.map(|held| held.recv().is_err())
        };
        workers.ask(Duration::from_millis(50), stick).await;

        let text = "upstream.url = 'http://127.0.0.1:1'";
        let (config, _) = config::parse(text, "", &Overrides::default()).unwrap();
        let ready = Arc::new(AtomicBool::new(false));
        let streams = Streams::new(&metrics).unwrap();
        let admin = Admin::new(&config, Arc::new(workers), metrics, streams, ready);
        let gathered = || async {
            let status: Value = serde_json::from_str(&gather(&admin).await).unwrap();
            status
        };
        let status = gathered().await;
        assert_eq!(status["workers"], json!({ "all": 2, "answered": 1 }));
        assert_eq!(status["state"], "draining");
        drop(release);
        let status = gathered().await;
        assert_eq!(status["workers"], json!({ "all": 2, "answered": 2 }));
    }
}
