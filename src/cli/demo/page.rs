//! The demo's page, which connects only to the two paths of the stream.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderValue, Response};
use http_body_util::Full;

use super::backend::typed;
use crate::config::ListenAddress;
use crate::page::Page;

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page of a sidecar with this admin port, which `program` starts.
pub(super) fn page(admin: &ListenAddress, buffering: SocketAddr, program: &str) -> Page {
    let html = HTML
        .replace("{admin}", &admin.to_string())
        .replace("{buffering}", &buffering.to_string())
        .replace("{program}", program);
    Page::new(&html, STYLE, SCRIPT, &format!("'self' http://{buffering}"))
}

pub(super) fn response(page: &Page) -> Response<Full<Bytes>> {
    let mut response = typed("text/html; charset=utf-8", Full::new(page.html.clone()));
    let headers = response.headers_mut();
    page.protect(headers);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
