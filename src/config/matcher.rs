//! The conditions of a route.

use http::{HeaderName, HeaderValue, Method};

use super::file::Table;
use super::path::normal_path;
use super::problem::Mistake;
use super::value::text;
use super::{HeaderMatch, Matcher};

/// Reads the conditions of one `[[route]]`.
pub(super) fn matcher(table: &mut Table<'_>) -> Matcher {
    let mut matcher = Matcher::default();
    table.set("path", &mut matcher.path, text(path));
    table.set("host", &mut matcher.host, text(host));
    table.set("method", &mut matcher.method, text(method));
    table.set("header", &mut matcher.header, text(header));
    matcher
}

/// Whether `first` takes every request that `second` would.
pub(super) fn covers(first: &Matcher, second: &Matcher) -> bool {
    fn implied<T>(
        first: Option<&T>,
        second: Option<&T>,
        is_within: impl Fn(&T, &T) -> bool,
    ) -> bool {
        match (first, second) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(first), Some(second)) => is_within(second, first),
        }
    }
    implied(first.host.as_ref(), second.host.as_ref(), PartialEq::eq)
        && implied(first.method.as_ref(), second.method.as_ref(), PartialEq::eq)
        && implied(first.path.as_ref(), second.path.as_ref(), |path, prefix| {
            path.strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        && implied(
            first.header.as_ref(),
            second.header.as_ref(),
            |header, wanted| {
                header.name == wanted.name
                    && (wanted.value.is_none() || header.value == wanted.value)
            },
        )
}

/// A prefix in its normal form and without its last slash; `None` for `/`, which every path begins with.
fn path(text: &str) -> Result<Option<String>, Mistake> {
    if !text.starts_with('/') {
        return Err(
            Mistake::new(format!("`{text}` does not begin with a slash"))
                .help(format!("write `\"/{text}\"`")),
        );
    }
    if let Some(prefix) = text.strip_suffix('*') {
        return Err(
            Mistake::new("a path matches everything below it, without a `*`")
                .help(format!("write `\"{prefix}\"`")),
        );
    }
    if let Some(c) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || "?#".contains(*c))
    {
        return Err(Mistake::new(format!("`{c}` cannot stand in a path"))
            .help("write the path alone, other characters percent-encoded"));
    }
    let normal = normal_path(text);
    let prefix = normal.trim_end_matches('/');
    Ok((!prefix.is_empty()).then(|| prefix.to_owned()))
}

/// `probe.path`: one path, other than the root.
pub(super) fn probe_path(text: &str) -> Result<String, Mistake> {
    path(text)?.ok_or_else(|| {
        Mistake::new("the probe would stand before the whole site")
            .help("write a path of its own, such as `\"/.well-known/sse-sidecar/probe\"`")
    })
}

/// A host in lower case, without the dot that may stand at the end of a full name.
pub(super) fn host(text: &str) -> Result<String, Mistake> {
    let mistake = |text| Mistake::new(format!("`{text}` is not a host name"));
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    match bare.parse::<http::uri::Authority>() {
        Ok(authority) if authority.host() == text && !text.contains('*') => {
            let host = text.strip_suffix('.').unwrap_or(text);
            Ok(host.to_ascii_lowercase())
        }
        Ok(authority) if !text.contains(['*', '@']) => Err(mistake(text).help(format!(
            "write `\"{}\"`, without a scheme or a port",
            authority.host()
        ))),
        Ok(_) | Err(_) => Err(mistake(text).help("write one name such as `\"api.example.com\"`")),
    }
}

/// A method, which by HTTP's rules is case-sensitive.
fn method(text: &str) -> Result<Method, Mistake> {
    let upper = text.to_ascii_uppercase();
    match Method::from_bytes(upper.as_bytes()) {
        Ok(method) if upper == text => Ok(method),
        Ok(_) => {
            Err(Mistake::new("methods are case-sensitive").help(format!("write `\"{upper}\"`")))
        }
        Err(_) => Err(Mistake::new(format!("`{text}` is not a method"))
            .help("write one method such as `\"POST\"`")),
    }
}

/// `Name` or `Name: value`.
fn header(text: &str) -> Result<HeaderMatch, Mistake> {
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (text, None),
    };
    let help = "write `\"X-Name\"` or `\"X-Name: value\"`";
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Mistake::new(format!("`{name}` is not the name of a header")).help(help))?;
    let value = value
        .map(HeaderValue::from_str)
        .transpose()
        .map_err(|_| Mistake::new("control characters cannot stand in a header").help(help))?;
    Ok(HeaderMatch { name, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_path(text: &str) -> Matcher {
        Matcher {
            path: path(text).unwrap(),
            ..Matcher::default()
        }
    }

    #[test]
    fn a_path_covers_what_is_below_it() {
        for (first, second, covered) in [
            ("/", "/v1", true),
            ("/v1", "/v1/", true),
            ("/v1/", "/v1", true),
            ("/v1", "/v1/chat", true),
            ("/v1", "/v10", false),
            ("/v1/chat", "/v1", false),
            ("/v1", "/", false),
        ] {
            assert_eq!(
                covers(&with_path(first), &with_path(second)),
                covered,
                "{first} {second}"
            );
        }
    }

    #[test]
    fn a_path_is_written_in_any_form() {
        for text in ["/v1/chat", "/v1/%63hat/", "//v1/./chat", "/x/../v1/chat"] {
            assert_eq!(path(text).unwrap().as_deref(), Some("/v1/chat"), "{text}");
        }
        assert_eq!(path("/.//").unwrap(), None);
    }

    #[test]
    fn every_condition_must_be_covered() {
        let post = Matcher {
            method: Some(Method::POST),
            ..with_path("/v1")
        };
        assert!(covers(&with_path("/v1"), &post));
        assert!(!covers(&post, &with_path("/v1")));

        let any = Matcher {
            header: Some(header("X-A").unwrap()),
            ..Matcher::default()
        };
        let one = Matcher {
            header: Some(header("x-a: 1").unwrap()),
            ..Matcher::default()
        };
        assert!(covers(&any, &one));
        assert!(!covers(&one, &any));
    }

    #[test]
    fn hosts() {
        assert_eq!(host("API.Example.com").as_deref(), Ok("api.example.com"));
        assert_eq!(host("[::1]").as_deref(), Ok("[::1]"));
        assert_eq!(host("example.com.").as_deref(), Ok("example.com"));
        for text in [
            "",
            "*.example.com",
            "a:80",
            "http://a",
            "a/b",
            "me@a",
            "a b",
            "é.com",
        ] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
