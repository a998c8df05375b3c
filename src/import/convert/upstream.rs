//! `proxy_pass` and the `upstream` blocks that it names.

use super::super::inherit::effective;
use super::super::placeholders::is_placeholder;
use super::super::route::{Key, Origin, Route};
use super::super::toml::Toml;
use super::super::tree::Directive;
use super::super::value::{Part, Value, field_name, missing_placeholder};
use super::{Context, Converter};

/// Where a `proxy_pass` leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// `http`, `https` or `h2c`.
    pub(super) scheme: &'static str,
    /// What nginx has in `$proxy_host`.
    pub(super) host: String,
    /// The path behind the host, if there is one.
    pub(super) path: Option<String>,
    /// The address as it is written: a host and a port, or a socket.
    authority: String,
    /// A variable is in it, and so a path replaces the whole one.
    pub(super) has_variables: bool,
}

impl Target {
    /// Reads the argument, whose constants are folded.
    pub(super) fn read(value: &Value, has_variables: bool) -> Result<Self, String> {
        let mut text = String::new();
        let mut path: Option<String> = None;
        for part in &value.0 {
            match (part, &mut path) {
                (Part::Text(part), Some(path)) => path.push_str(part),
                (Part::Text(part), None) => {
                    text.push_str(part);
                    let start = text.find("://").map_or(0, |at| at + 3);
                    let is_socket = text
                        .get(start..)
                        .is_some_and(|rest| rest.starts_with("unix:"));
                    if let Some(at) = text
                        .get(start..)
                        .and_then(|rest| rest.find('/'))
                        .filter(|_| !is_socket)
                    {
                        path = Some(text.split_off(start + at));
                    }
                }
                (Part::Variable(name), _) if is_placeholder(name) => {
                    return Err(missing_placeholder(name));
                }
                (Part::Variable(name), Some(path)) => path.push_str(&format!("${name}")),
                (Part::Variable(name), None) if name == "request_uri" || name == "uri" => {
                    path = Some(format!("${name}"));
                }
                (Part::Variable(name), None) => {
                    return Err(format!(
                        "the backend depends on the request (`${name}`): write a route for each backend"
                    ));
                }
            }
        }
        let (scheme, authority) = text
            .split_once("://")
            .ok_or_else(|| format!("`{text}` is not a URL"))?;
        let (scheme, port) = match &*scheme.to_ascii_lowercase() {
            "http" => ("http", ":80"),
            "https" | "grpcs" => ("https", ":443"),
            "grpc" => ("h2c", ":80"),
            _ => return Err(format!("`{scheme}` is no scheme that a backend can have")),
        };
        let (authority, path) = match authority.strip_prefix("unix:") {
            // A path of the request follows a second colon.
            Some(socket) => {
                let (socket, path) = socket.split_once(':').unwrap_or((socket, ""));
                (
                    format!("unix:{socket}"),
                    Some(path.to_owned()).filter(|path| !path.is_empty()),
                )
            }
            None => (authority.to_owned(), path),
        };
        if authority.is_empty() {
            return Err(format!("`{text}` names no host"));
        }
        let host = match authority.starts_with("unix:") {
            true => "localhost".to_owned(),
            false => authority
                .strip_suffix(port)
                .unwrap_or(&authority)
                .to_owned(),
        };
        Ok(Self {
            scheme,
            host,
            path,
            authority,
            has_variables,
        })
    }

    /// Whether the path is sent unchanged.
    pub(super) fn keeps_path(&self) -> bool {
        matches!(
            self.path.as_deref(),
            None | Some(
                "$request_uri" | "$uri" | "$uri$is_args$args" | "$request_uri$is_args$args"
            )
        )
    }
}

impl<'a> Converter<'a> {
    /// Sets everything in a route that says where its requests go and how.
    pub(super) fn upstream(
        &mut self,
        route: &mut Route,
        context: &Context<'a, '_>,
        pass: &'a Directive,
    ) -> Result<Target, String> {
        let raw = pass.arg(0);
        let target = Target::read(&context.scope().value(raw), raw.contains('$'))?;
        let from = self.at(pass);
        match self.model.upstreams.get(&*target.authority).copied() {
            Some(block) => self.group(route, &target, block, &from)?,
            None => {
                self.refuse_loop(&target)?;
                route.set(Key::Url, url(target.scheme, &target.authority)?, from);
            }
        }
        self.report.kept(pass);
        if target.scheme == "https" {
            self.upstream_tls(route, context, &target);
        }
        Ok(target)
    }

