//! Settings that are allowed, but probably do not do what was meant.

use std::time::Duration;

use super::draft::{Draft, RouteDraft, Settings};
use super::file::Report;
use super::matcher::covers;
use super::problem::Mistake;
use super::units::written;
use super::{ConnectRetry, Detect, Drain, DrainStreams, Events, Ids, OnUpstreamFailure, balance};

/// The time after which nginx and most load balancers close a silent connection.
const PROXIES_GIVE_UP: Duration = Duration::from_secs(60);

/// Kubernetes' default `terminationGracePeriodSeconds`, after which it kills the process.
const GRACE_PERIOD: Duration = Duration::from_secs(30);

/// Streams that all end within less than this come back together.
const SPREAD: Duration = Duration::from_secs(5);

/// What a pod needs beyond its drain: time to abort what is left, and to be seen as gone.
const AFTER_DRAIN: Duration = Duration::from_secs(5);

/// Warns about everything in the draft that is worth a second look.
pub(super) fn warn(draft: &Draft, report: &mut Report) {
    settings(&draft.settings, "", &draft.drain, report);
    for route in &draft.routes {
        let prefix = format!("{}.", route.key);
        settings(&route.settings, &prefix, &draft.drain, report);
    }
    let targets = draft.routes.iter().map(|route| &route.upstream);
    for target in targets.chain([&draft.upstream]) {
        balance::warn(target, report);
    }
    drain(&draft.drain, report);
    unreachable_routes(&draft.routes, report);
}

/// Warns about the settings of one table: `prefix` is empty for the top level, else such as `route[1].`.
///
/// Only the table's own keys are checked: those inherited from the top level were checked there.
fn settings(settings: &Settings, prefix: &str, drain: &Drain, report: &mut Report) {
    let Settings {
        timeouts,
        heartbeat,
        events,
        drain_streams,
        request_headers: _,
        response_headers: _,
        cors: _,
        access: _, // `access` looks at it
        limits: _,
        resume: _, // `kept_streams` looks at it
        dedupe: _,
    } = settings;
    // At the first of the keys that is written in this very table.
    let mut warn = |keys: &[&str], mistake: Mistake| {
        if let Some(key) = keys
            .iter()
            .map(|key| format!("{prefix}{key}"))
            .find(|key| report.is_written(key))
        {
            report.warning(&key, &mistake);
        }
    };

    if let Some(interval) = heartbeat.interval
        && interval >= PROXIES_GIVE_UP
    {
        warn(
            &["heartbeat.interval"],
            Mistake::new(
                "nginx and most load balancers cut a connection that is silent for 60 seconds",
            )
            .help("write `\"30s\"` or less"),
        );
    }
    if let (Some(interval), Some(read)) = (heartbeat.interval, timeouts.read)
        && interval >= read
    {
        warn(
            &["heartbeat.interval", "timeouts.read"],
            Mistake::new(format!(
                "no heartbeat is ever sent: the `read` timeout ends a silent stream after `{}`",
                written(read)
            ))
            .help("make `heartbeat.interval` shorter than `timeouts.read`"),
        );
    }
    kept_streams(settings, &mut warn);
    if let (ConnectRetry::For(retry), Some(connect)) = (timeouts.connect_retry, timeouts.connect)
        && retry > connect
    {
        warn(
            &["timeouts.connect_retry", "timeouts.connect"],
            Mistake::new(format!(
                "`connect` ends all attempts after `{}`",
                written(connect)
            ))
            .help("make `timeouts.connect` at least as long as `timeouts.connect_retry`"),
        );
    }
    if heartbeat.interval.is_none() && timeouts.write.is_none() {
        warn(
            &["heartbeat.interval", "timeouts.write"],
            Mistake::new("a client that vanished without a word is never noticed without heartbeats and the `write` timeout")
                .help("turn one of `heartbeat.interval` and `timeouts.write` on again"),
        );
    }
    if let (Some(first_event), Some(read)) = (timeouts.first_event, timeouts.read)
        && first_event > read
    {
        warn(
            &["timeouts.first_event", "timeouts.read"],
            Mistake::new(format!(
                "the `read` timeout ends a stream that is silent for `{}` before `first_event` does",
                written(read)
            ))
            .help("make `timeouts.read` at least as long as `timeouts.first_event`"),
        );
    }
    before_head(settings, &mut warn);
    if events.detect == Detect::Never && events.streaming {
        warn(
            &["events.streaming", "events.detect"],
            Mistake::new(
                "nothing here is treated as an event stream, so asking for one is of no use",
            )
            .help("leave out `events.streaming` or `events.detect`"),
        );
    }
    if *drain_streams == DrainStreams::Rotate {
        rotation(events, drain, warn);
    }
}

