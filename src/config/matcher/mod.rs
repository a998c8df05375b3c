//! The conditions of a route.

use std::fmt;

use http::{HeaderName, HeaderValue, Method};

use crate::config::file::Table;
use crate::config::path::normal_path;
use crate::config::problem::Mistake;
use crate::config::value::text;

/// The conditions of a route; all of them must hold. An empty list is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matcher {
    /// The request's host is one of these.
    pub hosts: Vec<HostPattern>,
    /// Its path is this one.
    pub path: Option<PathPattern>,
    /// Its method is one of these.
    pub methods: Vec<Method>,
    /// It carries all of these headers.
    pub headers: Vec<HeaderMatch>,
    /// Its query has all of these parameters.
    pub query: Vec<QueryMatch>,
    /// The connection came in at one of the listeners with these names.
    pub listeners: Vec<String>,
}

/// A host without its port and its trailing dot, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// This one.
    Exact(String),
    /// Every host that ends with this, which begins with a dot: `.example.com` for `*.example.com`.
    Below(String),
}

/// A path in its normal form ([`normal_path`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    /// Not also whatever is below it.
    is_exact: bool,
    /// Some segments are `*`, which is any one segment.
    has_wildcards: bool,
}

/// A header condition of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The field name.
    pub name: HeaderName,
    /// The exact value; any value if `None`.
    pub value: Option<HeaderValue>,
}

/// A query condition of a route, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryMatch {
    /// Its name.
    pub name: String,
    /// The exact value; any value if `None`.
    pub value: Option<String>,
}

impl HostPattern {
    /// Whether `host`, which may be in capitals, is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name),
            Self::Below(suffix) => host
                .len()
                .checked_sub(suffix.len())
                .filter(|rest| *rest > 0)
                .and_then(|rest| host.get(rest..))
                .is_some_and(|end| end.eq_ignore_ascii_case(suffix)),
        }
    }

    /// Whether every host that `other` means is meant.
    fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Exact(name) => self.matches(name),
            Self::Below(suffix) => match self {
                Self::Exact(_) => false,
                Self::Below(own) => suffix.ends_with(own.as_str()),
            },
        }
    }
}

impl PathPattern {
    /// Whether `path`, in its normal form, is meant.
    pub fn matches(&self, path: &str) -> bool {
        if self.has_wildcards {
            return self.matches_segments(path);
        }
        let rest = path.strip_prefix(self.text.as_str());
        rest.is_some_and(|rest| rest.is_empty() || (!self.is_exact && rest.starts_with('/')))
    }

    fn matches_segments(&self, path: &str) -> bool {
        let mut segments = path.split('/');
        let mut wanted = self.text.split('/');
        let is_begin = wanted.by_ref().all(|wanted| {
            let is_it = |segment: &str| match wanted {
                "*" => !segment.is_empty(),
                wanted => segment == wanted,
            };
            segments.next().is_some_and(is_it)
        });
        is_begin && (!self.is_exact || segments.next().is_none())
    }

    /// How many segments it has, each with the slash before it.
    pub fn segments(&self) -> usize {
        self.text.matches('/').count()
    }

    /// The whole segments before the first wildcard.
    pub fn literal(&self) -> &str {
        match self.text.find("/*") {
            Some(end) if self.has_wildcards => &self.text[..end],
            _ => &self.text,
        }
    }

    /// Whether it takes this path only, and nothing below it.
    pub fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Whether every path that `other` means is meant.
    fn covers(&self, other: &Self) -> bool {
        if self.is_exact && !other.is_exact {
            return false;
        }
        // A `*` of the other's is a segment that only a `*` here takes, as any other text is.
        self.matches(&other.text)
    }
}

impl QueryMatch {
    /// Whether the query of a request has it.
    pub fn matches(&self, query: &str) -> bool {
        query.split('&').any(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let is_value = |wanted: &String| is_decoded(value, wanted);
            is_decoded(name, &self.name) && self.value.as_ref().is_none_or(is_value)
        })
    }
}

/// Whether `raw` of a query is `wanted` when decoded as forms are (URL Standard, section 5.1).
fn is_decoded(raw: &str, wanted: &str) -> bool {
    let mut wanted = wanted.bytes();
    let mut rest = raw.as_bytes();
    while let [byte, tail @ ..] = rest {
        let (byte, tail) = match (byte, tail) {
            (b'+', tail) => (b' ', tail),
            (b'%', [high, low, after @ ..]) => {
                let digit = |digit: u8| char::from(digit).to_digit(16);
                let decoded = digit(*high).zip(digit(*low));
                match decoded.and_then(|(high, low)| u8::try_from(high << 4 | low).ok()) {
                    Some(byte) => (byte, after),
                    None => (b'%', tail),
                }
            }
            (byte, tail) => (*byte, tail),
        };
        if wanted.next() != Some(byte) {
            return false;
        }
        rest = tail;
    }
    wanted.next().is_none()
}

/// Reads the conditions of one `[[route]]`.
pub(super) fn matcher(table: &mut Table<'_>) -> Matcher {
    let mut matcher = Matcher::default();
    if table.has("path") && table.has("path_exact") {
        let mistake = Mistake::new("a route has either a `path` or a `path_exact`")
            .help("leave out one of the two");
        table.refuse("path_exact", &mistake);
    } else {
        table.set("path_exact", &mut matcher.path, text(exact_path));
    }
    table.set("path", &mut matcher.path, text(path_prefix));
    table.one_or_more("host", &mut matcher.hosts, host_pattern);
    table.one_or_more("method", &mut matcher.methods, method);
    table.one_or_more("header", &mut matcher.headers, header);
    table.one_or_more("query", &mut matcher.query, query);
    table.one_or_more("listener", &mut matcher.listeners, |name| {
        Ok(name.to_owned())
    });
    matcher
}

