//! What only a probe shows: the origin's view.

use std::time::Duration;

use super::super::finding::{Finding, seconds};
use super::super::plan::Plan;
use super::super::rule::Rule;

/// What was tried besides the stream itself.
#[derive(Debug, Clone, Default)]
pub struct OriginChecks {
    /// Whether the origin saw the `Last-Event-ID` that was sent.
    pub last_event_id: Option<bool>,
    /// What became of a preflight request.
    pub preflight: Option<Preflight>,
    /// When the origin saw the client disconnect.
    pub disconnect: Option<Disconnect>,
}

/// What became of a preflight request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preflight {
    /// The origin's answer came back.
    Answered,
    /// Something else did.
    Refused(String),
}

/// When the origin saw the client disconnect, counted from when it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disconnect {
    /// So long after.
    Seen(Duration),
    /// Not within this time, in which the origin also wrote.
    Unseen(Duration),
    /// The origin could not be asked: behind a load balancer another one may have answered.
    Unknown(String),
}

/// Well below the silence in which the client disconnects.
const SOON: Duration = Duration::from_secs(2);

pub(super) fn judge(origin_checks: &OriginChecks) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &origin_checks.disconnect {
        Some(Disconnect::Unseen(time)) => findings.push(Finding::certain(
            Rule::DisconnectLost,
            format!(
                "{} after the client closed its connection the origin was still sending",
                seconds(*time)
            ),
        )),
        Some(Disconnect::Seen(time)) if *time >= SOON => findings.push(Finding::certain(
            Rule::DisconnectLate,
            format!(
                "the origin saw it {} later, when its silence of {} was over",
                seconds(*time),
                seconds(Plan::QUIET)
            ),
        )),
        _ => {}
    }
    if origin_checks.last_event_id == Some(false) {
        let evidence = "the request had the field, and the origin did not get it";
        findings.push(Finding::certain(Rule::LastEventIdLost, evidence));
    }
    if let Some(Preflight::Refused(answer)) = &origin_checks.preflight {
        let evidence = format!("OPTIONS was answered on the way: {answer}");
        findings.push(Finding::certain(Rule::PreflightRefused, evidence));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(origin_checks: &OriginChecks) -> Vec<Rule> {
        judge(origin_checks)
            .iter()
            .map(|finding| finding.rule)
            .collect()
    }

    #[test]
    fn each_has_one_case_that_is_wrong_and_one_that_is_not() {
        let disconnect = |disconnect| {
            let disconnect = Some(disconnect);
            found(&OriginChecks {
                disconnect,
                ..OriginChecks::default()
            })
        };
        let ms = Duration::from_millis;
        assert_eq!(disconnect(Disconnect::Seen(ms(5))), []);
        assert_eq!(
            disconnect(Disconnect::Seen(ms(3_900))),
            [Rule::DisconnectLate]
        );
        assert_eq!(
            disconnect(Disconnect::Unseen(ms(12_000))),
            [Rule::DisconnectLost]
        );
        assert_eq!(disconnect(Disconnect::Unknown("another".to_owned())), []);
        let fields = |seen| {
            let last_event_id = Some(seen);
            found(&OriginChecks {
                last_event_id,
                ..OriginChecks::default()
            })
        };
        assert_eq!(fields(true), []);
        assert_eq!(fields(false), [Rule::LastEventIdLost]);
        let preflight = |preflight| {
            let preflight = Some(preflight);
            found(&OriginChecks {
                preflight,
                ..OriginChecks::default()
            })
        };
        assert_eq!(preflight(Preflight::Answered), []);
        assert_eq!(
            preflight(Preflight::Refused("403".to_owned())),
            [Rule::PreflightRefused]
        );
    }
}
