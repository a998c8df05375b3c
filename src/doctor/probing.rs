//! The probe's requests, and what the origin reports besides the stream itself.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::arrivals::Arrivals;
use super::finding::counted;
use super::judge::{Disconnect, Preflight};
use super::measure::{MeasureError, Progress, begin, watch};
use super::observation::Observation;
use super::origin::{PATH, TOKEN};
use super::plan::Plan;
use super::request::{RequestOptions, Target, UsageError};
use super::run::{OnEvent, PhaseEvent};

/// The `Last-Event-ID` that is sent.
const LAST_EVENT_ID: &str = "sse-sidecar-doctor";
/// How often the origin is asked whether it has missed the client.
const PACE: Duration = Duration::from_millis(250);

/// How long is waited for another stream's end: where a disconnect is not passed on, that may be the one before.
const OTHERS_END: Duration = Duration::from_secs(15);

/// Requests to a probe.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    target: Target,
    options: RequestOptions,
}

impl Probe {
    /// The probe at `target`, at the default path if that names none, with `token`.
    pub(super) fn new(
        target: &Target,
        options: &RequestOptions,
        token: &HeaderValue,
    ) -> Result<Self, UsageError> {
        let mut options = options.clone();
        let mut token = token.clone();
        token.set_sensitive(true);
        options.fields.insert(TOKEN, token);
        let last = HeaderValue::from_static(LAST_EVENT_ID);
        options.fields.insert("last-event-id", last);
        options.method = Method::GET;
        options.body = Bytes::new();
        let path = match target.path.path() {
            "/" => PATH,
            path => path,
        };
        let target = target.at(path)?;
        Ok(Self { target, options })
    }

    fn request(&self, plan: &Plan, key: &str) -> Result<(Target, RequestOptions), UsageError> {
        let path = format!("{}?key={key}&plan={plan}", self.target.path.path());
        let options = RequestOptions {
            // The plan counts the origin's time: anything later has been held, and is waited for.
            watch: plan.duration() + Duration::from_secs(10),
            ..self.options.clone()
        };
        Ok((self.target.at(&path)?, options))
    }

