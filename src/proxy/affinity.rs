//! What keeps the requests of one client, or of one session, with the same of several upstreams.

use std::net::IpAddr;

use http::Request;
use http::header::COOKIE;

use crate::client::ClientAddress;
use crate::config::{HashKey, Policy};
use crate::upstream::identity;

/// A hash of the value that `policy` uses; `None` if it uses none, or the request does not have it.
pub(super) fn of<B>(policy: &Policy, request: &Request<B>, client: ClientAddress) -> Option<u64> {
    let Policy::Hash(key) = policy else {
        return None;
    };
    let headers = request.headers();
    match key {
        HashKey::Header(name) => headers.get(name).map(|value| identity(value.as_bytes())),
        HashKey::Cookie(name) => {
            let mut lines = headers.get_all(COOKIE).iter();
            lines
                .find_map(|line| cookie(line.as_bytes(), name.as_bytes()))
                .map(identity)
        }
        HashKey::ClientIp => match client.ip()? {
            IpAddr::V4(ip) => Some(identity(&ip.octets())),
            IpAddr::V6(ip) => Some(identity(&ip.octets())),
        },
    }
}

/// The value of the cookie `name` in a line of `Cookie` (RFC 6265, section 4.2.1).
fn cookie<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    line.split(|byte| *byte == b';').find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name)?;
        value.strip_prefix(b"=")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn affinity(key: HashKey, fields: &[(&str, &str)], peer: &str) -> Option<u64> {
        let mut request = Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let request = request.body(()).unwrap();
        let client = ClientAddress::find(peer.parse().ok(), request.headers(), &trusted);
        of(&Policy::Hash(key), &request, client)
    }

    #[test]
    fn a_field_or_a_cookie() {
        let session = || HashKey::Header("x-session".parse().unwrap());
        let sid = || HashKey::Cookie("sid".to_owned());
        let expected = Some(identity(b"a1"));
        let peer = "192.0.2.1:5";
        assert_eq!(affinity(session(), &[("X-Session", "a1")], peer), expected);
        assert_eq!(affinity(session(), &[("X-Other", "a1")], peer), None);
        for cookies in [
            &["sid=a1"][..],
            &["b=2; sid=a1; c=3"],
            &["xsid=9;sid=a1"],
            &["b=2", "c=4; sid=a1"],
        ] {
            let fields: Vec<_> = cookies.iter().map(|line| ("cookie", *line)).collect();
            assert_eq!(affinity(sid(), &fields, peer), expected, "{cookies:?}");
        }
        for cookies in ["", "SID=a1", "xsid=a1", "sid", "b=sid=a1"] {
            assert_eq!(
                affinity(sid(), &[("cookie", cookies)], peer),
                None,
                "{cookies}"
            );
        }
    }

    #[test]
    fn a_client_is_known_behind_trusted_proxies_only() {
        let of = |fields: &[_], peer| affinity(HashKey::ClientIp, fields, peer);
        let client = Some(identity(&[192, 0, 2, 1]));
        let forwarded = [("x-forwarded-for", "203.0.113.9, 192.0.2.1")];
        assert_eq!(of(&[], "192.0.2.1:5"), client);
        assert_eq!(of(&[], "[::ffff:192.0.2.1]:7"), client);
        assert_eq!(of(&forwarded, "10.0.0.1:5"), client);
        assert_eq!(of(&forwarded, "192.0.2.1:5"), client);
        assert_ne!(of(&forwarded, "192.0.2.2:5"), client);
        assert_eq!(of(&[], ""), None); // a Unix socket
    }

    #[test]
    fn other_policies_look_at_nothing() {
        let request = Request::builder()
            .header("cookie", "sid=1")
            .body(())
            .unwrap();
        assert_eq!(
            of(&Policy::RoundRobin, &request, ClientAddress::of(None)),
            None
        );
    }
}
