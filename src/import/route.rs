//! Routes as the importer writes them, with each key of the sidecar's file in one place.

use std::collections::BTreeMap;
use std::fmt;

use super::output::{comment, line};
use super::pattern::Path;
use super::toml::Toml;

/// What a route can say, in the order in which it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Listener,
    Host,
    Path,
    PathExact,
    Method,
    Header,
    Query,
    AccessRules,
    AccessBasicAuth,
    AccessAuthorize,
    AuthorizeHeaders,
    LimitRequests,
    LimitStreams,
    LimitBy,
    LimitBody,
    Redirect,
    Respond,
    Files,
    ReplacePrefix,
    Url,
    Urls,
    Balance,
    UpstreamHost,
    TlsCa,
    TlsCertificate,
    TlsPrivateKey,
    TlsServerName,
    RequestSet,
    RequestRemove,
    ResponseSet,
    ResponseAdd,
    ResponseRemove,
    Cors,
    Connect,
    ResponseHead,
    Read,
    Write,
    RequestBody,
}

impl Key {
    /// As it is written in a `[[route]]`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Host => "host",
            Self::Path => "path",
            Self::PathExact => "path_exact",
            Self::Method => "method",
            Self::Header => "header",
            Self::Query => "query",
            Self::AccessRules => "access.rules",
            Self::AccessBasicAuth => "access.basic_auth",
            Self::AccessAuthorize => "access.authorize",
            Self::AuthorizeHeaders => "access.authorize_headers",
            Self::LimitRequests => "limits.requests_per_client",
            Self::LimitStreams => "limits.streams_per_client",
            Self::LimitBy => "limits.by",
            Self::LimitBody => "limits.request_body",
            Self::Redirect => "redirect",
            Self::Respond => "respond",
            Self::Files => "files",
            Self::ReplacePrefix => "replace_prefix",
            Self::Url => "upstream.url",
            Self::Urls => "upstream.urls",
            Self::Balance => "upstream.balance",
            Self::UpstreamHost => "upstream.host",
            Self::TlsCa => "upstream.tls.ca",
            Self::TlsCertificate => "upstream.tls.certificate",
            Self::TlsPrivateKey => "upstream.tls.private_key",
            Self::TlsServerName => "upstream.tls.server_name",
            Self::RequestSet => "request_headers.set",
            Self::RequestRemove => "request_headers.remove",
            Self::ResponseSet => "response_headers.set",
            Self::ResponseAdd => "response_headers.add",
            Self::ResponseRemove => "response_headers.remove",
            Self::Cors => "cors",
            Self::Connect => "timeouts.connect",
            Self::ResponseHead => "timeouts.response_head",
            Self::Read => "timeouts.read",
            Self::Write => "timeouts.write",
            Self::RequestBody => "timeouts.request_body",
        }
    }

    /// Whether it decides who may call.
    pub(super) fn is_guard(self) -> bool {
        (Self::AccessRules..=Self::LimitBy).contains(&self)
    }

    /// Whether it says what answers.
    pub(super) fn is_action(self) -> bool {
        matches!(
            self,
            Self::Redirect | Self::Respond | Self::Files | Self::Url | Self::Urls
        )
    }

    /// Whether it says which requests a route takes.
    pub(super) fn is_condition(self) -> bool {
        self <= Self::Query
    }
}

/// A value and the lines that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) value: Toml,
    pub(super) from: Vec<Origin>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// For a comment; may be empty.
    pub(super) text: String,
    /// The number of its directive.
    pub(super) directive: Option<usize>,
}

impl From<&str> for Origin {
    fn from(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            directive: None,
        }
    }
}

/// One `[[route]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Route {
    /// Where it comes from, and what there is to know of it.
    pub(super) comments: Vec<String>,
    pub(super) settings: BTreeMap<Key, Setting>,
    /// Why it is written as a comment.
    pub(super) disabled: Option<Disabled>,
}

/// Why a route is written as a comment, with another one in its place that answers with an error: so its requests do not go to a wider
/// route, where nothing guards them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Disabled {
    pub(super) reasons: Vec<String>,
    pub(super) is_guard: bool,
    /// No request could come here, so that none has to be kept from a wider route.
    pub(super) is_unreachable: bool,
}

impl Route {
    pub(super) fn new(comment: impl Into<String>) -> Self {
        Self {
            comments: vec![comment.into()],
            ..Self::default()
        }
    }

    /// Sets a key; `from` says where the value is from, and may be empty.
    pub(super) fn set(&mut self, key: Key, value: impl Into<Toml>, from: impl Into<Origin>) {
        let from = Some(from.into()).filter(|from| *from != Origin::default());
        let value = value.into();
        self.settings.insert(
            key,
            Setting {
                value,
                from: from.into_iter().collect(),
            },
        );
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.settings.contains_key(&key)
    }

