//! One location as routes.

use super::super::model::Kind;
use super::super::pattern::{self, Path};
use super::super::route::Route;
use super::super::tree::Directive;
use super::super::value::Value;
use super::answers;
use super::condition::Condition;
use super::rules::Rules;
use super::{Context, Converter};

impl<'a> Converter<'a> {
    /// The routes of a location, in their order.
    pub(super) fn location(&mut self, context: &Context<'a, '_>) -> Vec<Route> {
        let paths = match self.paths(context) {
            Ok(paths) => paths,
            Err(why) => {
                self.unmatchable(context, &why);
                return Vec::new();
            }
        };
        if let Some(directive) = context.location.directive {
            self.report.kept(directive);
        }
        let own = context.levels().last().copied().unwrap_or_default();
        let rules = match context.location.directive {
            Some(_) => self.rules_of(own, context),
            None => Rules::default(), // those of the server come before all of its locations
        };
        let mut routes = Vec::new();
        for path in &paths {
            routes.extend(self.slash(context, path));
            for route in &rules.before {
                let mut route = route.clone();
                route.set_path(path);
                routes.push(route);
            }
            let mut route = Route::new(context.name());
            route.set_path(path);
            if let Err(why) = self.content(&mut route, context, &rules, path) {
                if let Some(directive) = context.location.directive {
                    self.report.left_out(directive, why.clone());
                }
                route.disable(false, why);
            }
            for (is_guard, why) in &rules.disabled {
                route.disable(*is_guard, why.clone());
            }
            if let Some((key, values, directive, answer)) = &rules.otherwise {
                let mut other = Route::new(self.comment(directive));
                other.set_path(path);
                other.set(answer.key, answer.value.clone(), self.at(directive));
                Condition::narrow(&mut route, *key, values, self.at(directive));
                routes.extend([route, other]);
            } else {
                routes.push(route);
            }
        }
        routes
    }

    /// The paths of a location.
    fn paths(&mut self, context: &Context<'a, '_>) -> Result<Vec<Path>, String> {
        let text = |path: &str| match path.contains('*') {
            true => Err("a `*` in a path of a route is a whole segment".to_owned()),
            false => Ok(encoded(path)),
        };
        match &context.location.kind {
            Kind::Exact(path) => Ok(vec![Path::Exact(text(path)?)]),
            Kind::Prefix(path) | Kind::FirmPrefix(path) => {
                if !path.starts_with('/') {
                    return Err(
                        "its prefix does not begin with a slash, so that no request has it"
                            .to_owned(),
                    );
                }
                if !path.ends_with('/') {
                    self.note_borders(context, path);
                }
                Ok(vec![Path::Prefix(text(path)?)])
            }
            Kind::Regex {
                expression,
                ignores_case,
            } => {
                let found = pattern::paths(expression)?;
                let is_guard = is_denial(context.levels());
                if is_guard && (*ignores_case || found.is_narrower) {
                    return Err(
                        "its regular expression denies more than a path of a route would"
                            .to_owned(),
                    );
                }
                if found.is_wider && !is_guard && context.has_guards() {
                    return Err(
                        "as a path of a route it would take requests that another location guards"
                            .to_owned(),
                    );
                }
                let name = context.name();
                if *ignores_case {
                    self.report
                        .note(format!("{name}: paths of routes are case-sensitive"));
                }
                if found.is_wider {
                    self.report.note(format!(
                        "{name}: its `*` takes any segment, where the regular expression takes some"
                    ));
                }
                if found.is_narrower {
                    self.report.note(format!("{name}: its `*` is one segment, and a `.` a dot, where the regular expression takes more"));
                }
                for path in &found.paths {
                    if let Path::Prefix(path) = path
                        && !path.ends_with('/')
                    {
                        self.note_borders(context, path);
                    }
                }
                Ok(found.paths)
            }
            Kind::Named(_) => Err("only other locations lead to it".to_owned()),
        }
    }

    fn note_borders(&mut self, context: &Context<'a, '_>, path: &str) {
        if context.is_guarded() {
            self.report.note(format!("{}: what guards `{path}` in nginx also guards `{path}x`; here it guards `{path}` and what is below it", context.name()));
        }
        if !self.borders_noted {
            self.borders_noted = true;
            self.report.note(format!("in nginx a prefix such as `{path}` also takes `{path}x`; paths of routes end at segment borders"));
        }
    }

    /// A location whose requests no route can single out.
    fn unmatchable(&mut self, context: &Context<'a, '_>, why: &str) {
        let Some(directive) = context.location.directive else {
            return;
        };
        let is_dotfiles = matches!(&context.location.kind, Kind::Regex { expression, .. } if expression.starts_with("/\\.") || expression.starts_with("(^|/)\\."));
        if is_denial(context.levels()) {
            if is_dotfiles && !context.server_is_proxied() {
                self.report
                    .implied(directive, "files and folders with a dot are not served");
                return self.rest(directive, |converter, inner| {
                    converter
                        .report
                        .implied(inner, "files and folders with a dot are not served");
                });
            }
            let why = format!("{why}; deny these paths at the backend, or by prefixes");
            self.report.guard(directive, why.clone());
            self.rest(directive, |converter, inner| {
                converter.report.guard(inner, why.clone());
            });
            self.denied = Some(format!("{}: {why}", self.comment(directive)));
            return;
        }
        self.report.left_out(
            directive,
            format!("{why}; its requests go to the next route that takes them"),
        );
        self.rest(directive, |converter, inner| {
            converter.report.left_out(inner, "its location is left out");
        });
    }

    /// Says the same of everything in a block that nothing was said of, but for locations in it.
    pub(super) fn rest(
        &mut self,
        directive: &'a Directive,
        mut say: impl FnMut(&mut Self, &'a Directive),
    ) {
        let mut open: Vec<&'a Directive> = directive.body().iter().collect();
        while let Some(inner) = open.pop() {
            if inner.name == "location" {
                continue;
            }
            if self.report.is_open(inner) {
                say(self, inner);
            }
            open.extend(inner.body());
        }
    }

    /// nginx's own redirect to the slash of a prefix that has one and a backend.
    fn slash(&mut self, context: &Context<'a, '_>, path: &Path) -> Option<Route> {
        let Path::Prefix(text) = path else {
            return None;
        };
        let bare = text.strip_suffix('/').filter(|bare| !bare.is_empty())?;
        let is_regex = matches!(context.location.kind, Kind::Regex { .. });
        let is_taken = context
            .server
            .locations
            .iter()
            .any(|other| other.kind == Kind::Exact(bare.to_owned()));
        if is_regex || is_taken || !context.is_proxied() {
            return None;
        }
        let mut route = Route::new(format!(
            "{}: nginx itself redirects to the slash",
            context.name()
        ));
        route.set_path(&Path::Exact(bare.to_owned()));
        let target = Value::parse(text);
        let answer = answers::redirect(&target, 301).ok()?;
        route.set(answer.key, answer.value, "");
        Some(route)
    }
}

/// Whether a location exists only to deny requests.
fn is_denial(levels: &[&[Directive]]) -> bool {
    let own = levels.last().copied().unwrap_or_default();
    own.iter().any(|directive| match &*directive.name {
        "deny" | "internal" | "auth_basic" | "auth_request" | "limit_req" | "limit_conn" => true,
        "return" => directive.arg(0).starts_with(['4', '5']),
        _ => false,
    })
}

/// A prefix as paths of routes have it: nginx compares decoded paths.
fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            byte if byte.is_ascii_graphic() && !b"%?#".contains(&byte) => {
                text.push(char::from(byte));
            }
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
