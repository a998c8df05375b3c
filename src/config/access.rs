//! The `[access]` table: who may call.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::uri::PathAndQuery;
use ipnet::IpNet;

use super::address::{is_loop, network, upstream_address};
use super::draft::Draft;
use super::file::{Report, Table};
use super::htpasswd::htpasswd;
use super::problem::Mistake;
use super::units;
use super::value::{boolean, duration, path, server_name, text};
use super::written::{Keys, text as written};
use super::{Scheme, Upstream, UpstreamAddress};
use crate::tls::{ClientTls, PeerName};

/// Who may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The first rule that matches the client's address decides; without a match, access is allowed.
    pub rules: Vec<AccessRule>,
    /// The file of users with their passwords' hashes; `None` asks for no password.
    pub basic_auth: Option<PathBuf>,
    /// The service that decides about each request; `None` if there is none.
    pub authorize: Option<Service>,
    /// Fields of its answer that the upstream gets.
    pub authorize_headers: Vec<HeaderName>,
    /// How long the answer may take.
    pub authorize_timeout: Duration,
    /// The client's certificate is forwarded to the upstream.
    pub forward_certificate: bool,
}

/// A service that decides about requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Where it is.
    pub upstream: Arc<Upstream>,
    /// The path and query of the request to the service.
    pub target: PathAndQuery,
}

/// One of `access.rules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    /// Whether those it matches may.
    pub allows: bool,
    /// The addresses it matches; `None` matches all clients, those without an address too.
    pub network: Option<IpNet>,
}

impl Access {
    /// Reads the table of the whole file or of a route.
    pub(super) fn read(&mut self, table: &mut Table<'_>) {
        let Self {
            rules,
            basic_auth,
            authorize,
            authorize_headers: headers,
            authorize_timeout,
            forward_certificate,
        } = self;
        table.table("access", |table| {
            table.list("rules", rules, rule);
            table.set("basic_auth", basic_auth, text(file));
            table.set("authorize", authorize, text(service));
            table.list("authorize_headers", headers, header);
            table.set("authorize_timeout", authorize_timeout, text(duration));
            table.set("forward_certificate", forward_certificate, boolean);
        });
    }

    /// With paths that start at `folder`.
    pub(super) fn within(mut self, folder: &Path) -> Self {
        self.basic_auth = self.basic_auth.map(|file| folder.join(file));
        self
    }

    /// Its keys, as they are written.
    pub(super) fn keys(&self) -> Keys {
        let Self {
            rules,
            basic_auth,
            authorize,
            authorize_headers: headers,
            authorize_timeout,
            forward_certificate,
        } = self;
        let headers: Vec<_> = headers.iter().map(written).collect();
        let service = authorize.as_ref().map(written);
        let rules: Vec<_> = rules.iter().map(written).collect();
        let file = |file: &Option<PathBuf>| match file {
            Some(file) => written(file.display()),
            None => written("off"),
        };
        vec![
            ("rules", format!("[{}]", rules.join(", "))),
            ("basic_auth", file(basic_auth)),
            ("authorize", service.unwrap_or_else(|| written("off"))),
            ("authorize_headers", format!("[{}]", headers.join(", "))),
            (
                "authorize_timeout",
                written(units::written(*authorize_timeout)),
            ),
            ("forward_certificate", forward_certificate.to_string()),
        ]
    }

    /// Whether everybody has access.
    pub fn is_open(&self) -> bool {
        self.rules.is_empty()
            && self.basic_auth.is_none()
            && self.authorize.is_none()
            && !self.forward_certificate
    }

    /// Whether a client at `address` has access. A client without an address has it where a rule allows all, or where no rule
    /// denies any.
    pub fn admits(&self, address: Option<IpAddr>) -> bool {
        let matches = |rule: &&AccessRule| match (&rule.network, address) {
            (None, _) => true,
            (Some(network), Some(address)) => network.contains(&address),
            (Some(_), None) => false,
        };
        match self.rules.iter().find(matches) {
            Some(rule) => rule.allows,
            // It might be one of those that a rule denies.
            None => address.is_some() || self.rules.iter().all(|rule| rule.allows),
        }
    }
}

impl Default for Access {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            basic_auth: None,
            authorize: None,
            authorize_headers: Vec::new(),
            authorize_timeout: Duration::from_secs(5),
            forward_certificate: false,
        }
    }
}

