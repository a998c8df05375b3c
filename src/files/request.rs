//! The file that a request wants.

use std::path::PathBuf;

use http::header::{ACCEPT, HeaderMap};

use super::weighted::weighted;

/// How often a name may be percent-encoded; more than this is an attack.
const SPELLINGS: usize = 4;

/// What a path names below the root.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Plain names, one below the other; empty for the root itself. `None` if no file can have such a name, because a slash is
    /// encoded in it.
    pub(super) path: Option<PathBuf>,
    /// The path ends with a slash.
    pub(super) is_folder: bool,
    /// It could be a page that a single-page application makes itself.
    pub(super) may_fall_back: bool,
}

impl Target {
    /// Reads `below`, the end of the path `whole`, both percent-encoded. `None` for what no request for a file has: dot segments,
    /// dotfiles, backslashes and control characters, percent-encoded any number of times, and a `%` that encodes nothing.
    pub(super) fn parse(whole: &str, below: &str) -> Option<Self> {
        // The caller has found the end by the path's normal form, in which dot segments are resolved.
        if whole.split('/').any(climbs) {
            return None;
        }
        let mut target = Self {
            path: Some(PathBuf::new()),
            is_folder: whole.ends_with('/'),
            // nginx merges slashes, and so do routes. But no application has a page there.
            may_fall_back: !whole.contains("//"),
        };
        let named = below.split('/').filter(|segment| !segment.is_empty());
        for (index, segment) in named.enumerate() {
            if !is_well_formed(segment) {
                return None;
            }
            let spellings = spellings(segment)?;
            let name = spellings.first()?;
            // RFC 8615 reserves this name for public files.
            let is_well_known = index == 0 && name == b".well-known";
            if !is_well_known && spellings.iter().any(|name| is_hostile(name)) {
                return None;
            }
            let name = str::from_utf8(name).ok()?;
            target.path = target
                .path
                .filter(|_| !name.contains('/'))
                .map(|path| path.join(name));
        }
        Some(target)
    }
}

/// Whether a page is requested, rather than a part of one: only then may the fallback replace a missing file. A missing asset has
/// to be a 404: a page in its place is an obscure error in the browser, and poison in caches.
///
/// Browsers name HTML when they navigate. `*/*` may come from a script or an image as well as from curl: such a request gets the
/// fallback unless Fetch Metadata says that it is no navigation, or the name has a dot like that of an asset.
pub(super) fn is_navigation(headers: &HeaderMap, path: &str) -> bool {
    let accepts = |wanted: &[&str]| {
        weighted(headers, &ACCEPT).any(|(range, weight)| {
            weight > 0.0 && wanted.iter().any(|w| range.eq_ignore_ascii_case(w))
        })
    };
    if accepts(&["text/html", "application/xhtml+xml"]) {
        return true;
    }
    let accepts_any = !headers.contains_key(ACCEPT) || accepts(&["*/*"]);
    let is_navigation = headers
        .get("sec-fetch-mode")
        .is_none_or(|mode| mode == "navigate");
    let last = path.rsplit('/').next().unwrap_or_default();
    accepts_any && is_navigation && !decode(last.as_bytes()).contains(&b'.')
}

/// Whether a segment is a dot segment, or holds one.
fn climbs(segment: &str) -> bool {
    spellings(segment).is_none_or(|names| {
        let mut parts = names.iter().flat_map(|name| parts(name));
        parts.any(|part| matches!(part, b"." | b".."))
    })
}

/// Whether a name is that of a dotfile or leads elsewhere; an encoded slash alone does not.
fn is_hostile(name: &[u8]) -> bool {
    name.first() == Some(&b'/')
        || name
            .iter()
            .any(|byte| byte.is_ascii_control() || *byte == b'\\')
        || parts(name).any(|part| part.starts_with(b"."))
}

fn parts(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|byte| matches!(byte, b'/' | b'\\'))
}

/// The segment decoded once, twice, and so on, as long as that changes anything. `None` if it never stops.
fn spellings(segment: &str) -> Option<Vec<Vec<u8>>> {
    let mut spellings = vec![decode(segment.as_bytes())];
    while let Some(last) = spellings.last()
        && last.contains(&b'%')
    {
        let next = decode(last);
        if next == *last {
            break;
        }
        if spellings.len() == SPELLINGS {
            return None;
        }
        spellings.push(next);
    }
    Some(spellings)
}

/// Whether every `%` precedes two hexadecimal digits.
fn is_well_formed(segment: &str) -> bool {
    segment.split('%').skip(1).all(|rest| {
        let digits = rest.bytes().take(2).filter(u8::is_ascii_hexdigit);
        digits.count() == 2
    })
}

