//! Servers and locations, and which of them nginx would choose.

use std::collections::BTreeMap;

use super::names::{Name, listen_address};
use super::report::Report;
use super::tree::Directive;

/// What one file, or all that it includes, configures.
#[derive(Debug)]
pub(super) struct Model<'a> {
    pub(super) http: &'a [Directive],
    pub(super) servers: Vec<Server<'a>>,
    /// `upstream` blocks by name.
    pub(super) upstreams: BTreeMap<&'a str, &'a Directive>,
    /// `map` blocks by their variable, without its `$`.
    pub(super) maps: BTreeMap<&'a str, &'a Directive>,
    /// `limit_req_zone` and `limit_conn_zone` by the name of their zone.
    pub(super) zones: BTreeMap<&'a str, &'a Directive>,
}

/// One `server`.
#[derive(Debug)]
pub(super) struct Server<'a> {
    /// `None` where the file has locations but no server.
    pub(super) directive: Option<&'a Directive>,
    pub(super) listens: Vec<Listen<'a>>,
    pub(super) names: Vec<Name>,
    /// `http` and the server's own block.
    pub(super) levels: Vec<&'a [Directive]>,
    /// In the order in which their requests are tried: see [`order`].
    pub(super) locations: Vec<Location<'a>>,
    /// `@name` blocks.
    pub(super) named: Vec<Location<'a>>,
}

/// One address of a server.
#[derive(Debug, Clone)]
pub(super) struct Listen<'a> {
    pub(super) directive: Option<&'a Directive>,
    /// As the sidecar writes it.
    pub(super) address: String,
    pub(super) is_tls: bool,
    pub(super) is_default: bool,
    pub(super) is_proxy_protocol: bool,
}

/// One `location`, also a nested one.
#[derive(Debug, Clone)]
pub(super) struct Location<'a> {
    /// `None` for what a server does without one.
    pub(super) directive: Option<&'a Directive>,
    pub(super) kind: Kind,
    /// The blocks around it and its own, the outermost first.
    pub(super) levels: Vec<&'a [Directive]>,
}

/// How a location is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Exact(String),
    /// `^~`: no regular expression is asked.
    FirmPrefix(String),
    Prefix(String),
    Regex {
        expression: String,
        ignores_case: bool,
    },
    Named(String),
}

impl<'a> Model<'a> {
    /// Finds servers and locations, and reports what is not HTTP.
    pub(super) fn new(directives: &'a [Directive], report: &mut Report) -> Self {
        let mut http: Vec<&'a Directive> = Vec::new();
        let mut top: Vec<&'a Directive> = Vec::new();
        for directive in directives {
            match &*directive.name {
                "http" => http.push(directive),
                "events" => {
                    report.implied(directive, "threads and connections are the sidecar's own");
                }
                "stream" | "mail" => {
                    report.left_out(
                        directive,
                        "the sidecar speaks HTTP only; keep this with another server",
                    );
                    mark_all(directive.body(), report);
                }
                _ => top.push(directive),
            }
        }
        // A site file is the content of `http`; if there is an `http` block as well, both count.
        let level: &'a [Directive] = match &*http {
            [] => directives,
            [first, ..] => first.body(),
        };
        for directive in &http {
            report.implied(directive, "the frame of the file");
        }
        let mut model = Self {
            http: level,
            servers: Vec::new(),
            upstreams: BTreeMap::new(),
            maps: BTreeMap::new(),
            zones: BTreeMap::new(),
        };
        let everything = http
            .iter()
            .flat_map(|http| http.body())
            .chain(top.iter().copied());
        let mut loose: Option<&'a Directive> = None;
        for directive in everything {
            match &*directive.name {
                "server" => model.servers.push(Server::new(directive, level)),
                "upstream" => drop(model.upstreams.insert(directive.arg(0), directive)),
                "map" => drop(
                    model
                        .maps
                        .insert(directive.arg(1).trim_start_matches('$'), directive),
                ),
                "limit_req_zone" | "limit_conn_zone" => {
                    let zone = directive
                        .args
                        .iter()
                        .find_map(|arg| arg.strip_prefix("zone="));
                    let zone = zone.map(|zone| zone.split(':').next().unwrap_or_default());
                    model.zones.extend(zone.map(|zone| (zone, directive)));
                }
                "location" | "proxy_pass" => loose = loose.or(Some(directive)),
                _ => {}
            }
        }
        if model.servers.is_empty() && loose.is_some() {
            model.servers.push(Server::without_directive(directives));
            report.note("the file has no `server`: its locations are taken as those of one that listens on 0.0.0.0:8080, the sidecar's default");
        }
        model
    }
}