/// Its URL.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { upstream, target } = self;
        match upstream.address {
            UpstreamAddress::Tcp { .. } => write!(f, "{}{target}", upstream.address),
            UpstreamAddress::Unix { .. } => upstream.address.fmt(f),
        }
    }
}

/// `allow 10.0.0.0/8`
impl fmt::Display for AccessRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.allows { "allow" } else { "deny" };
        match &self.network {
            Some(network) => write!(f, "{verb} {network}"),
            None => write!(f, "{verb} all"),
        }
    }
}

fn rule(text: &str) -> Result<AccessRule, Mistake> {
    let mut words = text.trim_end_matches(';').split_whitespace();
    let (verb, whom) = (words.next(), words.next());
    let allows = match verb {
        Some("allow") => true,
        Some("deny") => false,
        _ => {
            return Err(Mistake::new(format!("`{text}` is not a rule"))
                .help("write such as `\"allow 10.0.0.0/8\"` or `\"deny all\"`"));
        }
    };
    let network = match whom {
        Some("all") => None,
        Some(whom) => Some(network(whom)?),
        None => {
            return Err(
                Mistake::new(format!("`{text}` does not say whom")).help(format!(
                    "write such as `\"{text} 10.0.0.0/8\"`, or `\"{text} all\"`"
                )),
            );
        }
    };
    match words.next() {
        None => Ok(AccessRule { allows, network }),
        Some(word) => Err(Mistake::new("a rule is for one address or network")
            .help(format!("write another rule for `{word}`"))),
    }
}

/// A file, or `"off"`.
fn file(text: &str) -> Result<Option<PathBuf>, Mistake> {
    if text == "off" {
        return Ok(None);
    }
    if text.contains(":$2") {
        return Err(
            Mistake::new("this is an entry of a file of passwords, not its name")
                .help("put it into a file, and write `basic_auth = \"users.htpasswd\"`")
                .secret(),
        );
    }
    let mistake = |_| {
        Mistake::new("this is no path")
            .help("name a file that `htpasswd -B` has made, or `\"off\"`")
    };
    path(text).map(Some).map_err(mistake)
}

/// A URL as `upstream.url` is, but with a path; or `off`.
fn service(text: &str) -> Result<Option<Service>, Mistake> {
    if text == "off" {
        return Ok(None);
    }
    let host = text.find("://").map(|at| at + "://".len());
    let path = host.and_then(|host| Some(host + text[host..].find(['/', '?', '#'])?));
    let (address, target) = text.split_at(path.unwrap_or(text.len()));
    let address = upstream_address(address)?;
    let target = match target {
        "" => Ok(PathAndQuery::from_static("/")),
        target if target.contains('#') => Err(()),
        target => target.parse().map_err(drop),
    };
    let target = target.map_err(|()| {
        Mistake::new(format!("`{text}` is not a URL")).help(
            "write such as `\"http://127.0.0.1:9000/verify\"`, other characters percent-encoded",
        )
    })?;
    let tls = match &address {
        UpstreamAddress::Tcp {
            scheme: Scheme::Https,
            host,
            ..
        } => Some(ClientTls {
            ca: None,
            identity: None,
            server_name: PeerName::Fixed(server_name(host)?),
        }),
        _ => None,
    };
    let upstream = Arc::new(Upstream { address, tls });
    Ok(Some(Service { upstream, target }))
}

/// A field that is not the client's own.
fn header(text: &str) -> Result<HeaderName, Mistake> {
    let name: HeaderName = text.parse().map_err(|_| {
        Mistake::new(format!("`{text}` is not the name of a header"))
            .help("write such as `\"X-Forwarded-User\"`")
    })?;
    let is_framing = matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "expect"
            | "host"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    );
    if is_framing {
        return Err(Mistake::new(format!(
            "`{text}` belongs to the connection, or to the body"
        ))
        .help("leave it out"));
    }
    Ok(name)
}

/// Every access of the file, with the key of its table.
fn all(draft: &Draft) -> impl Iterator<Item = (String, &Access)> {
    let top = ("access".to_owned(), &draft.settings.access);
    let routes = draft.routes.iter();
    let routes = routes.map(|route| (format!("{}.access", route.key), &route.settings.access));
    [top].into_iter().chain(routes)
}

