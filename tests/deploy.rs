//! What is deployed beside the sidecar, and the documentation, name metrics that exist.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;

use sse_sidecar::metrics::Metrics;

const DASHBOARD: &str = include_str!("../deploy/grafana/dashboard.json");
const ALERTS: &str = include_str!("../deploy/prometheus/alerts.yml");
const ALERTS_TEST: &str = include_str!("../deploy/prometheus/alerts_test.yml");
const MONITORING: &str = include_str!("../docs/monitoring.md");

/// Every name in the text format, `_bucket` and its like among them.
fn metrics() -> BTreeSet<String> {
    let metrics = Metrics::new();
    let _route = metrics.route("any");
    let _upstream = metrics.upstreams.at("http://127.0.0.1:3000");
    let text = String::from_utf8(metrics.text()).unwrap();
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let series = series.map(|line| line.split(['{', ' ']).next().unwrap().to_owned());
    // Certificates have series only where there are some.
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let single = families.filter(|family| !family.ends_with(" histogram"));
    let single = single.map(|family| family.split(' ').next().unwrap().to_owned());
    series.chain(single).collect()
}

/// The names of metrics that `text` has, those with one of the prefixes.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_metric = |word: &&str| word.starts_with("sse_sidecar_") || word.starts_with("process_");
    words.filter(is_metric).map(str::to_owned).collect()
}

#[test]
fn every_metric_that_is_named_exists() {
    let metrics = metrics();
    for (file, text) in [
        ("dashboard.json", DASHBOARD),
        ("alerts.yml", ALERTS),
        ("alerts_test.yml", ALERTS_TEST),
    ] {
        let named = named(text);
        assert!(named.len() > 5, "{file} names {named:?}");
        let unknown: Vec<_> = named.difference(&metrics).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
}

#[test]
fn the_dashboard_shows_every_metric_and_the_documentation_lists_it() {
    let of_family = |name: &str| {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        family.unwrap_or(name).to_owned()
    };
    let shown: BTreeSet<_> = named(DASHBOARD)
        .iter()
        .map(|name| of_family(name))
        .collect();
    for metric in metrics().iter().map(|name| of_family(name)) {
        assert!(shown.contains(&metric), "the dashboard leaves out {metric}");
        let short = metric.trim_start_matches("sse_sidecar_");
        assert!(
            MONITORING.contains(&format!("| `{short}`")),
            "monitoring.md leaves out {short}"
        );
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_reads() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each has an ID of its own");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{panel}");
    }
}
