//! The values of placeholders for a request.

use std::net::IpAddr;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, Uri};

use super::forwarded;
use super::guard::Asker;
use crate::config::{Part, Placeholder, Template, requested_host};

/// A request as its client made it.
#[derive(Debug)]
pub(super) struct Values<'a> {
    headers: &'a HeaderMap,
    uri: &'a Uri,
    host: Option<&'a str>,
    client_ip: Option<IpAddr>,
    scheme: &'static str,
    request_id: &'a str,
}

impl<'a> Values<'a> {
    pub(super) fn of<B>(request: &'a Request<B>, asker: Asker<'_>, request_id: &'a str) -> Self {
        let headers = request.headers();
        let (client, trusted) = (asker.client, asker.trusted_proxies);
        let scheme = forwarded::scheme(headers, client.peer(), client.is_tls(), trusted);
        Self {
            headers,
            uri: request.uri(),
            host: requested_host(request),
            client_ip: asker.address.ip(),
            scheme,
            request_id,
        }
    }

    /// `http` or `https`, as the client sees it.
    pub(super) fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// The requested host, without a port.
    pub(super) fn host(&self) -> Option<&'a str> {
        self.host
    }

    /// The requested port, if the request names one.
    pub(super) fn stated_port(&self) -> Option<&'a str> {
        let authority = match self.uri.authority() {
            Some(authority) => authority.as_str(),
            None => self.headers.get(HOST)?.to_str().ok()?,
        };
        let (_, port) = authority.rsplit_once(':')?;
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        is_port.then_some(port)
    }

    pub(super) fn path(&self) -> &'a str {
        self.uri.path()
    }

    pub(super) fn query(&self) -> Option<&'a str> {
        self.uri.query()
    }

    /// The text that `template` makes of the request.
    pub(super) fn render(&self, template: &Template) -> Vec<u8> {
        let mut text = Vec::new();
        for part in template.parts() {
            match part {
                Part::Text(literal) => text.extend_from_slice(literal.as_bytes()),
                Part::Value(placeholder) => self.push(placeholder, &mut text),
            }
        }
        text
    }

    fn push(&self, placeholder: &Placeholder, text: &mut Vec<u8>) {
        match placeholder {
            Placeholder::ClientIp => {
                let ip = self.client_ip.map(|ip| ip.to_string());
                text.extend_from_slice(ip.unwrap_or_default().as_bytes());
            }
            Placeholder::Scheme => text.extend_from_slice(self.scheme.as_bytes()),
            Placeholder::Host => {
                text.extend_from_slice(self.host.unwrap_or_default().as_bytes());
            }
            Placeholder::Port => {
                let usual = if self.scheme == "https" { "443" } else { "80" };
                text.extend_from_slice(self.stated_port().unwrap_or(usual).as_bytes());
            }
            Placeholder::Path => text.extend_from_slice(self.path().as_bytes()),
            Placeholder::Query => {
                text.extend_from_slice(self.query().unwrap_or_default().as_bytes());
            }
            Placeholder::RequestId => text.extend_from_slice(self.request_id.as_bytes()),
            Placeholder::Header(name) => {
                let lines = self.headers.get_all(name).iter().map(HeaderValue::as_bytes);
                let lines: Vec<&[u8]> = lines.collect();
                text.extend_from_slice(&lines.join(&b", "[..]));
            }
        }
    }
}
