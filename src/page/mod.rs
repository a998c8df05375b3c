//! Pages for a browser: each is a single file that loads nothing, with a policy that keeps it so.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderMap, HeaderValue};
use ring::digest::{SHA256, digest};

/// What the style of every page begins with.
const BASE: &str = include_str!("base.css");

/// A page, ready to be sent.
#[derive(Debug)]
pub struct Page {
    /// The whole page.
    pub html: Bytes,
    policy: HeaderValue,
}

impl Page {
    /// The page `html`, with its style and script in the places of `{style}` and `{script}`. Only these run, known by their hashes, so
    /// that text from a request cannot become code; and they may connect only to `sources`, as a Content Security Policy names them.
    ///
    /// # Panics
    ///
    /// If `sources` is not visible ASCII, which a constant of this crate always is.
    pub fn new(html: &str, style: &str, script: &str, sources: &str) -> Self {
        let style = [BASE, style].concat();
        let policy = format!(
            "default-src 'none'; connect-src {sources}; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             script-src 'sha256-{}'; style-src 'sha256-{}'",
            hash(script),
            hash(&style)
        );
        let html = html.replace("{style}", &style).replace("{script}", script);
        Self {
            html: html.into(),
            policy: HeaderValue::try_from(policy).expect("sources and Base64 are visible ASCII"),
        }
    }

    /// Adds the header fields that protect the page.
    pub fn protect(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }
}

/// The hash of an element's text, as a policy names it.
fn hash(text: &str) -> String {
    STANDARD.encode(digest(&SHA256, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_knows_the_script_and_the_style_that_are_on_the_page() {
        let html = "<style>{style}</style><script>{script}</script>";
        let page = Page::new(html, "p { margin: 0 }", "run();", "'self'");
        let html = std::str::from_utf8(&page.html).unwrap();
        let mut headers = HeaderMap::new();
        page.protect(&mut headers);
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        for element in ["script", "style"] {
            let (_, rest) = html.split_once(&format!("<{element}>")).unwrap();
            let (text, _) = rest.split_once(&format!("</{element}>")).unwrap();
            let hash = format!("{element}-src 'sha256-{}'", hash(text));
            assert!(policy.contains(&hash), "{hash}");
        }
        assert!(html.contains("run();") && html.contains("p { margin: 0 }"));
        // Of nothing, as the standard gives it.
        assert_eq!(hash(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