/// Reports everything in a block that is left out, for the reason of the block.
fn mark_all(directives: &[Directive], report: &mut Report) {
    for directive in directives {
        report.left_out(directive, "it is in a block that is left out");
        if !directive.is_table() {
            mark_all(directive.body(), report);
        }
    }
}

impl<'a> Server<'a> {
    fn new(directive: &'a Directive, http: &'a [Directive]) -> Self {
        let body = directive.body();
        let ssl_on = body
            .iter()
            .any(|directive| directive.name == "ssl" && directive.arg(0) == "on");
        let listens = body.iter().filter(|directive| directive.name == "listen");
        let mut listens: Vec<_> = listens
            .filter_map(|directive| Listen::new(directive, ssl_on))
            .collect();
        if listens.is_empty() && !body.iter().any(|directive| directive.name == "listen") {
            listens.push(Listen {
                directive: None,
                address: "0.0.0.0:80".to_owned(),
                is_tls: ssl_on,
                is_default: false,
                is_proxy_protocol: false,
            });
        }
        let names = body
            .iter()
            .filter(|directive| directive.name == "server_name");
        let names = names
            .flat_map(|directive| &directive.args)
            .flat_map(|name| Name::read(name))
            .collect();
        Self::with(Some(directive), body, vec![http, body], listens, names)
    }

    /// For a file with the content of a `server` block.
    fn without_directive(body: &'a [Directive]) -> Self {
        Self::with(None, body, vec![body], Vec::new(), Vec::new())
    }

    fn with(
        directive: Option<&'a Directive>,
        body: &'a [Directive],
        levels: Vec<&'a [Directive]>,
        listens: Vec<Listen<'a>>,
        names: Vec<Name>,
    ) -> Self {
        let mut found = Vec::new();
        collect(body, &levels, &mut found);
        let (internal, mut locations): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|location| matches!(location.kind, Kind::Named(_)));
        order(&mut locations);
        Self {
            directive,
            listens,
            names,
            levels,
            locations,
            named: internal,
        }
    }

    /// What `$server_name` is.
    pub(super) fn first_name(&self) -> &str {
        match self.names.first() {
            Some(Name::Exact(name)) => name,
            _ => "",
        }
    }

    /// Whether it has this name.
    pub(super) fn is_called(&self, wanted: &str) -> bool {
        self.names.iter().any(|name| match name {
            Name::Exact(name) | Name::Other(name) => name == wanted,
            Name::Below(suffix) => wanted.strip_prefix('*') == Some(suffix),
        })
    }
}

fn collect<'a>(body: &'a [Directive], levels: &[&'a [Directive]], found: &mut Vec<Location<'a>>) {
    for directive in body.iter().filter(|directive| directive.name == "location") {
        let mut levels = levels.to_vec();
        levels.push(directive.body());
        collect(directive.body(), &levels, found);
        found.push(Location {
            directive: Some(directive),
            kind: Kind::read(directive),
            levels,
        });
    }
}

