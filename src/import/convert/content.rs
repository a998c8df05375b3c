//! What answers the requests of a location: a backend, a folder, or nothing.

use super::super::inherit::{effective, effective_any};
use super::super::model::Kind;
use super::super::pattern::Path;
use super::super::route::{Key, Route};
use super::super::tree::Directive;
use super::super::units;
use super::answers::{self, Answer};
use super::rules::Rules;
use super::upstream::Target;
use super::{Context, Converter};

/// Directives that hand a request to something that is no HTTP.
const OTHER_BACKENDS: [&str; 8] = [
    "fastcgi_pass",
    "uwsgi_pass",
    "scgi_pass",
    "memcached_pass",
    "content_by_lua_block",
    "content_by_lua",
    "content_by_lua_file",
    "js_content",
];
impl<'a> Converter<'a> {
    /// What answers the requests of a location.
    pub(super) fn content(
        &mut self,
        route: &mut Route,
        context: &Context<'a, '_>,
        rules: &Rules<'a>,
        path: &Path,
    ) -> Result<(), String> {
        let levels = context.levels();
        let own = levels.last().copied().unwrap_or_default();
        let find = |name: &str| own.iter().find(|directive| directive.name == name);
        let has_cors = rules
            .preflight
            .is_some_and(|preflight| self.cors(route, context, preflight));
        if let Some((directive, answer)) = &rules.answer {
            if let Some(note) = answer.note {
                self.report.note(note);
            }
            route.set(answer.key, answer.value.clone(), self.at(directive));
            self.response_headers(route, context, has_cors);
            return Ok(());
        }
        if let Some(internal) = find("internal") {
            self.report.kept(internal);
            let answer = Answer::status(404);
            route.set(answer.key, answer.value, self.at(internal));
            return Ok(());
        }
        let denied = effective_any(levels, &["allow", "deny"]);
        if let [deny] = &*denied
            && deny.name == "deny"
            && deny.arg(0) == "all"
            && effective(levels, "satisfy").is_none_or(|satisfy| satisfy.arg(0) != "any")
        {
            self.report.kept(deny);
            let answer = Answer::status(403);
            route.set(answer.key, answer.value, self.at(deny));
            self.rest_unused(context);
            return Ok(());
        }
        self.guards(route, context);
        self.limit_except(route, own);
        let other = OTHER_BACKENDS.iter().find_map(|name| find(name));
        if let Some(other) = other {
            let why = format!(
                "the sidecar speaks HTTP to backends: put an HTTP server in front of what `{}` talks to",
                other.name
            );
            self.report.left_out(other, why.clone());
            return Err(why);
        }
        if let Some(status) = find("stub_status") {
            let why = "the sidecar's own figures are on its admin port: /metrics and /status";
            self.report.left_out(status, why);
            return Err(why.to_owned());
        }
        let result = if context.is_proxied() {
            self.proxied(route, context)
        } else {
            self.files(route, context, path)
        };
        self.response_headers(route, context, has_cors);
        result?;
        if route.has(Key::Url) || route.has(Key::Urls) {
            self.replaced(route, context, rules, path)?;
        }
        Ok(())
    }

    /// A location that is denied needs nothing else that is in it.
    fn rest_unused(&mut self, context: &Context<'a, '_>) {
        if let Some(directive) = context.location.directive {
            self.rest(directive, |converter, inner| {
                if !matches!(&*inner.name, "if" | "set" | "return" | "rewrite") {
                    converter
                        .report
                        .implied(inner, "nothing comes behind `deny all`");
                }
            });
        }
    }

    /// `limit_except GET { deny all; }`
    fn limit_except(&mut self, route: &mut Route, own: &'a [Directive]) {
        for directive in own
            .iter()
            .filter(|directive| directive.name == "limit_except")
        {
            let why = "write the methods as `method = [\"GET\", \"HEAD\"]`, and another route that answers 403";
            self.report.guard(directive, why);
            for inner in directive.body() {
                self.report.guard(inner, why);
            }
            route.disable(true, why);
        }
    }

    /// Everything that a route to a backend has.
    pub(super) fn proxied(
        &mut self,
        route: &mut Route,
        context: &Context<'a, '_>,
    ) -> Result<(), String> {
        let Some(pass) = context.pass() else {
            return Err("its location has no `proxy_pass`".to_owned());
        };
        let result = self.upstream(route, context, pass);
        let target = match result {
            Ok(target) => target,
            Err(why) => {
                self.report.left_out(pass, why.clone());
                return Err(why);
            }
        };
        self.request_headers(route, context, &target);
        self.timeouts(route, context);
        Ok(())
    }