/// Whether `first` takes every request that `second` would.
pub(super) fn covers(first: &Matcher, second: &Matcher) -> bool {
    /// One of several: each of the second's is within one of the first's.
    fn any<T>(first: &[T], second: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
        first.is_empty()
            || (!second.is_empty()
                && second
                    .iter()
                    .all(|second| first.iter().any(|first| covers(first, second))))
    }
    /// All of several: each of the first's is asked for by the second too.
    fn all<T>(first: &[T], second: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
        first
            .iter()
            .all(|first| second.iter().any(|second| covers(first, second)))
    }
    let path = match (&first.path, &second.path) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(first), Some(second)) => first.covers(second),
    };
    path && any(&first.hosts, &second.hosts, HostPattern::covers)
        && any(&first.methods, &second.methods, PartialEq::eq)
        && any(&first.listeners, &second.listeners, PartialEq::eq)
        && all(&first.headers, &second.headers, |first, second| {
            first.name == second.name && (first.value.is_none() || first.value == second.value)
        })
        && all(&first.query, &second.query, |first, second| {
            first.name == second.name && (first.value.is_none() || first.value == second.value)
        })
}

/// A prefix in its normal form and without its last slash; `None` for `/`, which every path begins with.
fn path_prefix(text: &str) -> Result<Option<PathPattern>, Mistake> {
    let normal = path(text)?;
    let prefix = normal.trim_end_matches('/');
    let pattern = pattern(prefix, false)?;
    Ok((!prefix.is_empty()).then_some(pattern))
}

fn exact_path(text: &str) -> Result<Option<PathPattern>, Mistake> {
    pattern(&path(text)?, true).map(Some)
}

fn pattern(normal: &str, is_exact: bool) -> Result<PathPattern, Mistake> {
    let stars = |segment: &&str| segment.contains('*');
    if let Some(segment) = normal.split('/').find(|s| stars(s) && *s != "*") {
        return Err(Mistake::new(format!(
            "a `*` is one whole segment, not a part of `{segment}`"
        ))
        .help("write such as `\"/jobs/*/events\"`"));
    }
    if let Some(prefix) = normal.strip_suffix("/*").filter(|_| !is_exact) {
        return Err(
            Mistake::new("a path matches everything below it, without a last `*`")
                .help(format!("write `\"{prefix}/\"`")),
        );
    }
    Ok(PathPattern {
        text: normal.to_owned(),
        is_exact,
        has_wildcards: normal.contains('*'),
    })
}

/// A path in its normal form.
fn path(text: &str) -> Result<String, Mistake> {
    if !text.starts_with('/') {
        return Err(
            Mistake::new(format!("`{text}` does not begin with a slash"))
                .help(format!("write `\"/{text}\"`")),
        );
    }
    if let Some(c) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || "?#".contains(*c))
    {
        return Err(Mistake::new(format!("`{c}` cannot stand in a path"))
            .help("write the path alone, other characters percent-encoded"));
    }
    Ok(normal_path(text).into_owned())
}

/// `replace_prefix`: a path in its normal form and without its last slash, so that nothing is left of `/`.
pub(super) fn replacement(text: &str) -> Result<String, Mistake> {
    Ok(path(text)?.trim_end_matches('/').to_owned())
}

/// `probe.path`: one path, other than the root.
pub(super) fn probe_path(text: &str) -> Result<String, Mistake> {
    match path_prefix(text)? {
        Some(PathPattern {
            text,
            has_wildcards: false,
            ..
        }) => Ok(text),
        Some(_) => Err(Mistake::new("the probe has one path, without a `*`")
            .help("write such as `\"/.well-known/sse-sidecar/probe\"`")),
        None => Err(Mistake::new("the probe would stand before the whole site")
            .help("write a path of its own, such as `\"/.well-known/sse-sidecar/probe\"`")),
    }
}

fn host_pattern(text: &str) -> Result<HostPattern, Mistake> {
    match text.strip_prefix("*.") {
        Some(rest) => host(rest).map(|name| HostPattern::Below(format!(".{name}"))),
        None => host(text).map(HostPattern::Exact),
    }
}

/// A host in lower case, without the trailing dot of a fully qualified name.
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
            .help("write such as `\"POST\"`, or `[\"GET\", \"HEAD\"]`")),
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

/// `name` or `name=value`.
fn query(text: &str) -> Result<QueryMatch, Mistake> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() || text.starts_with('?') || text.contains('&') {
        return Err(Mistake::new(format!("`{text}` is not a query parameter"))
            .help("write `\"name\"` or `\"name=value\"`, decoded, and several as a list"));
    }
    Ok(QueryMatch {
        name: name.to_owned(),
        value,
    })
}

/// What a request has to be, in a few words: `POST api.example.com/v1/chat X-Tenant`. A value may be a secret.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn joined<T: ToString>(items: &[T]) -> String {
            items.iter().map(T::to_string).collect::<Vec<_>>().join("|")
        }
        let Self {
            hosts,
            path,
            methods,
            headers,
            query,
            listeners,
        } = self;
        let path = path.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut words = vec![joined(methods), joined(hosts) + &path];
        words.extend(headers.iter().map(|header| header.name.to_string()));
        words.extend(query.iter().map(|query| format!("?{}", query.name)));
        words.extend(listeners.iter().map(|name| format!("@{name}")));
        words.retain(|word| !word.is_empty());
        match &*words {
            [] => f.write_str("any"),
            words => f.write_str(&words.join(" ")),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// As it is written in the file.
impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
