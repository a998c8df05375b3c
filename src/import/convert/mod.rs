//! From nginx's model to the sidecar's: each server and location becomes routes, and each directive is accounted for.

mod answers;
mod condition;
mod content;
mod cors;
mod guards;
mod headers;
mod listeners;
mod location;
mod process;
mod rules;
mod servers;
mod standing;
mod statics;
mod table;
mod upstream;

use std::collections::BTreeMap;

use super::files::{folder_of, join};
use super::model::{Location, Model, Server};
use super::output::Output;
use super::report::Report;
use super::route::{Key, Origin, Route};
use super::toml::Toml;
use super::tree::Directive;
use super::value::Scope;

/// Converts a model to the sidecar's file; only the server named `wanted`, if that is given.
pub(super) fn convert<'a>(
    model: &'a Model<'a>,
    tree: &'a [Directive],
    missing: &'a BTreeMap<usize, String>,
    main: &str,
    wanted: Option<&str>,
    knows: &dyn Fn(&str) -> bool,
    report: &'a mut Report,
) -> Output {
    let mut converter = Converter {
        model,
        report,
        main: main.to_owned(),
        folder: folder_of(main).to_owned(),
        missing,
        names: BTreeMap::new(),
        borders_noted: false,
        denied: None,
    };
    let mut output = converter.servers(wanted);
    converter.withhold(&mut output, knows);
    Converter::leave_none_empty(&mut output);
    converter.finish(tree);
    output
}

struct Converter<'a> {
    model: &'a Model<'a>,
    report: &'a mut Report,
    /// The main file, and its folder, from which paths count.
    main: String,
    folder: String,
    /// Includes that led to nothing, by their numbers.
    missing: &'a BTreeMap<usize, String>,
    /// The names of listeners by their addresses.
    names: BTreeMap<String, String>,
    /// The note about prefixes and segment borders was added.
    borders_noted: bool,
    /// A denial of the server at hand that no route can say.
    denied: Option<String>,
}

/// A location in its server.
#[derive(Debug, Clone)]
struct Context<'a, 's> {
    server: &'s Server<'a>,
    location: &'s Location<'a>,
}

/// What decides who may call, for short.
const GUARDS: [&str; 8] = [
    "allow",
    "deny",
    "auth_basic",
    "auth_request",
    "limit_req",
    "limit_conn",
    "internal",
    "satisfy",
];

impl<'a> Converter<'a> {
    /// Where a directive is, for the end of a line.
    fn at(&self, directive: &Directive) -> Origin {
        let text = match *directive.place.file == *self.main {
            true => format!("line {}", directive.place.line),
            false => directive.place.to_string(),
        };
        Origin {
            text,
            directive: Some(directive.id),
        }
    }

    /// A directive with its place, for a line of its own.
    fn comment(&self, directive: &Directive) -> String {
        format!("{}: {directive}", directive.place)
    }

    /// A path as seen from the folder of the main file.
    fn path(&self, path: &str) -> String {
        join(&self.folder, path)
    }

    /// Takes out what the sidecar does not know. What decides who may call, or which requests a route takes, closes its route.
    fn withhold(&mut self, output: &mut Output, knows: &dyn Fn(&str) -> bool) {
        if !knows(Key::Listener.name()) {
            for listener in &mut output.listeners {
                listener.name.clear();
                listener.certificates.truncate(1);
            }
        }
        let mut unknown: BTreeMap<Key, bool> = BTreeMap::new();
        for route in &mut output.routes {
            let is_unknown = |key: &Key| !*unknown.entry(*key).or_insert_with(|| knows(key.name()));
            let keys: Vec<_> = route.settings.keys().copied().filter(is_unknown).collect();
            for key in keys {
                let why = format!("this version of the sidecar has no `{}`", key.name());
                let setting = route.settings.remove(&key);
                let is_small = setting
                    .as_ref()
                    .is_some_and(|setting| is_small_body(&setting.value));
                let is_guard =
                    key.is_guard() || key.is_condition() || key == Key::LimitBody && is_small;
                let origins = setting.into_iter().flat_map(|setting| setting.from);
                for id in origins.filter_map(|origin| origin.directive) {
                    self.report.withheld(id, is_guard, why.clone());
                }
                if key.is_condition() {
                    route.retire(why);
                } else if is_guard || key.is_action() {
                    route.disable(is_guard, why);
                }
            }
        }
    }

    /// A configuration has at least one route.
    fn leave_none_empty(output: &mut Output) {
        let is_written = |route: &Route| route.disabled.is_none() || route.stand_in().is_some();
        if !output.routes.iter().any(is_written) {
            let mut route = Route::new("nothing else could be imported");
            let answer = answers::Answer::status(404);
            route.set(answer.key, answer.value, "");
            output.routes.push(route);
        }
    }

    /// Accounts for what nothing was said of.
    fn finish(&mut self, directives: &'a [Directive]) {
        for directive in directives {
            if let Some(why) = self.missing.get(&directive.id) {
                standing::missing(directive, why, self.report);
            }
            if self.report.is_open(directive) {
                standing::judge(directive, self.report);
            }
            if !directive.is_table() {
                self.finish(directive.body());
            }
        }
    }
}

impl<'a, 's> Context<'a, 's> {
    fn levels(&self) -> &'s [&'a [Directive]] {
        &self.location.levels
    }

    fn scope(&self) -> Scope<'s> {
        Scope {
            levels: &self.location.levels,
            server_name: self.server.first_name(),
        }
    }

    /// Where the location's requests go, if it has that itself: `proxy_pass` is not inherited.
    fn pass(&self) -> Option<&'a Directive> {
        let own = self.levels().last()?;
        own.iter()
            .find(|directive| matches!(&*directive.name, "proxy_pass" | "grpc_pass"))
    }

    fn is_proxied(&self) -> bool {
        self.pass().is_some()
    }

    fn server_is_proxied(&self) -> bool {
        let locations = self.server.locations.iter().chain(&self.server.named);
        locations.into_iter().any(|location| {
            Context {
                server: self.server,
                location,
            }
            .is_proxied()
        })
    }

    /// Whether anything decides who may call this location.
    fn is_guarded(&self) -> bool {
        self.levels().iter().any(|level| level.iter().any(is_guard))
    }

    /// Whether anything decides who may call any location of the server.
    fn has_guards(&self) -> bool {
        let mut levels = self
            .server
            .locations
            .iter()
            .flat_map(|location| &location.levels);
        levels.any(|level| level.iter().any(is_guard))
    }

    /// Whether the server's listeners have TLS; `None` if some have.
    fn is_tls(&self) -> Option<bool> {
        let listens = &self.server.listens;
        let tls = listens.iter().filter(|listen| listen.is_tls).count();
        match tls {
            0 => Some(false),
            tls if tls == listens.len() => Some(true),
            _ => None,
        }
    }

    /// The location with its place.
    fn name(&self) -> String {
        match self.location.directive.or(self.server.directive) {
            Some(directive) => format!("{}: {directive}", directive.place),
            None => "the file itself".to_owned(),
        }
    }
}

/// Whether a limit for bodies is below nginx's default of 1 MiB, and so deliberate.
fn is_small_body(value: &Toml) -> bool {
    let Toml::Text(text) = value else {
        return false;
    };
    let below = |unit: &str, most: u64| {
        text.strip_suffix(unit)
            .and_then(|number| number.parse().ok())
            .is_some_and(|number: u64| number < most)
    };
    below("KiB", 1 << 10) || below("B", 1 << 20)
}

fn is_guard(directive: &Directive) -> bool {
    GUARDS.contains(&&*directive.name) && directive.arg(0) != "off"
}
