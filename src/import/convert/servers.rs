//! Which server takes a request: by its address first, then by its name, else the default server of the address.

use std::collections::BTreeMap;

use super::super::inherit::effective;
use super::super::model::{Kind, Location, Server};
use super::super::names::Name;
use super::super::output::Output;
use super::super::route::{Key, Route};
use super::super::toml::Toml;
use super::answers::Answer;
use super::{Context, Converter};

/// The routes of a server for some of its addresses.
struct Emission<'a> {
    server: &'a Server<'a>,
    /// Empty for all names.
    hosts: Vec<String>,
    addresses: Vec<String>,
    /// Exact names come first, then wildcards by their length, then the default server.
    rank: (usize, usize),
}

impl<'a> Converter<'a> {
    /// The whole file.
    pub(super) fn servers(&mut self, wanted: Option<&str>) -> Output {
        let all: Vec<&'a Server<'a>> = self.model.servers.iter().collect();
        let is_wanted = |server: &&&'a Server<'a>| wanted.is_none_or(|name| server.is_called(name));
        let servers: Vec<_> = all.iter().filter(is_wanted).copied().collect();
        for server in all.iter().filter(|server| !is_wanted(server)) {
            if let Some(directive) = server.directive {
                self.report
                    .implied(directive, "not asked for with `--server`");
                self.not_wanted(directive.body());
            }
        }
        let (listeners, refused) = self.listeners(&servers);
        let mut output = Output {
            source: self.main.clone(),
            listeners,
            ..Output::default()
        };
        self.process(&servers, &mut output);
        self.access_log(&servers, &mut output);
        let mut emissions: Vec<_> = servers
            .iter()
            .flat_map(|server| self.emissions(server, &servers, &refused))
            .collect();
        emissions.sort_by_key(|emission| emission.rank);
        let mut made: BTreeMap<usize, Vec<Route>> = BTreeMap::new();
        for server in &servers {
            let key = std::ptr::from_ref(*server).addr();
            made.insert(key, self.server(server));
        }
        let count = output.listeners.len();
        for (index, emission) in emissions.iter().enumerate() {
            let Some(routes) = made.get(&std::ptr::from_ref(emission.server).addr()) else {
                continue;
            };
            let is_followed = emissions[index + 1..].iter().any(|later| {
                later
                    .addresses
                    .iter()
                    .any(|address| emission.addresses.contains(address))
                    || emission.server.listens.is_empty()
            });
            let mut routes = routes.clone();
            if is_followed
                && !routes.iter().any(|route| {
                    route.takes_all()
                        && route
                            .disabled
                            .as_ref()
                            .is_none_or(|disabled| !disabled.is_unreachable)
                })
            {
                let mut rest = Route::new("what no location of the server takes".to_owned());
                let answer = Answer::status(404);
                rest.set(answer.key, answer.value, "");
                routes.push(rest);
            }
            for mut route in routes {
                self.narrow(&mut route, emission, count);
                output.routes.push(route);
            }
        }
        for server in servers {
            self.retired(server, &emissions, &refused, &made, &mut output);
        }
        output
    }

    fn not_wanted(&mut self, directives: &'a [super::super::tree::Directive]) {
        for directive in directives {
            self.report
                .implied(directive, "not asked for with `--server`");
            self.not_wanted(directive.body());
        }
    }

    fn narrow(&self, route: &mut Route, emission: &Emission<'a>, listeners: usize) {
        let text = |values: Vec<String>| match &*values {
            [one] => Toml::Text(one.clone()),
            _ => Toml::List(values.into_iter().map(Toml::from).collect()),
        };
        if !emission.hosts.is_empty() && !route.has(Key::Host) {
            route.set(Key::Host, text(emission.hosts.clone()), "");
        }
        if emission.addresses.len() < listeners && !route.has(Key::Listener) {
            let names = emission
                .addresses
                .iter()
                .map(|address| self.listener_name(address))
                .collect();
            route.set(Key::Listener, text(names), "");
        }
    }

