//! The report for a program. Fields may be added, but none is removed.

use std::time::Duration;

use http::{HeaderMap, Version};
use serde_json::{Map, Value, json};

use super::Report;
use crate::doctor::arrivals::Arrivals;
use crate::doctor::chain::hops;
use crate::doctor::finding::Finding;
use crate::doctor::judge::{Disconnect, OriginChecks, Preflight};
use crate::doctor::observation::{End, Observation};

/// How many reads are listed.
const READS: usize = 10_000;

impl Report {
    /// All of it.
    pub fn json(&self) -> Value {
        let front = &self.measured.front;
        let hops = hops(front);
        let chain = hops
            .iter()
            .map(|hop| json!({ "product": hop.product.name(), "header": hop.sign }));
        json!({
            "version": 1,
            "url": front.url,
            "kind": if front.plan.is_some() { "probe" } else { "stream" },
            "verdict": self.verdict(),
            "streams_well": self.is_well(),
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "chain": chain.collect::<Vec<_>>(),
            "measurements": {
                "front": measurement(front),
                "identity": self.measured.identity.as_ref().map(measurement),
                "direct": self.measured.direct.as_ref().map(measurement),
            },
            "origin": origin_checks(&self.measured.origin_checks),
        })
    }
}

fn finding(finding: &Finding) -> Value {
    let fixes = finding.fixes.iter().map(
        |fix| json!({ "product": fix.product.name(), "setting": fix.setting, "link": fix.link }),
    );
    json!({
        "rule": finding.rule.name(),
        "title": finding.rule.title(),
        "weight": finding.rule.weight().name(),
        "certainty": finding.certainty.name(),
        "counts": finding.counts(),
        "evidence": finding.evidence,
        "where": finding.place,
        "fixes": fixes.collect::<Vec<_>>(),
    })
}

fn measurement(seen: &Observation) -> Value {
    let arrivals = Arrivals::of(seen);
    let head = seen.head.as_ref().map(|head| {
        json!({
            "ms": ms(head.at),
            "status": head.status.as_u16(),
            "http": match head.version {
                Version::HTTP_10 => "1.0",
                Version::HTTP_2 => "2",
                _ => "1.1",
            },
            "tls": head.is_tls,
            "certificate_issuer": head.issuer,
            "headers": fields(&head.headers),
        })
    });
    let (end, detail) = match &seen.end {
        End::Complete => ("complete", None),
        End::Cut => ("cut", None),
        End::Broken => ("broken", None),
        End::Reset(code) => ("reset", Some(code)),
        End::Watched => ("watched", None),
        End::NoResponse(why) => ("no_response", Some(why)),
    };
    let begin = seen.head.as_ref().map(|head| head.at).unwrap_or_default();
    let reads = seen.reads.iter().take(READS);
    json!({
        "url": seen.url,
        "head": head,
        "first_byte_ms": seen.reads.first().map(|read| ms(read.at)),
        "first_event_ms": arrivals.events().next().map(|(_, at)| ms(at)),
        "events": arrivals.events().count(),
        "comments": arrivals.comments(),
        "bytes": seen.body.len(),
        "longest_gap_ms": ms(Arrivals::longest_gap(seen, begin).0),
        "end": { "how": end, "detail": detail, "ms": ms(seen.ended) },
        "own_lag_ms": ms(seen.lag),
        "reads": reads.map(|read| json!([ms(read.at), read.length])).collect::<Vec<_>>(),
    })
}

fn origin_checks(origin_checks: &OriginChecks) -> Value {
    let preflight = origin_checks
        .preflight
        .as_ref()
        .map(|preflight| match preflight {
            Preflight::Answered => "answered".to_owned(),
            Preflight::Refused(answer) => format!("refused: {answer}"),
        });
    let disconnect = origin_checks
        .disconnect
        .as_ref()
        .map(|disconnect| match disconnect {
            Disconnect::Seen(after) => json!({ "seen": true, "after_ms": ms(*after) }),
            Disconnect::Unseen(after) => json!({ "seen": false, "after_ms": ms(*after) }),
            Disconnect::Unknown(why) => json!({ "seen": null, "why": why }),
        });
    json!({
        "last_event_id": origin_checks.last_event_id,
        "preflight": preflight,
        "disconnect": disconnect,
    })
}

/// The fields of a head, without those that do not belong in a CI log.
fn fields(headers: &HeaderMap) -> Value {
    let mut fields = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let value = match name.as_str() {
            "set-cookie" => "…".to_owned(),
            _ => values.collect::<Vec<_>>().join(", "),
        };
        fields.insert(name.as_str().to_owned(), value.into());
    }
    fields.into()
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
