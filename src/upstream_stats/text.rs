//! The counters of each upstream in the Prometheus text format. Its label is the URL in the configuration, whose addresses are
//! counted together: they come and go.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use super::{Report, Upstreams};

#[derive(Debug, Default)]
struct Sums {
    requests: u64,
    ejections: u64,
    available: usize,
}

impl Upstreams {
    /// The series of all of them.
    pub fn text(&self) -> String {
        let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
        for report in self.report() {
            let Report {
                url,
                requests,
                ejected,
                ejections,
                is_unwell,
                ..
            } = report;
            let sums = sums.entry(escaped(configured(&url))).or_default();
            sums.requests += requests;
            sums.ejections += ejections;
            sums.available += usize::from(ejected.is_none() && !is_unwell);
        }
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Sums) -> u64| {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "# HELP sse_sidecar_{name} {help}\n# TYPE sse_sidecar_{name} {kind}\n"
            );
            for (url, sums) in &sums {
                let value = value(sums);
                let _ = writeln!(text, "sse_sidecar_{name}{{upstream=\"{url}\"}} {value}");
            }
        };
        family(
            "upstream_requests_total",
            "counter",
            "Requests that went to an upstream.",
            &|sums| sums.requests,
        );
        family(
            "upstream_ejections_total",
            "counter",
            "How often an upstream was left alone for a while, since it failed.",
            &|sums| sums.ejections,
        );
        family(
            "upstream_available",
            "gauge",
            "How many addresses of an upstream are neither ejected nor unhealthy.",
            &|sums| sums.available as u64,
        );
        let whole = [
            (
                "upstream_failovers_total",
                "counter",
                "Requests that went to another of several upstreams, since the one that was asked failed.",
                self.failovers.load(Ordering::Relaxed).to_string(),
            ),
            (
                "upstream_queued",
                "gauge",
                "Requests that wait, since every upstream that they may go to has as many as it may (upstream.max_requests).",
                self.queued.load(Ordering::Relaxed).to_string(),
            ),
        ];
        for (name, kind, help, value) in whole {
            let _ = write!(
                text,
                "# HELP sse_sidecar_{name} {help}\n# TYPE sse_sidecar_{name} {kind}\nsse_sidecar_{name} {value}\n"
            );
        }
        text
    }
}

/// The configured URL in the name of an upstream, which may end in one of its addresses.
fn configured(name: &str) -> &str {
    let parts = name
        .strip_suffix(')')
        .and_then(|rest| rest.rsplit_once(" ("));
    let url = parts.filter(|(_, address)| address.parse::<IpAddr>().is_ok());
    url.map_or(name, |(url, _)| url)
}

/// As the value of a label: the path of a Unix socket may hold anything.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::{Fault, UpstreamStats};
    use super::*;

    #[test]
    fn addresses_are_counted_with_their_url() {
        let upstreams = Upstreams::default();
        let known: Vec<_> = [
            "http://a:80 (10.0.0.1)",
            "http://a:80 (10.0.0.2)",
            "unix:/\"x",
        ]
        .map(|name| upstreams.at(name))
        .into();
        let _in_flight: Vec<_> = known.iter().map(UpstreamStats::engage).collect();
        known[1].standing.failed(Fault::Connection, 0, || true);
        let text = upstreams.text();
        for line in [
            "# TYPE sse_sidecar_upstream_available gauge",
            "sse_sidecar_upstream_requests_total{upstream=\"http://a:80\"} 2",
            "sse_sidecar_upstream_available{upstream=\"http://a:80\"} 1",
            "sse_sidecar_upstream_ejections_total{upstream=\"http://a:80\"} 1",
            "sse_sidecar_upstream_available{upstream=\"unix:/\\\"x\"} 1",
        ] {
            assert!(text.lines().any(|seen| seen == line), "{line}\n{text}");
        }
    }
}