    /// How a server's routes are written: for its names, and for every name where it is the default.
    fn emissions(
        &mut self,
        server: &'a Server<'a>,
        servers: &[&'a Server<'a>],
        refused: &BTreeMap<String, String>,
    ) -> Vec<Emission<'a>> {
        let addresses: Vec<_> = server
            .listens
            .iter()
            .map(|listen| listen.address.clone())
            .filter(|address| !refused.contains_key(address))
            .collect();
        let default_of = |address: &String| {
            let here: Vec<_> = servers
                .iter()
                .flat_map(|server| server.listens.iter().map(move |listen| (*server, listen)))
                .filter(|(_, listen)| listen.address == *address)
                .collect();
            here.iter()
                .find(|(_, listen)| listen.is_default)
                .or_else(|| here.first())
                .map(|(server, _)| *server)
        };
        let is_default = |address: &String| {
            default_of(address).is_some_and(|default| std::ptr::eq(default, server))
        };
        let (default, mut named): (Vec<_>, Vec<_>) = addresses.into_iter().partition(is_default);
        let others = || {
            servers
                .iter()
                .filter(|other| !std::ptr::eq(**other, server))
        };
        let exact: Vec<_> = server
            .names
            .iter()
            .filter(|name| matches!(name, Name::Exact(_)))
            .collect();
        let below: Vec<_> = server
            .names
            .iter()
            .filter(|name| matches!(name, Name::Below(_)))
            .collect();
        // Another server's wildcard must not take what this one names.
        let is_shadowed = exact
            .iter()
            .any(|name| others().any(|other| other.names.iter().any(|wild| covers(wild, name))));
        if is_shadowed {
            named.extend(default.iter().cloned());
        }
        let mut emissions = Vec::new();
        let mut add = |names: &[&Name], rank: (usize, usize)| {
            let hosts: Vec<_> = names.iter().filter_map(|name| name.host()).collect();
            if !hosts.is_empty() && !named.is_empty() {
                emissions.push(Emission {
                    server,
                    hosts,
                    addresses: named.clone(),
                    rank,
                });
            }
        };
        let overlaps = below
            .iter()
            .any(|wild| others().any(|other| other.names.iter().any(|name| covers(wild, name))));
        if overlaps || below.is_empty() || exact.is_empty() || is_shadowed {
            add(&exact, (0, 0));
            for wild in &below {
                let length = wild.host().map_or(0, |host| host.len());
                add(&[*wild], (1, usize::MAX - length));
            }
        } else {
            add(&[exact, below].concat(), (0, 0));
        }
        let is_loose = server.listens.is_empty();
        if !default.is_empty() || is_loose {
            emissions.push(Emission {
                server,
                hosts: Vec::new(),
                addresses: default.clone(),
                rank: (2, 0),
            });
        }
        self.names_of(
            server,
            !named.is_empty() && (!is_shadowed || named.len() != default.len()),
        );
        emissions
    }

    /// What becomes of `server_name`.
    fn names_of(&mut self, server: &'a Server<'a>, is_needed: bool) {
        let own = server
            .directive
            .map_or(&[][..], |directive| directive.body());
        for directive in own
            .iter()
            .filter(|directive| directive.name == "server_name")
        {
            let others = server.names.iter().filter_map(|name| match name {
                Name::Other(name) if directive.args.contains(name) => Some(name.as_str()),
                _ => None,
            });
            let others: Vec<_> = others.collect();
            match (is_needed, others.is_empty()) {
                (true, true) => self.report.kept(directive),
                (true, false) => self.report.left_out(
                    directive,
                    format!(
                        "`{}`: `host` takes names and `*.name`; write these names in full",
                        others.join("`, `")
                    ),
                ),
                (false, _) => self.report.implied(
                    directive,
                    "the default server of an address takes every name",
                ),
            }
        }
    }

    /// Routes of a server that no request can reach, as comments.
    fn retired(
        &mut self,
        server: &'a Server<'a>,
        emissions: &[Emission<'a>],
        refused: &BTreeMap<String, String>,
        made: &BTreeMap<usize, Vec<Route>>,
        output: &mut Output,
    ) {
        if emissions
            .iter()
            .any(|emission| std::ptr::eq(emission.server, server))
        {
            return;
        }
        let why = server
            .listens
            .iter()
            .find_map(|listen| refused.get(&listen.address).cloned());
        let why = why.unwrap_or_else(|| {
            "no request can be recognized as meant for this server: give it a full name".to_owned()
        });
        if let Some(directive) = server.directive {
            self.report.left_out(directive, why.clone());
        }
        let routes = made
            .get(&std::ptr::from_ref(server).addr())
            .into_iter()
            .flatten();
        for route in routes {
            let mut route = route.clone();
            route.retire(why.clone());
            output.routes.push(route);
        }
    }

    /// The routes of a server, whatever its names and addresses are.
    fn server(&mut self, server: &'a Server<'a>) -> Vec<Route> {
        if let Some(directive) = server.directive {
            self.report.kept(directive);
        }
        let whole = Location {
            directive: None,
            kind: Kind::Prefix("/".to_owned()),
            levels: server.levels.clone(),
        };
        let context = Context {
            server,
            location: &whole,
        };
        let own = server.levels.last().copied().unwrap_or_default();
        let rules = self.rules_of(own, &context);
        let mut routes = rules.before;
        if let Some((directive, answer)) = rules.answer {
            if let Some(note) = answer.note {
                self.report.note(note);
            }
            let mut route = Route::new(self.comment(directive));
            route.set(answer.key, answer.value, self.at(directive));
            self.response_headers(&mut route, &context, false);
            routes.push(route);
            self.unreachable(own);
            return routes;
        }
        self.denied = None;
        for location in &server.locations {
            routes.extend(self.location(&Context { server, location }));
        }
        let has_root = server.locations.iter().any(|location| matches!(&location.kind, Kind::Prefix(path) | Kind::FirmPrefix(path) if path == "/"));
        let has_content = effective(&server.levels, "root").is_some() || context.is_proxied();
        if !has_root && has_content {
            routes.extend(self.location(&context));
        }
        if let Some((_, _, directive, _)) = &rules.otherwise {
            let why = "write the condition at each location";
            self.report.guard(directive, why);
            routes.iter_mut().for_each(|route| route.disable(true, why));
        }
        for (is_guard, why) in &rules.disabled {
            routes
                .iter_mut()
                .for_each(|route| route.disable(*is_guard, why.clone()));
        }
        if let Some(why) = self.denied.take() {
            let to_backends = routes.iter_mut().filter(|route| {
                !route.has(Key::Files) && !route.has(Key::Respond) && !route.has(Key::Redirect)
            });
            to_backends.for_each(|route| route.disable(true, why.clone()));
        }
        let guard = effective(&server.levels, "ssl_verify_client")
            .filter(|verify| verify.arg(0) != "off" && self.report.is_guard(verify));
        if guard.is_some() {
            routes.iter_mut().for_each(|route| {
                route.disable(true, "clients without a certificate would be let in");
            });
        }
        routes
    }

    /// What a `return` of the server leaves nothing for.
    fn unreachable(&mut self, directives: &'a [super::super::tree::Directive]) {
        for directive in directives {
            if self.report.is_open(directive)
                && !matches!(
                    &*directive.name,
                    "ssl_verify_client" | "ssl_client_certificate"
                )
            {
                match &*directive.name {
                    "location" | "if" | "rewrite" => {
                        self.report
                            .implied(directive, "a `return` of the server comes before it");
                        self.unreachable(directive.body());
                    }
                    name if !matches!(name, "include" | "ssl_protocols")
                        && directive.block.is_none()
                        && super::is_guard(directive) =>
                    {
                        self.report
                            .implied(directive, "a `return` of the server comes before it");
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Whether a wildcard takes another name, or a longer wildcard.
fn covers(wild: &Name, name: &Name) -> bool {
    match (wild, name) {
        (Name::Below(suffix), Name::Exact(name) | Name::Below(name)) => {
            name.ends_with(suffix.as_str()) && name != suffix
        }
        _ => false,
    }
}
