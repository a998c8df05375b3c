//! Another prefix for the backend than for the client, there and back.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_LOCATION, HeaderMap, LOCATION, SET_COOKIE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};
use memchr::memchr;

use crate::config::normal_path;
use crate::wire::{origin_form, request_target};

/// The replacement of a path's prefix for a backend.
#[derive(Debug)]
pub(super) struct Replacement {
    segments: usize,
    text: String,
    /// That prefix, as the client sees it.
    pub(super) of_client: String,
}

impl Replacement {
    /// `replacement` for the first `segments` of the request's `path`.
    pub(super) fn new(path: &str, segments: usize, replacement: &str) -> Self {
        Self {
            segments,
            text: replacement.to_owned(),
            of_client: of_client(path, segments),
        }
    }

    /// The target as a URI has it.
    pub(super) fn in_target(&self, target: &PathAndQuery) -> Uri {
        let replaced = self.in_bytes(target.as_str().as_bytes(), target.path());
        // The parts of a URI, put together on borders of segments, are one.
        Uri::try_from(replaced).unwrap_or_else(|_| Uri::from(target.clone()))
    }

    /// The head of an HTTP/1 request as its client wrote it, with another target; `as_uri` is its path as a URI has it.
    pub(super) fn in_raw_head(&self, head: &[u8], as_uri: &str) -> Bytes {
        edit_raw_target(head, |target| self.in_bytes(target, as_uri))
    }

    fn in_bytes(&self, target: &[u8], as_uri: &str) -> Vec<u8> {
        replace(target, as_uri, self.segments, &self.text)
    }

    /// What maps the backend's paths back.
    pub(super) fn back(&self) -> (String, String) {
        (self.text.clone(), self.of_client.clone())
    }
}

/// A request's head as its client wrote it, but with another target: what `edit` makes of path and query. Nothing if there is no such
/// head, as over HTTP/2.
pub(super) fn edit_raw_target(head: &[u8], edit: impl FnOnce(&[u8]) -> Vec<u8>) -> Bytes {
    let target = request_target(head);
    if target.is_empty() {
        return Bytes::new();
    }
    let start = target.as_ptr().addr() - head.as_ptr().addr();
    let edited = edit(&origin_form(target));
    let after = &head[start + target.len()..];
    [&head[..start], &edited, after].concat().into()
}

/// `target`, a path and perhaps a query, with `replacement` instead of its first `segments`. The rest stays byte for byte, unless a dot
/// segment or a doubled slash makes it unclear which they are: a backend that resolves those must not come out above `replacement`.
/// `as_uri` is the same path as a URI can have it.
pub(super) fn replace(target: &[u8], as_uri: &str, segments: usize, replacement: &str) -> Vec<u8> {
    let (path, query) = target.split_at(memchr(b'?', target).unwrap_or(target.len()));
    let path = if is_plain(path) {
        Cow::Borrowed(path)
    } else {
        normal_path(as_uri).into_owned().into_bytes().into()
    };
    let rest = &path[first(&path, segments).len()..];
    let mut replaced = [replacement.as_bytes(), rest, query].concat();
    if !replaced.starts_with(b"/") {
        replaced.insert(0, b'/');
    }
    replaced
}

/// What follows the first `segments` of a request's path, in its normal form if it is not plain.
pub(super) fn below(path: &str, segments: usize) -> String {
    let below = replace(path.as_bytes(), path, segments, "");
    String::from_utf8_lossy(&below).into_owned()
}

/// Whether each segment is one: none is empty but the last, or means another.
fn is_plain(path: &[u8]) -> bool {
    let mut segments = path.split(|&byte| byte == b'/');
    let is_rooted = segments.next().is_some_and(<[u8]>::is_empty);
    let mut segments = segments.peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if (segment.is_empty() && !is_last) || is_dots(segment) {
            return false;
        }
    }
    is_rooted
}

/// `.` or `..`, however it is spelled.
fn is_dots(segment: &[u8]) -> bool {
    let mut rest = segment;
    let mut dots = 0;
    while !rest.is_empty() {
        let dot = [&b"."[..], b"%2e", b"%2E"];
        let Some(after) = dot.iter().find_map(|dot| rest.strip_prefix(*dot)) else {
            return false;
        };
        rest = after;
        dots += 1;
    }
    (1..=2).contains(&dots)
}