    /// The servers of an `upstream` block.
    fn group(
        &mut self,
        route: &mut Route,
        target: &Target,
        block: &'a Directive,
        from: &Origin,
    ) -> Result<(), String> {
        let mut urls = Vec::new();
        let mut only = None;
        let mut balance = Some("round_robin".to_owned());
        self.report.kept(block);
        for directive in block.body() {
            match &*directive.name {
                "server" => {
                    let address = directive.arg(0);
                    let options = directive.args.get(1..).unwrap_or_default();
                    if options.iter().any(|option| option == "down") {
                        self.report.implied(directive, "a server that is `down` is not written");
                        continue;
                    }
                    let url = url(target.scheme, address)?;
                    if only.as_ref() == Some(&url) || urls.iter().any(|known| is_at(known, &url)) {
                        self.report.left_out(directive, "it is named twice: give it a `weight` instead");
                        continue;
                    }
                    self.report.kept(directive);
                    let mut table = vec![("url".to_owned(), Toml::from(url.clone()))];
                    for option in options {
                        match option.split_once('=') {
                            Some(("weight", weight)) => match weight.parse::<u64>() {
                                Ok(weight @ 1..=100) => table.push(("weight".to_owned(), Toml::Number(weight))),
                                _ => self.report.left_out(directive, format!("the sidecar has weights from 1 to 100, not `{weight}`")),
                            },
                            Some(("max_fails" | "fail_timeout", _)) => {
                                self.report.note("`max_fails` and `fail_timeout` have no keys: backends that fail are left out for a while by themselves");
                            }
                            None if option == "backup" => table.push(("backup".to_owned(), Toml::Boolean(true))),
                            None if option == "resolve" => {}
                            _ => self.report.left_out(directive, format!("the sidecar has no `{option}` for one backend")),
                        }
                    }
                    only = Some(url.clone());
                    urls.push(if table.len() == 1 { Toml::from(url) } else { Toml::Table(table) });
                }
                "least_conn" => {
                    balance = None; // the sidecar's default
                    self.report.kept(directive);
                }
                "ip_hash" => {
                    balance = Some("hash:client_ip".to_owned());
                    self.report.kept(directive);
                }
                "hash" => match hash_key(directive.arg(0)) {
                    Some(key) => {
                        balance = Some(format!("hash:{key}"));
                        self.report.kept(directive);
                    }
                    None => self.report.left_out(directive, "the sidecar hashes a header, a cookie or the client's address: `upstream.balance = \"hash:header:NAME\"`"),
                },
                "random" => {
                    balance = None;
                    self.report.kept(directive);
                }
                "keepalive" | "keepalive_timeout" | "keepalive_requests" | "keepalive_time" | "zone" | "resolver" => {
                    self.report.implied(directive, "connections to backends are kept, and names looked up again");
                }
                _ => {}
            }
        }
        match (urls.len(), only) {
            (0, _) | (_, None) => return Err(format!("`upstream {}` has no server", block.arg(0))),
            (1, Some(only)) => route.set(Key::Url, only, from.clone()),
            _ => {
                route.set(Key::Urls, Toml::List(urls), from.clone());
                if let Some(balance) = balance {
                    route.set(Key::Balance, balance, "");
                }
            }
        }
        Ok(())
    }

    /// A configuration that sends requests back to itself.
    fn refuse_loop(&self, target: &Target) -> Result<(), String> {
        let (host, port) = target
            .authority
            .rsplit_once(':')
            .unwrap_or((&target.authority, "80"));
        if !matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
            return Ok(());
        }
        let servers = self.model.servers.iter().flat_map(|server| &server.listens);
        let mut listens = servers.filter(|listen| {
            listen.address.rsplit_once(':').is_some_and(|(ip, own)| {
                own == port && (matches!(ip, "0.0.0.0" | "[::]" | "127.0.0.1" | "[::1]"))
            })
        });
        match listens.next() {
            Some(listen) => Err(format!(
                "it leads to another `server` of this configuration, which listens on {}: write that server's backend here",
                listen.address
            )),
            None => Ok(()),
        }
    }

    fn upstream_tls(&mut self, route: &mut Route, context: &Context<'a, '_>, target: &Target) {
        let levels = context.levels();
        let is_verified =
            effective(levels, "proxy_ssl_verify").is_some_and(|directive| directive.arg(0) == "on");
        if let Some(directive) = effective(levels, "proxy_ssl_verify") {
            match is_verified {
                true => self.report.implied(directive, "https backends are always verified"),
                false => self.report.left_out(directive, "the sidecar always verifies an https backend: name its CA with `upstream.tls.ca`"),
            }
        }
        if !is_verified {
            self.report.note(format!("{}: nginx does not verify the certificate of https://{}, the sidecar does; if a private CA has signed it, name that with `upstream.tls.ca`", context.name(), target.host));
        }
        for (name, key) in [
            ("proxy_ssl_trusted_certificate", Key::TlsCa),
            ("proxy_ssl_certificate", Key::TlsCertificate),
            ("proxy_ssl_certificate_key", Key::TlsPrivateKey),
        ] {
            if let Some(directive) = effective(levels, name) {
                self.report.kept(directive);
                let path = self.path(directive.arg(0));
                route.set(key, path, self.at(directive));
            }
        }
        let named = effective(levels, "proxy_ssl_name");
        if let Some(directive) = named {
            match context.scope().value(directive.arg(0)).literal() {
                Some(name) if !name.is_empty() => {
                    self.report.kept(directive);
                    route.set(Key::TlsServerName, name, self.at(directive));
                }
                _ => self.report.left_out(
                    directive,
                    "the name depends on the request; `upstream.tls.server_name` is a fixed one",
                ),
            }
        } else if is_verified && self.model.upstreams.contains_key(&*target.host) {
            route.set(Key::TlsServerName, target.host.as_str(), "");
        }
    }
}