/// The order in which the first match is the one that nginx would choose: exact paths, prefixes that exclude regular expressions
/// (`^~`), regular expressions in file order, and all other prefixes, the longest first. A prefix below a `^~` one comes before it,
/// since the longest decides.
fn order(locations: &mut [Location<'_>]) {
    let firm: Vec<String> = locations
        .iter()
        .filter_map(|location| match &location.kind {
            Kind::FirmPrefix(prefix) => Some(prefix.clone()),
            _ => None,
        })
        .collect();
    let rank = |location: &Location<'_>| match &location.kind {
        Kind::Exact(_) => (0, 0),
        Kind::FirmPrefix(prefix) => (1, usize::MAX - prefix.len()),
        Kind::Prefix(prefix) if firm.iter().any(|firm| prefix.starts_with(firm.as_str())) => {
            (1, usize::MAX - prefix.len())
        }
        Kind::Regex { .. } => (2, 0),
        Kind::Prefix(prefix) => (3, usize::MAX - prefix.len()),
        Kind::Named(_) => (4, 0),
    };
    locations.sort_by_key(rank);
}

impl Kind {
    fn read(directive: &Directive) -> Self {
        let (first, second) = (directive.arg(0), directive.arg(1));
        if directive.args.len() >= 2 {
            let text = second.to_owned();
            return match first {
                "=" => Self::Exact(text),
                "^~" => Self::FirmPrefix(text),
                "~" | "~*" => Self::Regex {
                    expression: text,
                    ignores_case: first == "~*",
                },
                _ => Self::Prefix(text),
            };
        }
        // nginx takes the modifier without a blank too.
        for (modifier, make) in [
            ("^~", Self::FirmPrefix as fn(String) -> Self),
            ("~*", |expression| Self::Regex {
                expression,
                ignores_case: true,
            }),
            ("~", |expression| Self::Regex {
                expression,
                ignores_case: false,
            }),
            ("=", Self::Exact),
        ] {
            if let Some(text) = first.strip_prefix(modifier) {
                return make(text.to_owned());
            }
        }
        match first.strip_prefix('@') {
            Some(name) => Self::Named(name.to_owned()),
            None => Self::Prefix(first.to_owned()),
        }
    }
}

impl<'a> Listen<'a> {
    fn new(directive: &'a Directive, ssl_on: bool) -> Option<Self> {
        let options = directive.args.get(1..).unwrap_or_default();
        let has = |name: &str| options.iter().any(|option| option == name);
        Some(Self {
            directive: Some(directive),
            address: listen_address(directive.arg(0))?,
            is_tls: ssl_on || has("ssl"),
            is_default: has("default_server") || has("default"),
            is_proxy_protocol: has("proxy_protocol"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::testing::directives;

    fn shown(kind: &Kind) -> String {
        match kind {
            Kind::Exact(text) => format!("= {text}"),
            Kind::FirmPrefix(text) => format!("^~ {text}"),
            Kind::Prefix(text) => text.clone(),
            Kind::Regex {
                expression,
                ignores_case,
            } => format!("~{} {expression}", if *ignores_case { "*" } else { "" }),
            Kind::Named(name) => format!("@{name}"),
        }
    }

    #[test]
    fn locations_are_in_the_order_in_which_the_first_match_counts() {
        let tree = directives(
            "server { location / {} location ~ \\.js$ {} location /api/ { location /api/v1 {} } location = /x {} \
             location ^~ /static/ {} location @f {} location ~* ^/a {} location =/y {} location /static/a/ {} location ~^/b {} }",
        );
        let model = Model::new(&tree, &mut Report::default());
        let order: Vec<_> = model.servers[0]
            .locations
            .iter()
            .map(|location| shown(&location.kind))
            .collect();
        let expected = [
            "= /x",
            "= /y",
            "/static/a/",
            "^~ /static/",
            "~ \\.js$",
            "~* ^/a",
            "~ ^/b",
            "/api/v1",
            "/api/",
            "/",
        ];
        assert_eq!(order, expected);
        assert_eq!(model.servers[0].named.len(), 1);
    }
}
