//! Which header fields say who the client is.
//!
//! CGI, WSGI and Rack hand fields to applications as variables, in which `X_Forwarded_For` and `X-Forwarded-For` are one and the
//! same name. So `_` counts as `-` here.

/// The fields that the sidecar sets, in the spelling that it uses.
const SET: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
];

/// What the names of their relatives begin with: `X-Forwarded-Prefix`, `-Ssl`, `-Client-Cert` and so on, and the fields in which
/// proxies pass on a client's certificate (`Client-Cert` is that of RFC 9440).
const PREFIXES: [&str; 6] = [
    "x-forwarded",
    "x-real-ip",
    "x-ssl",
    "x-client-cert",
    "ssl-client",
    "client-cert",
];

/// Whether only a trusted proxy may send a field of this name. The fields that the sidecar replaces anyway do not count.
pub(super) fn is_relative(name: &str) -> bool {
    matches!(name.as_bytes().first(), Some(b'x' | b's' | b'c')) // the first byte decides for most names
        && PREFIXES.iter().any(|prefix| begins_like(name, prefix))
        && !SET.contains(&name)
}

/// Whether this is one of the fields that the sidecar sets, in any spelling.
pub(super) fn is_known(name: &str) -> bool {
    SET.contains(&name) || is_misspelled(name)
}

/// Whether this is another spelling of a field that the sidecar sets. Clients must not send it: a proxy that does not know it lets
/// it pass, and the backend would read it beside or instead of the real one.
pub(super) fn is_misspelled(name: &str) -> bool {
    let is_like = |known: &&str| name.len() == known.len() && begins_like(name, known);
    name.starts_with('x') && name.contains('_') && SET.iter().any(is_like)
}

fn begins_like(name: &str, prefix: &str) -> bool {
    let is_like = |(byte, known): (u8, u8)| byte == known || (byte == b'_' && known == b'-');
    name.len() >= prefix.len() && name.bytes().zip(prefix.bytes()).all(is_like)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relatives() {
        for name in [
            "x_forwarded_for",
            "x-forwarded_for",
            "x_forwarded-proto",
            "x-forwarded",
            "x-forwarded-prefix",
            "x-forwarded-ssl",
            "x-forwarded-server",
            "x-forwarded-client-cert",
            "x_real_ip",
            "x-ssl-client-cert",
            "x_ssl_client_verify",
            "x-client-cert",
            "ssl-client-subject-dn",
            "client-cert-chain",
        ] {
            assert!(is_relative(name), "{name}");
        }
        for name in [
            "forwarded",
            "x-forwarded-for",
            "x-real-ip",
            "x-request-id",
            "x-client-version",
            "x-forward",
            "content-type",
            "sec-websocket-key",
            "",
        ] {
            assert!(!is_relative(name), "{name}");
        }
    }

    #[test]
    fn other_spellings() {
        for name in ["x_forwarded_for", "x-forwarded_port", "x_real-ip"] {
            assert!(is_misspelled(name), "{name}");
        }
        for name in [
            "x-forwarded-for",
            "x_ssl_client_cert",
            "x_forwarded_for_",
            "x_real",
        ] {
            assert!(!is_misspelled(name), "{name}");
        }
    }
}