    fn timeouts(&mut self, route: &mut Route, context: &Context<'a, '_>) {
        let levels = context.levels();
        let is_grpc = context.pass().is_some_and(|pass| pass.name == "grpc_pass");
        let read = if is_grpc {
            "grpc_read_timeout"
        } else {
            "proxy_read_timeout"
        };
        let connect = if is_grpc {
            "grpc_connect_timeout"
        } else {
            "proxy_connect_timeout"
        };
        for (name, keys) in [
            (connect, &[Key::Connect][..]),
            (read, &[Key::ResponseHead, Key::Read]),
            ("send_timeout", &[Key::Write]),
            ("client_body_timeout", &[Key::RequestBody]),
        ] {
            let Some(directive) = effective(levels, name) else {
                if name == read {
                    self.report.note(format!("without `{name}` nginx drops a backend that is silent for 60 s; the sidecar's own `timeouts.read` and `timeouts.response_head`, 120 s, are kept"));
                }
                continue;
            };
            match units::duration(directive.arg(0)) {
                Some(0) => self.report.left_out(
                    directive,
                    "no time at all: write how long to wait, or `\"off\"`",
                ),
                Some(milliseconds) => {
                    self.report.kept(directive);
                    let is_bare = directive.arg(0).bytes().all(|byte| byte.is_ascii_digit());
                    if is_bare && milliseconds >= 10_000_000 {
                        self.report.note(format!("{}: a number without a unit is seconds, so this is {}; were milliseconds meant?", self.comment(directive), units::written_duration(milliseconds)));
                    }
                    for key in keys {
                        route.set(
                            *key,
                            units::written_duration(milliseconds),
                            self.at(directive),
                        );
                    }
                }
                None => self.report.left_out(
                    directive,
                    format!("`{}` is no duration of nginx", directive.arg(0)),
                ),
            }
        }
    }

    /// The path that the backend gets.
    fn replaced(
        &mut self,
        route: &mut Route,
        context: &Context<'a, '_>,
        rules: &Rules<'a>,
        path: &Path,
    ) -> Result<(), String> {
        let Some(pass) = context.pass() else {
            return Ok(());
        };
        let raw = pass.arg(0);
        let target = Target::read(&context.scope().value(raw), raw.contains('$'))?;
        let matched = path.text().trim_end_matches('/');
        // A rewrite with `break` makes the path of `proxy_pass` moot.
        let mapping = match (&rules.mapping, &target.path) {
            (Some(mapping), _) => Some(mapping.clone()),
            (None, _) if target.keeps_path() => None,
            (None, Some(to)) if to.contains('$') => {
                let expression = match &context.location.kind {
                    Kind::Regex { expression, .. } => expression.as_str(),
                    _ => "",
                };
                let mapping = answers::prefix_mapping(expression, to);
                Some(mapping.ok_or_else(|| {
                    format!("the path `{to}` depends on more than a prefix of the request's")
                })?)
            }
            (None, Some(to)) => {
                let name = context.name();
                let from = path.text();
                if target.has_variables && matches!(path, Path::Prefix(_)) {
                    self.report.left_out(pass, format!("with a variable in it nginx sends every request to `{to}`, without its query; here what follows `{from}` is kept"));
                } else if from.ends_with('/')
                    && !to.ends_with('/')
                    && matches!(path, Path::Prefix(_))
                {
                    self.report.left_out(pass, format!("nginx glues `{to}` to what follows `{from}`, without a slash; here there is a slash between them"));
                } else if !from.ends_with('/')
                    && to.ends_with('/')
                    && matches!(path, Path::Prefix(_))
                {
                    self.report.note(format!("{name}: nginx makes `{to}/x` of `{from}/x`, with two slashes; here it is one"));
                }
                Some((
                    from.trim_end_matches('/').to_owned(),
                    to.trim_end_matches('/').to_owned(),
                ))
            }
            (None, None) => None,
        };
        let Some((from, to)) = mapping else {
            return Ok(());
        };
        let Some(below) = matched.strip_prefix(from.as_str()) else {
            return Err(format!(
                "what is rewritten, `{from}`, is no prefix of the path"
            ));
        };
        let to = match format!("{to}{below}") {
            to if to.is_empty() => "/".to_owned(),
            to => to,
        };
        let exact = match (path, &target.path) {
            (Path::Exact(_), Some(path)) if rules.mapping.is_none() && !path.contains('$') => {
                path.clone()
            }
            _ => to,
        };
        if exact.trim_end_matches('/') != matched
            || matches!(path, Path::Exact(matched) if *matched != exact)
        {
            route.set(Key::ReplacePrefix, exact, self.at(pass));
        }
        Ok(())
    }
}