    /// Watches a stream by `plan`, which another probe's end may have to be waited for.
    pub(super) async fn stream(
        &self,
        plan: Plan,
        compression: bool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Observation, MeasureError> {
        let (target, mut options) = self.request(&plan, &key())?;
        if !compression {
            options = options.without_compression();
        }
        let start = Instant::now();
        let mut seen = watch(&target, &options, progress).await?;
        while is_busy(&seen) && start.elapsed() < OTHERS_END {
            sleep(PACE).await;
            seen = watch(&target, &options, progress).await?;
        }
        seen.plan = Some(plan);
        self.check(&seen)?;
        Ok(seen)
    }

    /// Whether it was a probe that answered.
    fn check(&self, seen: &Observation) -> Result<(), UsageError> {
        let Some(head) = &seen.head else {
            return Ok(()); // which says enough
        };
        let status = head.status;
        let url = &self.target.url;
        let bad = |what: String, help: &str| Err(UsageError::new(what, help));
        if status == 429 {
            let body = String::from_utf8_lossy(&Arrivals::of(seen).bytes).into_owned();
            let help = "wait until it is over";
            return bad(format!("`{url}` refuses the probe: {}", body.trim()), help);
        }
        let is_probe = said(seen).is_some() || Arrivals::of(seen).items.is_empty();
        if status.is_client_error() || status.is_success() && !is_probe {
            let help = "is `[probe]` set in that sidecar, with this token, or does `doctor --serve` run at the end of the chain?";
            return bad(format!("no probe answers at `{url}` ({status})"), help);
        }
        Ok(())
    }

    /// What became of a preflight request.
    pub(super) async fn preflight(&self) -> Result<Preflight, MeasureError> {
        let mut options = self.options.clone();
        options.method = Method::OPTIONS;
        options.watch = Duration::from_secs(10);
        for (name, value) in [
            ("origin", "https://sse-sidecar-doctor.example"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", TOKEN),
        ] {
            options.fields.insert(name, HeaderValue::from_static(value));
        }
        let seen = watch(&self.target, &options, &mut |_| {}).await?;
        let is_allowed = seen.field("access-control-allow-origin").is_some();
        Ok(match &seen.head {
            Some(head) if head.status.is_success() && is_allowed => Preflight::Answered,
            Some(head) if head.status.is_success() => Preflight::Refused(format!(
                "{} without Access-Control-Allow-Origin",
                head.status
            )),
            Some(head) => Preflight::Refused(head.status.to_string()),
            None => Preflight::Refused("no response".to_owned()),
        })
    }

    /// Leaves a stream in its silence, and asks the origin when it has seen that.
    pub(super) async fn leave(&self, tell: OnEvent<'_>) -> Result<Disconnect, MeasureError> {
        let plan = Plan::to_leave();
        let key = key();
        tell(PhaseEvent::Begun("disconnect", plan.duration()));
        let begun = Instant::now();
        loop {
            // The silence has begun once its last event is here; it has as well if nothing comes, not even the head.
            let until = Instant::now() + Plan::QUIET_FROM + PACE;
            match timeout_at(until, self.follow(&plan, &key, until, tell)).await {
                Err(_) | Ok(Ok(true)) => break,
                Ok(Ok(false)) if begun.elapsed() < OTHERS_END => sleep(PACE).await,
                Ok(Ok(false)) => {
                    let why = "there was no stream to leave";
                    return Ok(Disconnect::Unknown(why.to_owned()));
                }
                Ok(Err(error)) => return Ok(Disconnect::Unknown(error.to_string())),
            }
        }
        let left = Instant::now();
        let patience = plan.duration() + Duration::from_secs(2);
        while left.elapsed() < patience {
            match self.ask(&key).await? {
                Said::Left(ago) => return Ok(Disconnect::Seen(left.elapsed().saturating_sub(ago))),
                Said::Complete => return Ok(Disconnect::Unseen(left.elapsed())),
                Said::Running => {}
                Said::Nothing(why) => return Ok(Disconnect::Unknown(why)),
            }
            sleep(PACE).await;
        }
        Ok(Disconnect::Unseen(left.elapsed()))
    }

    /// Reads a stream that is left `until` then, and drops it. False if another one is running.
    async fn follow(
        &self,
        plan: &Plan,
        key: &str,
        until: Instant,
        tell: OnEvent<'_>,
    ) -> Result<bool, MeasureError> {
        let (target, options) = self.request(plan, key)?;
        let (mut seen, stream) = begin(&target, &options).await?;
        let Some(mut stream) = stream.filter(|_| !is_busy(&seen)) else {
            return Ok(false);
        };
        while let Some(read) = stream.read(&mut seen, until).await {
            tell(PhaseEvent::Progress(Progress::Bytes(read.at, read.length)));
        }
        Ok(true)
    }

    /// Asks the origin what became of the stream `key`.
    async fn ask(&self, key: &str) -> Result<Said, MeasureError> {
        let path = format!("{}?key={key}", self.target.path.path());
        let target = self.target.at(&path)?;
        let options = RequestOptions {
            watch: Duration::from_secs(5),
            ..self.options.clone().without_compression()
        };
        let seen = watch(&target, &options, &mut |_| {}).await?;
        let told: Option<Value> = serde_json::from_slice(&seen.body).ok();
        let state = told.as_ref().and_then(|told| told["state"].as_str());
        Ok(match state {
            Some("running") => Said::Running,
            Some("complete") => Said::Complete,
            Some("left") => {
                let ago = told.as_ref().and_then(|told| told["ms_ago"].as_f64());
                let ago = Duration::try_from_secs_f64(ago.unwrap_or(0.0) / 1000.0);
                Said::Left(ago.unwrap_or_default())
            }
            Some(_) => {
                Said::Nothing("another origin answered, which has not seen the stream".to_owned())
            }
            None => Said::Nothing("the origin could not be asked".to_owned()),
        })
    }
}

/// Whether another stream with the token is running.
fn is_busy(seen: &Observation) -> bool {
    seen.head.as_ref().is_some_and(|head| head.status == 429)
}

/// What the origin says of a stream.
enum Said {
    Running,
    Complete,
    Left(Duration),
    Nothing(String),
}

/// What the origin says of the request: its first event.
fn said(seen: &Observation) -> Option<Value> {
    let arrivals = Arrivals::of(seen);
    let found = arrivals
        .events()
        .find(|(event, _)| event.event == "request");
    found.and_then(|(event, _)| serde_json::from_str(&event.data).ok())
}

/// Whether the origin got the `Last-Event-ID`; `None` if it has said nothing.
pub(super) fn last_event_id(seen: &Observation) -> Option<bool> {
    Some(said(seen)?["last_event_id"] == LAST_EVENT_ID)
}

/// Whether it came to the origin, in a few words.
pub(super) fn in_words(disconnect: &Disconnect) -> String {
    match disconnect {
        Disconnect::Seen(after) => format!(
            "the origin saw it after {}",
            super::finding::seconds(*after)
        ),
        Disconnect::Unseen(after) => {
            let seconds = usize::try_from(after.as_secs()).unwrap_or(usize::MAX);
            format!(
                "the origin did not see it within {}",
                counted(seconds, "second")
            )
        }
        Disconnect::Unknown(why) => format!("unknown: {why}"),
    }
}

/// A unique name for a stream.
fn key() -> String {
    format!("{:032x}", fastrand::u128(..))
}
