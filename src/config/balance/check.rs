//! What does not go together, and what has no effect.

use std::collections::HashSet;

use super::draft::BackendDraft;
use crate::config::Scheme;
use crate::config::draft::Target;
use crate::config::file::Report;
use crate::config::problem::Mistake;

/// The most backends of one route.
const MOST_BACKENDS: usize = 1000;

/// Reports backends that do not go together.
pub(in crate::config) fn check(target: &Target, report: &mut Report) {
    let backends = &target.balance.backends;
    let key = target.urls_key();
    if target.balance.names_none {
        let mistake = Mistake::new("names no backend")
            .help("write `urls = [\"http://host:port\", \"http://other:port\"]`");
        report.error(&key, &mistake);
    }
    if backends.len() > MOST_BACKENDS {
        let what = format!("{} backends are too many", backends.len());
        let mistake = Mistake::new(what).help(format!("name at most {MOST_BACKENDS}"));
        report.error(&key, &mistake);
    }
    if !backends.is_empty() && backends.iter().all(|backend| backend.backup) {
        let mistake = Mistake::new("every backend is a backup, so there is none to back up")
            .help("leave out `backup` at the ones that are to be asked first");
        report.error(&key, &mistake);
    }
    let mut seen = HashSet::new();
    for backend in backends {
        if !seen.insert(&backend.address) {
            let mistake = Mistake::new(format!("`{}` is named twice", backend.address))
                .help("name it once, with `weight = 2`");
            report.error(&backend.key, &mistake);
        }
    }
    // What kind of request it is, such as a WebSocket, decides how it is sent, before its backend is chosen.
    let is_http2 = |backend: &BackendDraft| backend.address.scheme() == Scheme::H2c;
    if let Some(first) = backends.first()
        && let Some(other) = backends
            .iter()
            .find(|other| is_http2(other) != is_http2(first))
    {
        let mistake = Mistake::new(format!(
            "`{}` and `{}` do not speak the same protocol",
            first.address, other.address
        ))
        .help("name only `h2c` backends here, or none");
        report.error(&other.key, &mistake);
    }
}

/// Warns of keys without effect.
pub(in crate::config) fn warn(target: &Target, report: &mut Report) {
    let draft = &target.balance;
    let base = target.key.rsplit_once('.').map_or("", |(base, _)| base);
    if draft.health.is_given && draft.health.path.is_none() {
        let mistake = Mistake::new("without a path nothing is checked")
            .help("write such as `health.path = \"/healthz\"`");
        report.warning(&format!("{base}.health"), &mistake);
    }
    if draft.queue_timeout.is_some() && draft.max_requests.is_none() {
        let mistake = Mistake::new("without `max_requests` no request waits")
            .help("write `max_requests` beside it, or leave it out");
        report.warning(&format!("{base}.queue_timeout"), &mistake);
    }
}
