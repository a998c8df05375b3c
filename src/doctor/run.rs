//! A whole examination: which requests are made, one after another.

use std::time::Duration;

use http::HeaderValue;

use super::arrivals::Arrivals;
use super::finding::{counted, seconds};
use super::judge::{Measured, OriginChecks, Preflight, judge_one};
use super::measure::{MeasureError, Progress, watch};
use super::observation::{End, Observation};
use super::plan::Plan;
use super::probing::{self, Probe};
use super::request::{RequestOptions, Target};
use super::rule::Rule;

/// What to examine.
#[derive(Debug)]
pub struct Examination {
    /// The stream.
    pub target: Target,
    /// The same behind the hop under suspicion.
    pub direct: Option<Target>,
    /// The request.
    pub options: RequestOptions,
    /// The token of a probe at the end of the chain, if a probe is examined.
    pub probe: Option<HeaderValue>,
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum PhaseEvent<'a> {
    /// A phase of this name begins, and takes about so long.
    Begun(&'a str, Duration),
    /// Something arrives.
    Progress(Progress),
    /// The phase is over, in a few words.
    Over(String),
}

/// Called for each event.
pub type OnEvent<'a> = &'a mut dyn FnMut(PhaseEvent<'_>);

impl Examination {
    /// Makes all measurements. Call it on a tokio `LocalRuntime`.
    pub async fn run(&self, tell: OnEvent<'_>) -> Result<Measured, MeasureError> {
        match &self.probe {
            Some(token) => self.probe(token, tell).await,
            None => self.stream(tell).await,
        }
    }

    async fn stream(&self, tell: OnEvent<'_>) -> Result<Measured, MeasureError> {
        let Self {
            target,
            direct,
            options,
            probe: _,
        } = self;
        tell(PhaseEvent::Begun("stream", options.watch));
        let mut progress = |progress| tell(PhaseEvent::Progress(progress));
        let (front, direct) = match direct {
            None => (watch(target, options, &mut progress).await?, None),
            // At once, so that both see the same.
            Some(direct) => {
                let mut unseen = |_| {};
                let front = watch(target, options, &mut progress);
                let behind = watch(direct, options, &mut unseen);
                let (front, behind) = tokio::try_join!(front, behind)?;
                (front, Some(behind))
            }
        };
        tell(PhaseEvent::Over(summary(&front)));
        if let Some(direct) = &direct {
            tell(PhaseEvent::Begun("direct", Duration::ZERO));
            tell(PhaseEvent::Over(summary(direct)));
        }
        let identity = if may_be_compression(&front) {
            let watched = front.ended + Duration::from_secs(1);
            let options = RequestOptions {
                watch: watched.min(options.watch),
                ..options.clone().without_compression()
            };
            tell(PhaseEvent::Begun("identity", options.watch));
            let mut progress = |progress| tell(PhaseEvent::Progress(progress));
            let identity = watch(target, &options, &mut progress).await?;
            tell(PhaseEvent::Over(summary(&identity)));
            Some(identity)
        } else {
            None
        };
        Ok(Measured {
            front,
            identity,
            direct,
            origin_checks: OriginChecks::default(),
        })
    }

    async fn probe(
        &self,
        token: &HeaderValue,
        tell: OnEvent<'_>,
    ) -> Result<Measured, MeasureError> {
        let Self { options, .. } = self;
        let probe = Probe::new(&self.target, options, token)?;
        let standard = Plan::standard(options.watch);
        let compression = options.offers_compression();
        let front = phase("probe", &probe, standard.clone(), compression, tell).await?;
        let direct = match &self.direct {
            None => None,
            Some(direct) => {
                let behind = Probe::new(direct, options, token)?;
                Some(phase("direct", &behind, standard, compression, tell).await?)
            }
        };
        let identity = if may_be_compression(&front) {
            Some(phase("identity", &probe, Plan::short(), false, tell).await?)
        } else {
            None
        };
        let mut origin_checks = OriginChecks::default();
        if front
            .head
            .as_ref()
            .is_some_and(|head| head.status.is_success())
        {
            origin_checks.last_event_id = probing::last_event_id(&front);
            tell(PhaseEvent::Begun("preflight", Duration::ZERO));
            let preflight = probe.preflight().await?;
            tell(PhaseEvent::Over(match &preflight {
                Preflight::Answered => "the origin answered it".to_owned(),
                Preflight::Refused(answer) => answer.clone(),
            }));
            origin_checks.preflight = Some(preflight);
            let disconnect = probe.leave(tell).await?;
            tell(PhaseEvent::Over(probing::in_words(&disconnect)));
            origin_checks.disconnect = Some(disconnect);
        }
        Ok(Measured {
            front,
            identity,
            direct,
            origin_checks,
        })
    }
}

/// One stream of the probe's.
async fn phase(
    name: &str,
    probe: &Probe,
    plan: Plan,
    compression: bool,
    tell: OnEvent<'_>,
) -> Result<Observation, MeasureError> {
    tell(PhaseEvent::Begun(name, plan.duration()));
    let mut progress = |progress| tell(PhaseEvent::Progress(progress));
    let seen = probe.stream(plan, compression, &mut progress).await?;
    tell(PhaseEvent::Over(summary(&seen)));
    Ok(seen)
}

/// Whether events are held that were compressed because the request had offered that.
fn may_be_compression(seen: &Observation) -> bool {
    let findings = judge_one(seen);
    let has = |rule| findings.iter().any(|finding| finding.rule == rule);
    let held = [
        Rule::BufferedToEnd,
        Rule::BufferedBySize,
        Rule::BufferedByTime,
        Rule::OneLate,
        Rule::HeadHeld,
    ];
    seen.offers_compression && has(Rule::Compressed) && held.into_iter().any(has)
}

/// A measurement in a few words.
pub fn summary(seen: &Observation) -> String {
    let Some(head) = &seen.head else {
        return match &seen.end {
            End::NoResponse(why) => why.clone(),
            _ => "no response".to_owned(),
        };
    };
    let arrivals = Arrivals::of(seen);
    let first = arrivals.events().next();
    let events = match first {
        Some((_, at)) => format!(
            "{}, the first after {}",
            counted(arrivals.events().count(), "event"),
            seconds(at)
        ),
        None => "no event".to_owned(),
    };
    let end = match &seen.end {
        End::Complete => "complete",
        End::Cut => "cut",
        End::Broken | End::Reset(_) => "reset",
        End::Watched | End::NoResponse(_) => "watched",
    };
    format!(
        "{} after {}; {events}; {end} after {}",
        head.status.as_u16(),
        seconds(head.at),
        seconds(seen.ended)
    )
}