    /// Puts an entry into a table, or into a list.
    pub(super) fn put(&mut self, key: Key, name: &str, value: Option<&str>, from: Origin) {
        let empty = match value {
            Some(_) => Toml::Table(Vec::new()),
            None => Toml::List(Vec::new()),
        };
        let setting = self.settings.entry(key).or_insert_with(|| Setting {
            value: empty,
            from: Vec::new(),
        });
        if from != Origin::default() && !setting.from.contains(&from) {
            setting.from.push(from);
        }
        match (&mut setting.value, value) {
            (Toml::Table(entries), Some(value)) => {
                match entries
                    .iter_mut()
                    .find(|(known, _)| known.eq_ignore_ascii_case(name))
                {
                    // One name has one value here; most fields are lists, which may be joined.
                    Some((_, Toml::Text(before))) => *before = format!("{before}, {value}"),
                    Some(_) => {}
                    None => entries.push((name.to_owned(), value.into())),
                }
            }
            (Toml::List(items), _) => items.push(name.into()),
            _ => {}
        }
    }

    /// Sets the path, unless it is the root, which every path is below.
    pub(super) fn set_path(&mut self, path: &Path) {
        self.settings.remove(&Key::Path);
        self.settings.remove(&Key::PathExact);
        match path {
            Path::Exact(path) => self.set(Key::PathExact, path.as_str(), ""),
            Path::Prefix(path) if path == "/" => {}
            Path::Prefix(path) => self.set(Key::Path, path.as_str(), ""),
        }
    }

    /// Writes it as a comment.
    pub(super) fn disable(&mut self, is_guard: bool, reason: impl Into<String>) {
        let disabled = self.disabled.get_or_insert_default();
        disabled.is_guard |= is_guard;
        let reason = reason.into();
        if !disabled.reasons.contains(&reason) {
            disabled.reasons.push(reason);
        }
    }

    /// Writes it as a comment, with nothing in its place.
    pub(super) fn retire(&mut self, reason: impl Into<String>) {
        self.disable(false, reason);
        if let Some(disabled) = &mut self.disabled {
            disabled.is_unreachable = true;
        }
    }

    /// Whether it takes every path.
    pub(super) fn takes_all(&self) -> bool {
        !self
            .settings
            .keys()
            .any(|key| key.is_condition() && *key != Key::Host && *key != Key::Listener)
    }

    /// The route that replaces one that is a comment.
    pub(super) fn stand_in(&self) -> Option<Self> {
        let disabled = self
            .disabled
            .as_ref()
            .filter(|disabled| !disabled.is_unreachable)?;
        let conditions = self.settings.iter().filter(|(key, _)| key.is_condition());
        let mut route = Self {
            comments: vec!["in its place until then".to_owned()],
            settings: conditions
                .map(|(key, setting)| (*key, setting.clone()))
                .collect(),
            disabled: None,
        };
        let status = if disabled.is_guard { 403 } else { 501 };
        let text = "This part of the nginx configuration was not imported.\n";
        route.set(
            Key::Respond,
            Toml::Table(vec![
                ("status".to_owned(), Toml::Number(status)),
                ("text".to_owned(), text.into()),
            ]),
            "",
        );
        Some(route)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            comments,
            settings,
            disabled,
        } = self;
        for text in comments {
            writeln!(f, "# {}", comment(text))?;
        }
        let mut prefix = "";
        if let Some(Disabled {
            reasons,
            is_guard,
            is_unreachable: _,
        }) = disabled
        {
            let why = if *is_guard {
                "GUARD NOT KEPT"
            } else {
                "NOT IMPORTED"
            };
            for reason in reasons {
                writeln!(f, "# {why}: {}", comment(reason))?;
            }
            prefix = "# ";
        }
        writeln!(f, "{prefix}[[route]]")?;
        for (key, Setting { value, from }) in settings {
            line(
                f,
                prefix,
                &format!("{} = {value}", key.name()),
                &origins(from),
            )?;
        }
        Ok(())
    }
}

/// All origins of a value, for the end of its line.
fn origins(from: &[Origin]) -> String {
    let texts: Vec<_> = from.iter().map(|origin| origin.text.as_str()).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_written_in_one_order() {
        let mut route = Route::new("site:3 location /a");
        route.set(Key::Url, "http://b", "line 4");
        route.set_path(&Path::Prefix("/a".to_owned()));
        route.put(Key::RequestSet, "X-A", Some("1"), "line 5".into());
        route.put(Key::RequestSet, "x-a", Some("2"), "line 6".into());
        route.put(Key::RequestRemove, "X-B", None, Origin::default());
        let expected = "# site:3 location /a\n[[route]]\npath = \"/a\"\n\
                        upstream.url = \"http://b\"                           # line 4\n\
                        request_headers.set = { X-A = \"1, 2\" }              # line 5, line 6\n\
                        request_headers.remove = [\"X-B\"]\n";
        assert_eq!(route.to_string().replace("  # \n", "\n"), expected);
    }

    #[test]
    fn a_route_that_is_a_comment_has_one_that_answers_in_its_place() {
        let mut route = Route::new("x");
        route.set_path(&Path::Exact("/a".to_owned()));
        route.set(Key::Url, "http://b", "");
        route.disable(true, "satisfy any");
        assert!(route.to_string().lines().all(|line| line.starts_with("# ")));
        let stand_in = route.stand_in().unwrap().to_string();
        assert!(
            stand_in.contains("path_exact = \"/a\"\nrespond = { status = 403,"),
            "{stand_in}"
        );
    }
}
