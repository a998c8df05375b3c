//! What a route's keys and the inherited ones mean together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::draft::{BalanceDraft, MaxRequests};
use super::{Backend, Balance, Policy, RequestLimit};
use crate::config::draft::Target;
use crate::config::{Upstream, UpstreamAddress, tls};

/// How long a request waits for a free backend by default: as long as people wait for a page.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// How requests are spread over the backends of a route; `None` for a single backend without any of these keys. A route without
/// backends of its own inherits those of the top level with their keys.
pub(in crate::config) fn resolve(
    own: &Target,
    inherited: Option<&Target>,
    folder: &Path,
) -> Option<Balance> {
    let backends = if own.address.is_some() {
        own
    } else {
        inherited?
    };
    let inherited = inherited
        .filter(|_| own.address.is_none())
        .map(|target| &target.balance);
    let is_wanted = !backends.balance.backends.is_empty()
        || own.balance.is_given()
        || inherited.is_some_and(BalanceDraft::is_given);
    if !is_wanted {
        return None;
    }
    let upstream = |address: &UpstreamAddress| {
        Arc::new(Upstream {
            address: address.clone(),
            tls: tls::client_at(backends, address, folder),
        })
    };
    let several = backends.balance.backends.iter().map(|backend| Backend {
        upstream: upstream(&backend.address),
        weight: backend.weight,
        backup: backend.backup,
    });
    let mut several: Vec<_> = several.collect();
    if several.is_empty() {
        several.extend(backends.address.as_ref().map(|address| Backend {
            upstream: upstream(address),
            weight: Balance::WEIGHT,
            backup: false,
        }));
    }
    let own = &own.balance;
    let policy = own.policy.clone();
    let policy = policy.or_else(|| inherited?.policy.clone());
    let statuses = own.unhealthy_status.clone();
    let statuses = statuses.or_else(|| inherited?.unhealthy_status.clone());
    let inherited_limit = || inherited?.max_requests;
    let most = own.max_requests.or_else(inherited_limit);
    let most = most.and_then(MaxRequests::limit);
    let queue_timeout = own.queue_timeout;
    let queue_timeout = queue_timeout.or_else(|| inherited?.queue_timeout);
    let health = match inherited {
        Some(inherited) if !own.health.is_given => &inherited.health,
        _ => &own.health,
    };
    Some(Balance {
        backends: several,
        policy: policy.unwrap_or(Policy::LeastRequests),
        unhealthy_status: statuses.unwrap_or_default(),
        limit: most.map(|most| RequestLimit {
            most,
            queue_timeout: queue_timeout.unwrap_or(QUEUE_TIMEOUT),
        }),
        health: health.check(),
    })
}