/// Whether an element of `upstream.urls` has this URL.
fn is_at(element: &Toml, url: &str) -> bool {
    match element {
        Toml::Text(known) => known == url,
        Toml::Table(entries) => entries
            .iter()
            .any(|(key, value)| key == "url" && is_at(value, url)),
        _ => false,
    }
}

/// `host:port` or a socket as a URL of a backend.
fn url(scheme: &str, authority: &str) -> Result<String, String> {
    if let Some(socket) = authority.strip_prefix("unix:") {
        let socket = socket.trim_end_matches(':');
        return match scheme {
            "http" => Ok(format!("unix:{socket}")),
            "h2c" => Ok(format!("unix+h2c:{socket}")),
            _ => Err("TLS over a Unix socket is nothing the sidecar does".to_owned()),
        };
    }
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    if !authority.chars().all(is_host) {
        return Err(format!("`{authority}` is not a host and a port"));
    }
    let port = if scheme == "https" { ":443" } else { ":80" };
    Ok(format!(
        "{scheme}://{}",
        authority.strip_suffix(port).unwrap_or(authority)
    ))
}

/// The value that nginx hashes, in the sidecar's notation.
fn hash_key(variable: &str) -> Option<String> {
    match variable.strip_prefix('$')? {
        "remote_addr" | "binary_remote_addr" => Some("client_ip".to_owned()),
        name => match (name.strip_prefix("http_"), name.strip_prefix("cookie_")) {
            (Some(field), _) => Some(format!("header:{}", field_name(field))),
            (_, Some(cookie)) => Some(format!("cookie:{cookie}")),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (text, scheme, host, path) in [
            ("http://app:3000", "http", "app:3000", None),
            ("http://app:80/", "http", "app", Some("/")),
            ("https://app:443/v1/", "https", "app", Some("/v1/")),
            ("http://unix:/run/a.sock", "http", "localhost", None),
            (
                "http://unix:/run/a.sock:/x/",
                "http",
                "localhost",
                Some("/x/"),
            ),
            (
                "http://app$request_uri",
                "http",
                "app",
                Some("$request_uri"),
            ),
            (
                "http://app/$1$is_args$args",
                "http",
                "app",
                Some("/$1$is_args$args"),
            ),
            ("grpc://app:50051", "h2c", "app:50051", None),
        ] {
            let target = Target::read(&Value::parse(text), false).unwrap();
            assert_eq!(
                (target.scheme, &*target.host, target.path.as_deref()),
                (scheme, host, path),
                "{text}"
            );
        }
        for (text, why) in [
            ("http://$host", "`$host`"),
            ("http://${APP}:80", "--set APP=VALUE"),
            ("app:80", "not a URL"),
            ("ftp://a", "`ftp`"),
            ("http://", "no host"),
        ] {
            let error = Target::read(&Value::parse(text), true).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn urls() {
        for (scheme, authority, expected) in [
            ("http", "a:3000", Some("http://a:3000")),
            ("http", "a:80", Some("http://a")),
            ("https", "[::1]:443", Some("https://[::1]")),
            ("http", "unix:/run/a.sock:", Some("unix:/run/a.sock")),
            ("https", "unix:/run/a.sock", None),
            ("http", "a b", None),
        ] {
            assert_eq!(
                url(scheme, authority).ok().as_deref(),
                expected,
                "{authority}"
            );
        }
    }
}