/// `text` with each `%` and two hexadecimal digits as the byte that they mean. Any other `%` is itself.
pub(super) fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let digits = digit(text.get(at + 1)).zip(digit(text.get(at + 2)));
        if let Some((high, low)) = digits.filter(|_| byte == b'%') {
            decoded.extend(u8::try_from(high << 4 | low));
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parse(path: &str) -> Option<Target> {
        Target::parse(path, path)
    }

    #[test]
    fn a_plain_path_is_its_names() {
        for (path, names, is_folder) in [
            ("/", "", true),
            ("/a.js", "a.js", false),
            ("/a/b%20c.css", "a/b c.css", false),
            ("/a/", "a", true),
            ("/caf%C3%A9", "caf\u{e9}", false),
            ("/100%25", "100%", false),
            ("/a..b/c.", "a..b/c.", false),
            (
                "/.well-known/acme-challenge/x",
                ".well-known/acme-challenge/x",
                false,
            ),
            ("/%2ewell-known/x", ".well-known/x", false),
        ] {
            let expected = Target {
                path: Some(PathBuf::from(names)),
                is_folder,
                may_fall_back: true,
            };
            assert_eq!(parse(path), Some(expected), "{path}");
        }
    }

    #[test]
    fn slashes_are_merged_but_are_no_page() {
        for path in ["//a//b", "/a//b", "//a/b"] {
            let target = parse(path).unwrap();
            assert_eq!(target.path, Some(PathBuf::from("a/b")), "{path}");
            assert!(!target.may_fall_back, "{path}");
        }
    }

    #[test]
    fn the_end_of_a_path_is_read_and_its_beginning_only_for_dot_segments() {
        let target = Target::parse("/.app/x", "/x").unwrap();
        assert_eq!(target.path, Some(PathBuf::from("x")));
        assert!(!Target::parse("/docs", "").unwrap().is_folder);
        assert!(Target::parse("/docs/", "").unwrap().is_folder);
        for whole in [
            "/app/../x",
            "/app/%2e%2E/x",
            "/a/./x",
            "/app/%252e./x",
            "/..%2fapp/x",
        ] {
            assert_eq!(Target::parse(whole, "/x"), None, "{whole}");
        }
    }

    #[test]
    fn an_encoded_slash_names_no_file_but_may_be_a_page() {
        let target = parse("/project/group%2Fname").unwrap();
        assert_eq!(target.path, None);
        assert!(target.may_fall_back);
    }

    #[test]
    fn whatever_could_lead_elsewhere_names_nothing() {
        for path in [
            "/..",
            "/../etc/passwd",
            "/a/../../etc/passwd",
            "/./a",
            "/%2e%2e/etc/passwd",
            "/.%2e/x",
            "/%252e%252e/x",
            "/%25252e%25252e/x",
            "/%252525252525252e/x",
            "/..%2fetc%2fpasswd",
            "/..%252fetc%252fpasswd",
            "/%2fetc%2fpasswd",
            "/a%2f..%2f..%2fb",
            "/..\\..\\etc\\passwd",
            "/..%5c..%5cetc",
            "/a%5cb",
            "/a%255cb",
            "/%5cetc",
            "/a%00.html",
            "/a%2500",
            "/a%0ab",
            "/.git/config",
            "/a/.env",
            "/%2egit/config",
            "/%252egit/config",
            "/a/.well-known/x",
            "/.well-known/.x",
            "/.well-known/../x",
            "/....//x",
            "/..;/x",
            "/%c0%ae%c0%ae/x",
            "/a%ff",
            "/100%",
            "/%u002e%u002e/x",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }

    #[test]
    fn navigations_are_distinguished_from_assets() {
        let asks = |accept: &'static str, mode: &'static str, path| {
            let fields = [(ACCEPT, accept), ("sec-fetch-mode".parse().unwrap(), mode)];
            let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
            let headers = fields.map(|(name, value)| (name, HeaderValue::from_static(value)));
            is_navigation(&headers.collect(), path)
        };
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        assert!(asks(chromium, "navigate", "/users/7"));
        assert!(asks(chromium, "", "/users/john.doe"));
        // What a service worker fetches for a navigation.
        assert!(asks(chromium, "same-origin", "/users/7"));
        assert!(asks("*/*", "", "/users/7")); // curl
        assert!(asks("", "", "/users/7"));
        assert!(asks("Text/HTML;q=0.5", "", "/"));
        assert!(!asks("*/*", "no-cors", "/assets/lost")); // <script>
        assert!(!asks("*/*", "", "/assets/lost.js"));
        assert!(!asks("", "", "/assets/lost%2ejs"));
        assert!(!asks("text/css,*/*;q=0.1", "", "/assets/lost.css"));
        assert!(!asks("image/avif,image/webp,*/*;q=0.8", "no-cors", "/lost"));
        assert!(!asks("*/*", "cors", "/api/lost"));
        assert!(!asks("application/json", "", "/api/lost"));
        assert!(!asks("text/html;q=0, application/json", "", "/api/lost"));
        assert!(!asks("text/event-stream", "", "/events"));
    }
}
