//! The status page: one file, without anything from elsewhere.

use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderValue, StatusCode};

use super::{Answer, text};

const PAGE: &str = include_str!("page.html");

/// Only the page's own script and style run, known by their hashes (which the test below tells after a change), and they reach
/// nothing but this port: what a request calls itself cannot become code.
const POLICY: &str = concat!(
    "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; ",
    "script-src 'sha256-LbIHa3uwVIEkkMtRlIn5JYurRZjxG5oRAashamDZ80Y='; ",
    "style-src 'sha256-m1TJ4Mx9XnCzwuSX1GkSPxQGzJFwIUJCLcpDcXeKQdM='"
);

pub(super) fn page() -> Answer {
    let mut response = text(StatusCode::OK, "text/html; charset=utf-8", PAGE);
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands between two tags, as a policy names it.
    fn hash(element: &str) -> String {
        const SIGNS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (_, rest) = PAGE.split_once(&format!("<{element}>")).unwrap();
        let (text, _) = rest.split_once(&format!("</{element}>")).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        // 32 bytes are 43 signs of Base64 and one to fill up.
        let bit = |at: usize| {
            digest
                .as_ref()
                .get(at / 8)
                .map_or(0, |byte| byte >> (7 - at % 8) & 1)
        };
        let sign = |sign: usize| (0..6).fold(0, |value, at| value << 1 | bit(sign * 6 + at));
        let signs = (0..43).map(|index| char::from(SIGNS[usize::from(sign(index))]));
        format!("{element}-src 'sha256-{}='", signs.collect::<String>())
    }

    #[test]
    fn the_policy_knows_the_script_and_the_style() {
        for element in ["script", "style"] {
            let hash = hash(element);
            assert!(POLICY.contains(&hash), "write {hash}");
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1);
        }
    }

    #[test]
    fn nothing_is_from_elsewhere_or_made_code() {
        for word in [
            "http://",
            "https://",
            "src=",
            "style=",
            "onclick",
            "innerHTML",
            "insertAdjacent",
            "document.write",
            "eval",
        ] {
            assert!(!PAGE.contains(word), "{word}");
        }
    }
}
