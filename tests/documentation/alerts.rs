//! Every alert has a section that says what to do, and leads to it.

use std::collections::BTreeSet;

use super::links::anchors;

const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yml");
const PAGE: &str = include_str!("../../docs/alerts.md");

#[test]
fn every_alert_leads_to_its_section() {
    let rules: Vec<_> = ALERTS.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 5);
    let mut alerts = BTreeSet::new();
    for rule in rules {
        let name = rule.lines().next().unwrap();
        let anchor = name.to_lowercase();
        let link = format!("          runbook_url: docs/alerts.md#{anchor}");
        assert!(
            rule.lines().any(|line| line == link),
            "{name} has no {link}"
        );
        alerts.insert(anchor);
    }
    let sections: BTreeSet<_> = anchors(PAGE).into_iter().skip(1).collect();
    assert_eq!(sections, alerts, "headings of docs/alerts.md");
}
