//! Header fields that concern one connection only.

use http::HeaderName;
use http::header::{CONNECTION, HeaderMap};

/// Removes what RFC 9110, section 7.6.1, says an intermediary must not pass on: every field that any `Connection` line names, and
/// those known to be meant for the next hop only.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let found = found(headers, is_hop_by_hop);
    if found.contains(&CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in found {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "alt-svc" // RFC 7838: other ports that speak for this one; the sidecar has none
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// The names that `is_wanted` accepts: often none, which one pass shows sooner than a lookup of each.
pub(super) fn found(headers: &HeaderMap, is_wanted: impl Fn(&str) -> bool) -> Vec<HeaderName> {
    let found = headers.keys().filter(|name| is_wanted(name.as_str()));
    found.cloned().collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn every_connection_line_counts() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-One"),
            ("connection", "x-two , bad name,"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        remove_hop_by_hop(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-three"]
        );
    }
}