/// The first `segments` of `path`, each with the slash before it.
fn first(path: &[u8], segments: usize) -> &[u8] {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    match slashes.map(|(index, _)| index).nth(segments) {
        Some(end) => &path[..end],
        None => path,
    }
}

/// The first `segments` of a request's path as the client sees them.
fn of_client(path: &str, segments: usize) -> String {
    let normal;
    let path = if is_plain(path.as_bytes()) {
        path
    } else {
        normal = normal_path(path);
        &normal
    };
    String::from_utf8_lossy(first(path.as_bytes(), segments)).into_owned()
}

/// Maps a backend's own URLs back to ones that the client can use.
#[derive(Debug)]
pub(super) struct WayBack {
    /// What the backend's paths begin with, and the client's do instead. `None` if they are the same.
    pub(super) prefix: Option<(String, String)>,
    /// What the backend may call itself.
    pub(super) own_hosts: Vec<String>,
    /// What the client calls it: `https://example.com`.
    pub(super) origin: Option<String>,
}

impl WayBack {
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for name in [LOCATION, CONTENT_LOCATION] {
            let location = headers.get(&name).and_then(|value| value.to_str().ok());
            let mapped = location.and_then(|location| self.location(location));
            if let Some(value) = mapped.and_then(|mapped| HeaderValue::try_from(mapped).ok()) {
                headers.insert(name, value);
            }
        }
        if self.prefix.is_some() && headers.contains_key(SET_COOKIE) {
            let cookies: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
            headers.remove(SET_COOKIE);
            for cookie in cookies {
                let mapped = cookie.to_str().ok().and_then(|cookie| self.cookie(cookie));
                let mapped = mapped.and_then(|mapped| HeaderValue::try_from(mapped).ok());
                headers.append(SET_COOKIE, mapped.unwrap_or(cookie));
            }
        }
    }

    /// `None` leaves it as it is.
    fn location(&self, location: &str) -> Option<String> {
        if location.starts_with('/') && !location.starts_with("//") {
            return self.path(location);
        }
        let uri: Uri = location.parse().ok()?;
        let authority = uri.authority()?;
        let usual = match uri.scheme_str() {
            Some("https") => ":443",
            _ => ":80",
        };
        let bare = |host: &str| {
            host.strip_suffix(usual)
                .unwrap_or(host)
                .to_ascii_lowercase()
        };
        let said = bare(authority.as_str());
        let origin = self.origin.as_deref()?;
        let is_own = self.own_hosts.iter().any(|host| bare(host) == said);
        let is_clients = origin
            .split("://")
            .nth(1)
            .is_some_and(|host| bare(host) == said);
        let after = location
            .split_once("://")?
            .1
            .get(authority.as_str().len()..)?;
        let path = self.path(after);
        if is_own {
            Some(format!("{origin}{}", path.as_deref().unwrap_or(after)))
        } else if is_clients {
            let scheme = uri.scheme_str()?;
            Some(format!("{scheme}://{authority}{}", path?))
        } else {
            None
        }
    }

    /// A path of the backend as the client sees it; `None` if it is the same, or already the client's: a backend may have read
    /// `X-Forwarded-Prefix`.
    fn path(&self, path: &str) -> Option<String> {
        let (theirs, ours) = self.prefix.as_ref()?;
        let is_below = |prefix: &str| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
        };
        let is_theirs = !theirs.is_empty() && is_below(theirs);
        if !ours.is_empty() && is_below(ours) && !is_theirs {
            return None;
        }
        let rest = path
            .strip_prefix(theirs.as_str())
            .filter(|_| is_below(theirs))?;
        let mapped = format!("{ours}{rest}");
        Some(if mapped.starts_with('/') {
            mapped
        } else {
            format!("/{mapped}")
        })
    }

    fn cookie(&self, cookie: &str) -> Option<String> {
        let mut is_mapped = false;
        let attributes = cookie.split(';').enumerate().map(|(index, attribute)| {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let path = (index > 0 && name.trim().eq_ignore_ascii_case("path"))
                .then(|| self.path(value.trim()))
                .flatten();
            match path {
                Some(path) => {
                    is_mapped = true;
                    Cow::Owned(format!("{name}={path}"))
                }
                None => Cow::Borrowed(attribute),
            }
        });
        let mapped = attributes.collect::<Vec<_>>().join(";");
        is_mapped.then_some(mapped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_stays_as_it_was_written() {
        for (target, segments, replacement, expected) in [
            ("/api/x", 1, "/v2", "/v2/x"),
            ("/api", 1, "/v2", "/v2"),
            ("/api/", 1, "/v2", "/v2/"),
            ("/api/x", 1, "", "/x"),
            ("/api", 1, "", "/"),
            ("/api?q=1", 1, "", "/?q=1"),
            ("/api?q=/a/b", 1, "/v2", "/v2?q=/a/b"),
            ("/api/a%2Fb%20c/?x=%2F", 1, "/v2", "/v2/a%2Fb%20c/?x=%2F"),
            ("/%61pi/x", 1, "/v2", "/v2/x"),
            ("/jobs/17/events/last", 3, "/e", "/e/last"),
            ("/x", 0, "/v2", "/v2/x"),
            ("/", 0, "/v2", "/v2/"),
            ("/api/x/../y", 1, "/v2", "/v2/y"),
            ("/api/%2e%2E/api/y", 1, "/v2", "/v2/y"),
            ("//api//y", 1, "/v2", "/v2/y"),
            ("/api/.hidden/...", 1, "", "/.hidden/..."),
        ] {
            let as_uri = target.split('?').next().unwrap();
            let replaced = replace(target.as_bytes(), as_uri, segments, replacement);
            assert_eq!(String::from_utf8(replaced).unwrap(), expected, "{target}");
        }
        let latin = replace(b"/api/caf\xE9", "/api/caf%E9", 1, "/v2");
        assert_eq!(latin, b"/v2/caf\xE9");
    }

    fn back(theirs: &str, ours: &str) -> WayBack {
        WayBack {
            prefix: Some((theirs.to_owned(), ours.to_owned())),
            own_hosts: vec!["127.0.0.1:3000".to_owned(), "app.internal".to_owned()],
            origin: Some("https://example.com".to_owned()),
        }
    }

    #[test]
    fn locations_are_mapped_back() {
        let stripped = back("", "/api");
        let replaced = back("/v2", "/api");
        for (way, location, expected) in [
            (&stripped, "/x?y", Some("/api/x?y")),
            (&stripped, "/", Some("/api/")),
            (&stripped, "/api/x", None),
            (&stripped, "/apis", Some("/api/apis")),
            (&stripped, "x/y", None),
            (&stripped, "//other/x", None),
            (
                &stripped,
                "http://127.0.0.1:3000/x",
                Some("https://example.com/api/x"),
            ),
            (
                &stripped,
                "http://APP.internal:80",
                Some("https://example.com/api"),
            ),
            (
                &stripped,
                "https://example.com/x",
                Some("https://example.com/api/x"),
            ),
            (&stripped, "https://elsewhere.test/x", None),
            (&replaced, "/v2/x", Some("/api/x")),
            (&replaced, "/v2", Some("/api")),
            (&replaced, "/v20", None),
            (&replaced, "/other", None),
            (
                &replaced,
                "http://app.internal/other",
                Some("https://example.com/other"),
            ),
            (&back("/v2", ""), "/v2", Some("/")),
            (&back("/api/v2", "/api"), "/api/v2/x", Some("/api/x")),
        ] {
            assert_eq!(way.location(location).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn cookie_paths_are_mapped_back() {
        let way = back("/v2", "/api");
        let mut headers = HeaderMap::new();
        for cookie in [
            "a=1; Path=/v2/x; Secure",
            "path=/v2",
            "b=2;path=/v2",
            "c=3; Path=/",
        ] {
            headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
        }
        way.apply(&mut headers);
        assert_eq!(
            headers.get_all(SET_COOKIE).iter().collect::<Vec<_>>(),
            [
                "a=1; Path=/api/x; Secure",
                "path=/v2",
                "b=2;path=/api",
                "c=3; Path=/"
            ]
        );
    }
}
