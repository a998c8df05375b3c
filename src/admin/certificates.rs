//! The certificates in use, as their files are now.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::metrics;
use crate::tls::{Certificate, ClientConfigs, Reloading, ServerConfig, Validity, now};

/// Who shows certificates.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    pub(super) listeners: RefCell<Vec<Reloading<ServerConfig>>>,
    pub(super) upstreams: RefCell<ClientConfigs>,
}

impl Certificates {
    /// Each once, for the metrics.
    pub(super) fn for_metrics(&self) -> Vec<metrics::Certificate> {
        let each = self.each().into_iter();
        each.map(|((owner, file), validity)| metrics::Certificate {
            file,
            owner,
            not_before: validity.not_before,
            not_after: validity.not_after,
        })
        .collect()
    }

    /// Each once, for the status page.
    pub(super) fn for_status(&self) -> Vec<Value> {
        let now = now();
        let each = self.each().into_iter();
        each.map(|((owner, file), validity)| {
            json!({
                "file": file,
                "owner": owner,
                "standing": validity.standing(now).name(),
                "not_before": validity.not_before,
                "not_after": validity.not_after,
                "expires_in_s": validity.not_after.saturating_sub(now),
            })
        })
        .collect()
    }

    /// By owner and file: several listeners may show the same.
    fn each(&self) -> BTreeMap<(&'static str, String), Validity> {
        let listeners = self.listeners.borrow();
        let upstreams = self.upstreams.borrow();
        let listeners = listeners.iter().map(|tls| ("listener", tls.certificates()));
        let upstreams = upstreams.values();
        let upstreams = upstreams.map(|tls| ("upstream", tls.certificates()));
        let mut each = BTreeMap::new();
        for (owner, certificates) in listeners.chain(upstreams) {
            for Certificate { path, validity } in &*certificates {
                each.insert((owner, path.display().to_string()), *validity);
            }
        }
        each
    }
}