/// Reports rules that do not do what they seem to.
pub(super) fn check(draft: &Draft, report: &mut Report) {
    for (key, access) in all(draft) {
        check_service(&format!("{key}.authorize"), access, draft, report);
        let key = format!("{key}.rules");
        if !report.is_written(&key) {
            continue;
        }
        let rules = &access.rules;
        let narrow = rules.iter().any(|rule| rule.network.is_some());
        if narrow && rules.iter().all(|rule| rule.allows) {
            let mistake = Mistake::new(
                "these rules deny nothing: an address that no rule matches is allowed",
            )
            .help("add `\"deny all\"` as the last one");
            report.error(&key, &mistake);
        }
        let for_all = rules.iter().position(|rule| rule.network.is_none());
        if let Some(index) = for_all.filter(|index| index + 1 < rules.len()) {
            let mistake = Mistake::new(format!(
                "`{}` is for all, so what follows is never looked at",
                rules[index]
            ))
            .help("put it last");
            report.error(&format!("{key}[{}]", index + 1), &mistake);
        }
    }
}

/// Reports a service that is the sidecar itself.
fn check_service(key: &str, access: &Access, draft: &Draft, report: &mut Report) {
    let inherited = draft.settings.access.authorize.as_ref();
    let is_own = key == "access.authorize" || access.authorize.as_ref() != inherited;
    let own = access.authorize.as_ref().filter(|_| is_own);
    let Some(service) = own.filter(|_| report.is_written(key)) else {
        return;
    };
    let address = &service.upstream.address;
    let mut listeners = draft.listeners.iter().map(|listener| &listener.address);
    if let Some(listener) = listeners.find(|listener| is_loop(address, listener)) {
        let mistake = Mistake::new(format!(
            "`{address}` is the sidecar itself, which listens on `{listener}`"
        ))
        .help("name the address of the service");
        report.error(key, &mistake);
    }
}

/// Reports files that are not what they should be. Relative paths start at `folder`.
pub(super) fn check_files(draft: &Draft, folder: &Path, report: &mut Report) {
    for (key, access) in all(draft) {
        let key = format!("{key}.basic_auth");
        let Some(file) = &access.basic_auth else {
            continue;
        };
        if report.is_written(&key)
            && let Err(mistake) = read_users(&folder.join(file))
        {
            report.error(&key, &mistake);
        }
    }
}

/// Checks a file of users; its content is not shown.
fn read_users(file: &Path) -> Result<(), Mistake> {
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| {
        Mistake::new(format!("`{shown}` cannot be read: {error}"))
            .help("make it with `htpasswd -B -c FILE NAME`, readable for the sidecar")
    })?;
    match htpasswd(&text) {
        Ok(_) => Ok(()),
        Err(fault) => Err(Mistake::new(format!("`{shown}` {fault}")).help(fault.help())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(rules: &[&str], address: &str) -> bool {
        let access = Access {
            rules: rules.iter().map(|text| rule(text).unwrap()).collect(),
            ..Access::default()
        };
        access.admits(address.parse().ok())
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let office = [
            "deny 10.0.0.7",
            "allow 10.0.0.0/8",
            "allow 2001:db8::/32",
            "deny all",
        ];
        for (rules, address, expected) in [
            (&office[..], "10.0.0.7", false),
            (&office, "10.0.0.8", true),
            (&office, "2001:db8::9", true),
            (&office, "192.0.2.1", false),
            (&office, "unknown", false),
            (&[], "192.0.2.1", true),
            (&[], "unknown", true),
            (&["allow all"], "unknown", true),
            (&["deny 192.0.2.1"], "192.0.2.1", false),
            (&["deny 192.0.2.1"], "192.0.2.2", true),
            (&["deny 192.0.2.1"], "unknown", false),
            (&["deny 192.0.2.1", "allow all"], "unknown", true),
            (&["deny 10.1.2.3/8"], "10.9.9.9", false),
            (&["deny ::ffff:10.0.0.0/104"], "10.9.9.9", false),
        ] {
            assert_eq!(admits(rules, address), expected, "{rules:?} {address}");
        }
    }

    #[test]
    fn rules_are_written_as_they_are_read() {
        for text in ["allow 10.0.0.0/8", "deny 2001:db8::1/128", "deny all"] {
            assert_eq!(rule(text).unwrap().to_string(), text);
        }
        assert_eq!(rule("deny all;").unwrap().to_string(), "deny all");
        for text in [
            "",
            "allow",
            "permit all",
            "deny example.com",
            "deny 10.0.0.1 10.0.0.2",
        ] {
            assert!(rule(text).is_err(), "{text}");
        }
    }
}
