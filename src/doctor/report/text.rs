//! The report for a person: the verdict first, then the findings by weight, each with what, evidence, where and fix.

use std::fmt::{self, Display, Formatter};

use super::Report;
use crate::doctor::chain::hops;
use crate::doctor::finding::{Certainty, Finding};
use crate::doctor::observation::Observation;
use crate::doctor::run::summary;

/// How many fixes a finding shows.
const FIXES: usize = 6;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let front = &self.measured.front;
        writeln!(f, "{}.\n", self.verdict())?;
        measurement(f, front)?;
        if let Some(direct) = &self.measured.direct {
            measurement(f, direct)?;
        }
        let hops = hops(front);
        if !hops.is_empty() {
            let signs: Vec<_> = hops
                .iter()
                .map(|hop| format!("{} ({})", hop.product.name(), hop.sign))
                .collect();
            writeln!(f, "  chain: {}", signs.join(", "))?;
        }
        let issuer = front.head.as_ref().and_then(|head| head.issuer.as_ref());
        if let Some(issuer) = issuer {
            writeln!(f, "  certificate issued by {issuer}")?;
        }
        for finding in self.findings.iter().filter(|finding| finding.counts()) {
            writeln!(f)?;
            full(f, finding)?;
        }
        let others: Vec<_> = self
            .findings
            .iter()
            .filter(|finding| !finding.counts())
            .collect();
        if !others.is_empty() {
            writeln!(f, "\nworth knowing")?;
        }
        for finding in others {
            let (title, evidence) = (finding.rule.title(), &finding.evidence);
            let doubt = match finding.certainty {
                Certainty::Certain => "",
                Certainty::Likely | Certainty::Possible => {
                    " (possible: a probe or --direct would show)"
                }
            };
            writeln!(f, "  {title}: {evidence}{doubt} [{}]", finding.rule.name())?;
        }
        Ok(())
    }
}

fn measurement(f: &mut Formatter<'_>, seen: &Observation) -> fmt::Result {
    let version = seen.head.as_ref().map(|head| format!("{:?}", head.version));
    let version = version.unwrap_or_default();
    writeln!(f, "  {}  {version}  {}", seen.url, summary(seen))
}

fn full(f: &mut Formatter<'_>, finding: &Finding) -> fmt::Result {
    let Finding {
        rule,
        certainty,
        evidence,
        place,
        fixes,
    } = finding;
    let weight = rule.weight().name().to_uppercase();
    writeln!(f, "{weight}: {} [{}]", rule.title(), rule.name())?;
    let sure = match certainty {
        Certainty::Certain => "",
        Certainty::Likely | Certainty::Possible => " (likely)",
    };
    writeln!(f, "  evidence  {evidence}{sure}")?;
    if let Some(place) = place {
        writeln!(f, "  where     {place}")?;
    }
    for (index, fix) in fixes.iter().take(FIXES).enumerate() {
        let label = if index == 0 { "fix" } else { "" };
        let (product, setting) = (fix.product.name(), fix.setting);
        writeln!(f, "  {label:<9} {product}: {setting}")?;
        writeln!(f, "            {}", fix.link)?;
    }
    if fixes.len() > FIXES {
        let more = fixes[FIXES..].iter().map(|fix| fix.product.name());
        let more = more.collect::<Vec<_>>().join(", ");
        writeln!(f, "            --json has those for {more}")?;
    }
    Ok(())
}
