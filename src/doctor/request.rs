//! The request and its target: the part of `curl` that the doctor has.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderName, USER_AGENT,
};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri};

use crate::config::{Scheme, UpstreamAddress};

/// Where a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was given.
    pub url: String,
    /// Where to connect.
    pub address: UpstreamAddress,
    /// What its Host field says.
    pub host: HeaderValue,
    /// Path and query.
    pub path: PathAndQuery,
}

/// A request, and how to send it.
#[derive(Debug, Clone)]
pub struct RequestOptions {
    /// The method.
    pub method: Method,
    /// Its fields, without Host.
    pub fields: HeaderMap,
    /// Another Host than the URL's.
    pub host: Option<HeaderValue>,
    /// Its body.
    pub body: Bytes,
    /// Which HTTP.
    pub protocol: Protocol,
    /// Whether certificates are checked.
    pub verify: bool,
    /// How long the stream is watched.
    pub watch: Duration,
}

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Over TLS whichever the server chooses, HTTP/1.1 otherwise.
    Any,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without TLS by prior knowledge.
    Http2,
}

/// What cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}\n  = help: {help}")]
pub struct UsageError {
    /// The problem.
    pub what: String,
    /// What to write instead.
    pub help: String,
}

impl UsageError {
    pub(super) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            help: help.into(),
        }
    }
}

/// What browsers take.
const CODINGS: HeaderValue = HeaderValue::from_static("gzip, deflate, br, zstd");

impl Target {
    /// Reads a URL.
    pub fn parse(url: &str, protocol: Protocol) -> Result<Self, UsageError> {
        let bad = |what: &str, help: &str| Err(UsageError::new(format!("`{url}` {what}"), help));
        let example = "write such as `https://app.example.com/events`";
        if !url.contains("://") {
            return bad("has no scheme", "write `https://` or `http://` before it");
        }
        let without_fragment = url.split('#').next().unwrap_or_default();
        let Ok(uri) = without_fragment.parse::<Uri>() else {
            return bad("is not a URL", example);
        };
        let Some(authority) = uri.authority() else {
            return bad("has no host", example);
        };
        if authority.as_str().contains('@') {
            let help = "write `-H 'Authorization: Basic …'` instead";
            return bad("has a user name in it", help);
        }
        let (scheme, port) = match uri.scheme_str() {
            Some("https") => (Scheme::Https, 443),
            Some("http") if protocol == Protocol::Http2 => (Scheme::H2c, 80),
            Some("http") => (Scheme::Http, 80),
            _ => return bad("is neither `http://` nor `https://`", example),
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let Ok(named) = HeaderValue::from_str(authority.as_str()) else {
            return bad("has no host", example);
        };
        let path = uri.path_and_query().cloned();
        Ok(Self {
            url: url.to_owned(),
            address: UpstreamAddress::Tcp {
                scheme,
                host,
                port: authority.port_u16().unwrap_or(port),
            },
            host: named,
            path: path.unwrap_or_else(|| PathAndQuery::from_static("/")),
        })
    }

    /// The same place with another path and query.
    pub fn at(&self, path: &str) -> Result<Self, UsageError> {
        let bad = |_| UsageError::new(format!("`{path}` is not a path"), "it begins with a slash");
        Ok(Self {
            path: path.parse().map_err(bad)?,
            ..self.clone()
        })
    }
}

impl RequestOptions {
    /// What an `EventSource` of a browser sends.
    pub fn new(protocol: Protocol, verify: bool, watch: Duration) -> Self {
        let mut fields = HeaderMap::new();
        let agent = concat!("sse-sidecar-doctor/", env!("CARGO_PKG_VERSION"));
        fields.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        fields.insert(ACCEPT_ENCODING, CODINGS);
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        fields.insert(USER_AGENT, HeaderValue::from_static(agent));
        Self {
            method: Method::GET,
            fields,
            host: None,
            body: Bytes::new(),
            protocol,
            verify,
            watch,
        }
    }