/// Warns where streams rotate that should not, or do so to no avail.
fn rotation(events: &Events, drain: &Drain, mut warn: impl FnMut(&[&str], Mistake)) {
    if events.detect == Detect::Never {
        warn(
            &["drain.streams"],
            Mistake::new("nothing here is treated as an event stream, so there is none to rotate")
                .help("leave out `drain.streams` or `events.detect`"),
        );
        return;
    }
    if matches!(
        events.on_upstream_failure,
        OnUpstreamFailure::Anthropic | OnUpstreamFailure::OpenaiResponses
    ) {
        warn(
            &["drain.streams", "events.on_upstream_failure"],
            Mistake::new("a generation that is ended halfway cannot be resumed, and many clients take it for complete")
                .help("write `drain.streams = \"finish\"` here"),
        );
    }
    if drain.timeout < SPREAD {
        warn(
            &["drain.streams"],
            Mistake::new(format!(
                "within `{}` all streams end nearly at once, and their clients all come back together",
                written(drain.timeout)
            ))
            .help("make `drain.timeout` longer, such as `\"20s\"`"),
        );
    }
}

/// Streams that wait for clients who cannot come back, or not for as long as they should.
fn kept_streams(settings: &Settings, warn: &mut impl FnMut(&[&str], Mistake)) {
    let Settings {
        resume,
        timeouts,
        events,
        ..
    } = settings;
    let Some(grace) = resume.grace else {
        return;
    };
    if resume.ids == Ids::Never && resume.key.is_none() {
        warn(
            &["resume.ids", "resume.grace"],
            Mistake::new("without ids and without a key no client can find its stream again")
                .help("leave out `resume.ids`, or write such as `resume.key = \"json:/id\"`"),
        );
    }
    if timeouts.read.is_some_and(|read| grace > read) {
        warn(
            &["resume.grace", "timeouts.read"],
            Mistake::new("the `read` timeout may end a silent stream before its client is back")
                .help("make `timeouts.read` at least as long as `resume.grace`"),
        );
    }
    if events.detect == Detect::Never {
        warn(
            &["events.detect", "resume.grace"],
            Mistake::new("nothing is kept where nothing is an event stream")
                .help("leave out `events.detect`, or write `resume.grace = \"off\"`"),
        );
    }
}

/// Warns about an early head that never goes out, or that nothing follows.
fn before_head(settings: &Settings, warn: &mut impl FnMut(&[&str], Mistake)) {
    let Some(before_head) = settings.heartbeat.before_head else {
        return;
    };
    if let Some(response_head) = settings.timeouts.response_head
        && before_head >= response_head
    {
        warn(
                &["heartbeat.before_head", "timeouts.response_head"],
                Mistake::new(format!(
                    "the `response_head` timeout ends a request after `{}`, before its client gets an early head",
                    written(response_head)
                ))
                .help("make `heartbeat.before_head` shorter than `timeouts.response_head`"),
            );
    }
    if settings.heartbeat.interval.is_none() {
        warn(
            &["heartbeat.before_head", "heartbeat.interval"],
            Mistake::new(
                "after an early head nothing keeps the connection alive: heartbeats are off",
            )
            .help("leave out `heartbeat.before_head`, or turn `heartbeat.interval` on"),
        );
    }
    if settings.events.detect == Detect::Never {
        warn(
            &["heartbeat.before_head", "events.detect"],
            Mistake::new("nothing here is treated as an event stream, so none has an early head")
                .help("leave out `heartbeat.before_head` or `events.detect`"),
        );
    }
}

/// Warns about a drain that Kubernetes cuts short. The defaults are documented to, so only changes are warned about.
fn drain(drain: &Drain, report: &mut Report) {
    let whole = drain.delay + drain.timeout;
    if whole > GRACE_PERIOD && *drain != Drain::default() {
        let key = if report.is_written("drain.timeout") {
            "drain.timeout"
        } else {
            "drain.delay"
        };
        let mut help = format!(
            "set the pod's `terminationGracePeriodSeconds` to {} or more",
            (whole + AFTER_DRAIN).as_secs()
        );
        let fits = GRACE_PERIOD.saturating_sub(drain.delay + AFTER_DRAIN);
        if fits > Duration::ZERO {
            help = format!(
                "{help}, or `drain.timeout` to `\"{}\"` or less",
                written(fits)
            );
        }
        let mistake = Mistake::new(format!(
            "with its delay a drain takes up to `{}`, but Kubernetes kills after 30 seconds by default",
            written(whole)
        ))
        .help(help);
        report.warning(key, &mistake);
    }
}

/// Warns about routes that an earlier one leaves no request for.
fn unreachable_routes(routes: &[RouteDraft], report: &mut Report) {
    for (index, later) in routes.iter().enumerate() {
        let covering = routes[..index]
            .iter()
            .find(|earlier| covers(&earlier.matcher, &later.matcher));
        if let Some(RouteDraft { key, .. }) = covering {
            let mistake = Mistake::new(format!("never matches: {key} takes all of its requests"))
                .help("put the narrower route first");
            report.warning(&later.key, &mistake);
        }
    }
}
