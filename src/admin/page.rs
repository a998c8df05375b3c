//! The status page: one file, without anything from elsewhere.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderValue, StatusCode};
use ring::digest::{SHA256, digest};

use super::{Answer, text};

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(
    "\"use strict\";\n",
    include_str!("table.js"),
    include_str!("page.js")
);

/// The page, put together when somebody first looks at it.
static PAGE: LazyLock<Page> = LazyLock::new(Page::new);

#[derive(Debug)]
struct Page {
    html: Bytes,
    /// Only the page's own script and style run, known by their hashes, and they reach nothing but this port: what a request calls
    /// itself cannot become code.
    policy: HeaderValue,
}

impl Page {
    fn new() -> Self {
        let html = HTML.replace("{style}", STYLE).replace("{script}", SCRIPT);
        let policy = format!(
            "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             script-src 'sha256-{}'; style-src 'sha256-{}'",
            hash(SCRIPT),
            hash(STYLE)
        );
        Self {
            html: html.into(),
            policy: HeaderValue::try_from(policy).expect("Base64 is visible ASCII"),
        }
    }
}

pub(super) fn page() -> Answer {
    let Page { html, policy } = &*PAGE;
    let mut response = text(StatusCode::OK, "text/html; charset=utf-8", html.clone());
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// As a policy names the text of an element.
fn hash(text: &str) -> String {
    STANDARD.encode(digest(&SHA256, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html() -> &'static str {
        std::str::from_utf8(&PAGE.html).unwrap()
    }

    #[test]
    fn the_policy_knows_the_script_and_the_style_that_are_on_the_page() {
        for element in ["script", "style"] {
            let (_, rest) = html().split_once(&format!("<{element}>")).unwrap();
            let (text, _) = rest.split_once(&format!("</{element}>")).unwrap();
            let hash = format!("{element}-src 'sha256-{}'", hash(text));
            assert!(PAGE.policy.to_str().unwrap().contains(&hash), "{hash}");
            assert_eq!(html().matches(&format!("<{element}")).count(), 1);
        }
        // Of nothing, as the standard gives it.
        assert_eq!(hash(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn nothing_is_from_elsewhere_or_made_code() {
        for word in [
            "http://",
            "https://",
            "src=",
            "url(",
            "style=",
            "onclick",
            "innerHTML",
            "insertAdjacent",
            "document.write",
            "eval",
        ] {
            assert!(!html().contains(word), "{word}");
        }
    }
}
