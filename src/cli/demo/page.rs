//! The demo's page: one file, without anything from elsewhere, that reaches nothing but the two paths of the stream.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};
use http_body_util::Full;
use ring::digest::{SHA256, digest};

use super::backend::typed;
use crate::config::ListenAddress;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page as it is sent.
#[derive(Debug)]
pub(super) struct Page {
    html: Bytes,
    /// Only its own script and style run, known by their hashes.
    policy: HeaderValue,
}

impl Page {
    /// The page of a sidecar with this admin port, which `program` starts.
    pub(super) fn new(admin: &ListenAddress, buffering: SocketAddr, program: &str) -> Self {
        let html = PAGE
            .replace("{admin}", &admin.to_string())
            .replace("{buffering}", &buffering.to_string())
            .replace("{program}", program)
            .replace("{style}", STYLE)
            .replace("{script}", SCRIPT);
        let policy = format!(
            "default-src 'none'; connect-src 'self' http://{buffering}; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'",
            hash(SCRIPT),
            hash(STYLE)
        );
        Self {
            html: html.into(),
            policy: HeaderValue::try_from(policy).expect("an address and Base64 are visible ASCII"),
        }
    }

    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = typed("text/html; charset=utf-8", Full::new(self.html.clone()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

fn hash(text: &str) -> String {
    STANDARD.encode(digest(&SHA256, text.as_bytes()))
}
