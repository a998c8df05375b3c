//! What becomes of a route's requests.

use std::path::Path;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::fields::HeaderEdits;
use super::file::{Table, Value};
use super::problem::Mistake;
use super::template::Template;
use super::value::{choice, expected, host, number, text};
use super::{Balance, Files, Scheme, Upstream};

/// What becomes of a route's requests.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A backend answers them.
    Proxy(Proxied),
    /// Their clients are sent elsewhere.
    Redirect(Redirect),
    /// They all get the same answer.
    Respond(Respond),
    /// They get files.
    Files(Files),
}

/// How requests go to a backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Proxied {
    /// Where they go. Routes with the same URL share it, and so its pool of connections.
    pub upstream: Arc<Upstream>,
    /// How they are spread over several backends, of which `upstream` is the first; `None` for a single one without such keys.
    pub balance: Option<Arc<Balance>>,
    /// The Host field for it; `None` is the client's.
    pub host: Option<HeaderValue>,
    /// Edits of their request headers.
    pub request_headers: HeaderEdits,
    /// What stands there instead of the path that the route matches, without a last slash.
    pub replace_prefix: Option<String>,
    /// Whether the backend hears who the client is.
    pub forwarded: Forwarded,
}

/// Whether a backend hears who the client is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Forwarded {
    /// In all the fields that are in use.
    #[default]
    On,
    /// No fields at all: for an external API.
    Off,
}

/// Where a client is redirected. What is `None` stays as in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<Scheme>,
    /// The host, without a port.
    pub host: Option<Template>,
    /// The port.
    pub port: Option<u16>,
    /// The path, and a query if it holds a `?`.
    pub path: Option<Template>,
    /// What stands there instead of the path that the route matches, without a last slash.
    pub replace_prefix: Option<String>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// An answer that is always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub text: String,
    /// What that is.
    pub content_type: HeaderValue,
}

/// What a route does by itself; `None` goes to a backend.
#[derive(Debug, Clone)]
pub(super) enum OwnAction {
    Redirect(Redirect),
    Respond(Respond),
    Files(Files),
}

impl Proxied {
    /// Everywhere that they may go.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let several = self.balance.iter().flat_map(|balance| &balance.backends);
        let several = several.map(|backend| &backend.upstream);
        let only = self.balance.is_none().then_some(&self.upstream);
        several.chain(only)
    }
}

impl Action {
    /// How requests go to a backend, if one answers.
    pub fn proxied(&self) -> Option<&Proxied> {
        match self {
            Self::Proxy(proxied) => Some(proxied),
            Self::Redirect(_) | Self::Respond(_) | Self::Files(_) => None,
        }
    }

    /// The backend, if one answers.
    pub fn upstream(&self) -> Option<&Arc<Upstream>> {
        self.proxied().map(|proxied| &proxied.upstream)
    }
}

impl OwnAction {
    /// Reads what a `[[route]]` does with its requests, if it does not send them to a backend.
    pub(super) fn read(table: &mut Table<'_>, replace_prefix: Option<&str>) -> Option<Self> {
        let mut action = None;
        for (key, others) in [
            ("redirect", &["respond", "files", "upstream"][..]),
            ("respond", &["files", "upstream"]),
            ("files", &["upstream"]),
        ] {
            if let Some(other) = others
                .iter()
                .find(|other| table.has(key) && table.has(other))
            {
                let mistake = Mistake::new(format!(
                    "a route does one thing with its requests, and this one has `{other}` too"
                ))
                .help("leave out one of the two, or write a route for each");
                table.refuse(key, &mistake);
            }
        }
        table.table("redirect", |table| {
            action = Some(Self::Redirect(Redirect::read(table, replace_prefix)));
        });
        table.table("respond", |table| {
            action = Some(Self::Respond(Respond::read(table)));
        });
        table.table("files", |table| {
            action = Some(Self::Files(Files::read(table)));
        });
        action
    }

