//! Paths as routes compare them. `/v1/%63hat`, `//v1/chat` and `/v1/./chat` are one and the same resource to most backends, so they
//! must be to routes too: otherwise a request gets past a route by spelling its path otherwise.

use std::borrow::Cow;

use memchr::memchr;

/// A path in its normal form: percent-decoded except for `%2F`, then without repeated slashes, then without dot segments, like
/// nginx's `$uri`. Borrowed if it is normal already, as nearly all are.
///
/// What has to be encoded in a path (`%2F`, `%25`, `%3F`, controls, bytes that are not ASCII) stays encoded, in capitals: so the
/// normal form is a path itself, and its own normal form.
pub fn normal_path(path: &str) -> Cow<'_, str> {
    if !path.starts_with('/') || is_normal(path) {
        return Cow::Borrowed(path); // `*` is no path
    }
    let decoded = decoded(path.as_bytes());
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_in_slash = false;
    for segment in decoded.split('/') {
        ends_in_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()), // above the root is the root (RFC 3986, section 5.2.4)
            segment => segments.push(segment),
        }
    }
    let mut normal = String::with_capacity(decoded.len());
    for segment in &segments {
        normal.extend(["/", segment]);
    }
    if ends_in_slash || segments.is_empty() {
        normal.push('/');
    }
    Cow::Owned(normal)
}

fn is_normal(path: &str) -> bool {
    let bytes = path.as_bytes();
    memchr(b'%', bytes).is_none()
        && bytes.iter().all(u8::is_ascii_graphic)
        && !path.contains("//")
        && !has_dot_segment(bytes)
}

fn has_dot_segment(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some(dot) = memchr(b'.', rest) {
        let is_start = dot > 0 && rest[dot - 1] == b'/';
        let after = &rest[dot + 1..];
        if is_start && matches!(after, [] | [b'/', ..] | [b'.'] | [b'.', b'/', ..]) {
            return true;
        }
        rest = after;
    }
    false
}

/// Percent-decodes what needs no encoding, and encodes what does.
fn decoded(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        let (byte, tail) = match (byte, tail) {
            (b'%', [high, low, tail @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (Encoded::Yes(high << 4 | low), tail),
                _ => (Encoded::No(b'%'), &rest[1..]),
            },
            (byte, tail) => (Encoded::No(*byte), tail),
        };
        match byte {
            Encoded::Yes(byte) if byte.is_ascii_graphic() && !b"/%?#".contains(&byte) => {
                text.push(char::from(byte));
            }
            Encoded::No(byte) if byte.is_ascii_graphic() && byte != b'%' => {
                text.push(char::from(byte));
            }
            Encoded::Yes(byte) | Encoded::No(byte) => {
                let hex = |digit: u8| char::from(b"0123456789ABCDEF"[usize::from(digit)]);
                text.extend(['%', hex(byte >> 4), hex(byte & 0xF)]);
            }
        }
        rest = tail;
    }
    text
}

/// A byte, and whether it was percent-encoded.
enum Encoded {
    Yes(u8),
    No(u8),
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The `$uri` of nginx 1.22, and where the normal form differs: nginx decodes everything, and rejects what is malformed or
    /// above the root.
    #[test]
    fn paths_are_normal_as_in_nginx() {
        for path in [
            "/",
            "/v1/chat",
            "/.well-known/x",
            "/a/.b/..c/...",
            "/..a",
            "/a+b",
            "/v1;x/chat",
            "/v1/chat/..;/x",
            "/a.b/c.",
        ] {
            assert!(matches!(normal_path(path), Cow::Borrowed(same) if same == path));
        }
        for (path, normal) in [
            ("/%63hat", "/chat"),
            ("/%61/%62/", "/a/b/"),
            ("//v1", "/v1"),
            ("/v1//chat///", "/v1/chat/"),
            ("/./", "/"),
            ("/.", "/"),
            ("/v1/.", "/v1/"),
            ("/v1/..", "/"),
            ("/a/../", "/"),
            ("/v1/./chat", "/v1/chat"),
            ("/v1/../v1/chat", "/v1/chat"),
            ("/v1/%2e%2e/chat", "/chat"),
            ("/v1/%2E/chat", "/v1/chat"),
            ("/v1/chat/%2e", "/v1/chat/"),
            ("/v1/.%2e/x", "/x"),
            ("/a//../b", "/b"),
            ("/a/..//b", "/b"),
            ("/v1/%5c../x", "/v1/\\../x"),
            // Decoded by nginx.
            ("/a%2fb", "/a%2Fb"),
            ("/a%2f..%2fb", "/a%2F..%2Fb"),
            ("/%2563hat", "/%2563hat"),
            ("/100%25", "/100%25"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/a%3fb%23", "/a%3Fb%23"),
            // Refused by nginx.
            ("/..", "/"),
            ("/../v1", "/v1"),
            ("/a/b/../../..", "/"),
            ("/100%", "/100%25"),
            ("/a%zz%4", "/a%25zz%254"),
            ("/%00", "/%00"),
            ("/caf\u{e9}", "/caf%C3%A9"),
        ] {
            assert_eq!(normal_path(path), normal, "{path}");
        }
        assert_eq!(normal_path("*"), "*");
        assert_eq!(normal_path(""), "");
    }

    proptest! {
        #[test]
        fn a_normal_path_is_its_own_normal_form(path in "(/|\\.|%2[eEfF5]|%6[13]|%|a|\u{e9}){0,12}") {
            let path = format!("/{path}");
            let normal = normal_path(&path);
            prop_assert_eq!(&normal_path(&normal), &normal);
            prop_assert!(normal.starts_with('/') && !normal.contains("//"));
            prop_assert!(!normal.split('/').any(|segment| [".", ".."].contains(&segment)));
            prop_assert!(normal.bytes().all(|byte| byte.is_ascii_graphic()));
        }

        /// `is_normal` is only there to save the work.
        #[test]
        fn what_is_left_as_it_is_was_normal(path in "(/|\\.|a|b){0,12}") {
            let path = format!("/{path}");
            if matches!(normal_path(&path), Cow::Borrowed(_)) {
                let slow = normal_path(&format!("/%61/..{path}")).into_owned();
                prop_assert_eq!(path, slow);
            }
        }
    }
}