    /// Adds a field as `curl -H` has it: `NAME: VALUE`; `NAME:` takes one away that would be sent, `NAME;` sends it empty. Of several with
    /// a name all are sent, in place of our own.
    pub fn set_fields(&mut self, lines: &[String]) -> Result<(), UsageError> {
        let mut replaced: Vec<HeaderName> = Vec::new();
        for line in lines {
            let bad = || {
                let what = format!("`{line}` is not a header field");
                UsageError::new(what, "write `-H 'NAME: VALUE'`")
            };
            let (name, value, removes) = match (line.split_once(':'), line.strip_suffix(';')) {
                (Some((name, value)), _) => (name, value.trim(), value.trim().is_empty()),
                (None, Some(name)) => (name, "", false),
                (None, None) => return Err(bad()),
            };
            let name: HeaderName = name.trim().parse().map_err(|_| bad())?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?;
            if name == HOST {
                self.host = Some(value);
                continue;
            }
            if !replaced.contains(&name) {
                self.fields.remove(&name);
                replaced.push(name.clone());
            }
            if !removes {
                self.fields.append(name, value);
            }
        }
        Ok(())
    }

    /// Sends a body: with POST, unless another method is set.
    pub fn set_body(&mut self, body: Bytes) {
        if !self.fields.contains_key(CONTENT_TYPE) {
            let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
            let kind = match first {
                Some(b'{' | b'[') => "application/json",
                _ => "application/x-www-form-urlencoded",
            };
            self.fields
                .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        self.method = Method::POST;
        self.body = body;
    }

    /// The same, but asking for no compression.
    #[must_use]
    pub fn without_compression(mut self) -> Self {
        self.fields
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        self
    }

    /// Whether it offers to take a compressed response.
    pub fn offers_compression(&self) -> bool {
        let value = self.fields.get(ACCEPT_ENCODING);
        value.is_some_and(|value| !matches!(value.as_bytes(), b"" | b"identity"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let target = |url| Target::parse(url, Protocol::Any);
        let address = |url| target(url).unwrap().address.to_string();
        assert_eq!(address("https://a.example/x"), "https://a.example:443");
        assert_eq!(address("http://[::1]:8080"), "http://[::1]:8080");
        let h2c = Target::parse("http://a:1", Protocol::Http2).unwrap();
        assert_eq!(h2c.address.to_string(), "h2c://a:1");
        assert_eq!(target("http://a/b?c=d#e").unwrap().path, "/b?c=d");
        assert_eq!(target("http://a").unwrap().path, "/");
        for (url, part) in [
            ("a.example/x", "no scheme"),
            ("http:///x", "not a URL"),
            ("ftp://a/", "neither"),
            ("http://u:p@a/", "user name"),
            ("http://a b/", "not a URL"),
        ] {
            let error = target(url).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn fields_as_curl_has_them() {
        let mut options = RequestOptions::new(Protocol::Any, true, Duration::ZERO);
        assert!(options.offers_compression());
        let lines = [
            "Accept: */*",
            "accept: b",
            "User-Agent:",
            "X-Empty;",
            "Host: other",
        ];
        options.set_fields(&lines.map(str::to_owned)).unwrap();
        let accept: Vec<_> = options.fields.get_all(ACCEPT).iter().collect();
        assert_eq!(accept, ["*/*", "b"]);
        assert!(!options.fields.contains_key(USER_AGENT));
        assert_eq!(options.fields["x-empty"], "");
        assert_eq!(options.host.as_ref().unwrap(), "other");
        for bad in ["x", "a b: c", ": x", "x: a\nb"] {
            assert!(options.set_fields(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(!options.without_compression().offers_compression());
    }

    #[test]
    fn a_body_is_posted() {
        let mut options = RequestOptions::new(Protocol::Any, true, Duration::ZERO);
        options.set_body(Bytes::from_static(b" {}"));
        assert_eq!(
            (options.method.as_str(), &options.fields[CONTENT_TYPE]),
            ("POST", &HeaderValue::from_static("application/json"))
        );
    }
}