    /// With the paths of files as seen from the folder of the configuration.
    pub(super) fn below(self, folder: &Path) -> Self {
        match self {
            Self::Files(files) => Self::Files(files.below(folder)),
            Self::Redirect(_) | Self::Respond(_) => self,
        }
    }
}

impl Redirect {
    fn read(table: &mut Table<'_>, replace_prefix: Option<&str>) -> Self {
        let mut redirect = Self {
            scheme: None,
            host: None,
            port: None,
            path: None,
            replace_prefix: replace_prefix.map(str::to_owned),
            status: StatusCode::FOUND,
        };
        let schemes = [("http", Some(Scheme::Http)), ("https", Some(Scheme::Https))];
        table.set("scheme", &mut redirect.scheme, choice(&schemes));
        table.set("host", &mut redirect.host, text(redirect_host));
        table.set("port", &mut redirect.port, |value| {
            number(value, 1..=u16::MAX).map(Some)
        });
        table.set("path", &mut redirect.path, text(redirect_path));
        table.set("status", &mut redirect.status, redirect_status);
        redirect
    }
}

impl Respond {
    fn read(table: &mut Table<'_>) -> Self {
        let mut respond = Self {
            status: StatusCode::OK,
            text: String::new(),
            content_type: HeaderValue::from_static("text/plain; charset=utf-8"),
        };
        table.set("status", &mut respond.status, respond_status);
        table.set("text", &mut respond.text, text(|text| Ok(text.to_owned())));
        table.set(
            "content_type",
            &mut respond.content_type,
            text(content_type),
        );
        respond
    }
}

fn redirect_host(text: &str) -> Result<Option<Template>, Mistake> {
    let template = Template::parse(text)?;
    if let Some(literal) = template.literal() {
        host(literal)?;
        if literal
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.contains(']'))
        {
            return Err(Mistake::new(format!("`{text}` has a port"))
                .help("write the port by itself, as `port`"));
        }
    }
    Ok(Some(template))
}

fn redirect_path(text: &str) -> Result<Option<Template>, Mistake> {
    let is_path = text.starts_with('/') || text.starts_with("{path}");
    if !is_path || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Mistake::new(format!("`{text}` is not a path"))
            .help("write such as `\"/login\"`, `\"/new{path}\"` or `\"/login?from={path}\"`, other characters percent-encoded"));
    }
    Template::parse(text).map(Some)
}

fn redirect_status(value: Value<'_>) -> Result<StatusCode, Mistake> {
    const HELP: &str = "write 301 or 308 (for good), 302 or 307 (for now), or 303 (see there with GET), without quotes";
    match value {
        Value::Integer(301) => Ok(StatusCode::MOVED_PERMANENTLY),
        Value::Integer(302) => Ok(StatusCode::FOUND),
        Value::Integer(303) => Ok(StatusCode::SEE_OTHER),
        Value::Integer(307) => Ok(StatusCode::TEMPORARY_REDIRECT),
        Value::Integer(308) => Ok(StatusCode::PERMANENT_REDIRECT),
        Value::Integer(status) => {
            Err(Mistake::new(format!("`{status}` is not the status of a redirect")).help(HELP))
        }
        Value::String(_) | Value::Boolean(_) | Value::Other(_) => {
            Err(expected("a status", value).help(HELP))
        }
    }
}

fn respond_status(value: Value<'_>) -> Result<StatusCode, Mistake> {
    let status = number::<u16>(value, 200..=599)?;
    StatusCode::from_u16(status).map_err(|_| Mistake::new(format!("`{status}` is no status")))
}

fn content_type(text: &str) -> Result<HeaderValue, Mistake> {
    let value = HeaderValue::from_str(text)
        .ok()
        .filter(|_| text.contains('/'));
    value.ok_or_else(|| {
        Mistake::new(format!("`{text}` is not a media type"))
            .help("write such as `\"application/json\"`")
    })
}
