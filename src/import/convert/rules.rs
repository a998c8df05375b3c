//! `if`, `return` and `rewrite`: decisions before a location's content.

use super::super::inherit::effective_all;
use super::super::pattern::{self, Path};
use super::super::route::{Key, Route};
use super::super::tree::Directive;
use super::super::value::Value;
use super::answers::{self, Answer};
use super::condition::Condition;
use super::{Context, Converter};

/// What a location does with a request, before its paths are known.
#[derive(Debug, Default)]
pub(super) struct Rules<'a> {
    /// Routes with conditions of their own, which come first.
    pub(super) before: Vec<Route>,
    /// What all requests get that no condition above has taken.
    pub(super) answer: Option<(&'a Directive, Answer)>,
    /// A condition that the location's own route needs, with what the others get.
    pub(super) otherwise: Option<(Key, Vec<String>, &'a Directive, Answer)>,
    /// `rewrite … break`
    pub(super) mapping: Option<(String, String)>,
    /// The `if` that answers preflights.
    pub(super) preflight: Option<&'a Directive>,
    /// Why the route must not be used.
    pub(super) disabled: Vec<(bool, String)>,
}
impl<'a> Converter<'a> {
    /// What `if`, `return` and `rewrite` in a block do, in their order.
    pub(super) fn rules_of(
        &mut self,
        block: &'a [Directive],
        context: &Context<'a, '_>,
    ) -> Rules<'a> {
        let mut rules = Rules::default();
        for directive in block {
            match &*directive.name {
                "set" => self.report.implied(directive, "constants are folded"),
                "break" => self
                    .report
                    .implied(directive, "nothing is rewritten behind a `break`"),
                "if" => self.condition(directive, context, &mut rules),
                "return" => match answers::of_return(directive, &context.scope()) {
                    Ok(answer) => {
                        match answer.difference {
                            Some(difference) => self.report.left_out(directive, difference),
                            None => self.report.kept(directive),
                        }
                        rules.answer = Some((directive, answer));
                        break;
                    }
                    Err(why) => {
                        self.report.left_out(directive, why.clone());
                        rules.disabled.push((false, why));
                        break;
                    }
                },
                "rewrite" => self.rewrite(directive, context, &mut rules),
                _ => {}
            }
        }
        rules
    }

    fn condition(
        &mut self,
        directive: &'a Directive,
        context: &Context<'a, '_>,
        rules: &mut Rules<'a>,
    ) {
        let body = directive.body();
        let returns = body.iter().find(|inner| inner.name == "return");
        let condition = Condition::read(directive);
        let answer = returns.map(|inner| answers::of_return(inner, &context.scope()));
        let is_denial = returns.is_some_and(|inner| inner.arg(0).starts_with(['4', '5']));
        if let (Condition::Is(Key::Method, methods), Some(inner)) = (&condition, returns)
            && *methods == ["OPTIONS"]
            && inner.arg(0).starts_with('2')
            && self.has_origin(directive, context)
        {
            rules.preflight = Some(directive);
            return;
        }
        match (condition, answer) {
            (Condition::Is(key, values), Some(Ok(answer))) => {
                let mut route = Route::new(self.comment(directive));
                Condition::narrow(&mut route, key, &values, self.at(directive));
                self.own_answer(&mut route, context, directive, answer);
                rules.before.push(route);
            }
            (Condition::IsPlain, Some(Ok(answer))) => {
                if context.is_tls() == Some(true) {
                    self.report.implied(directive, "the listener has TLS only");
                    return self.rest(directive, |converter, inner| {
                        converter.report.implied(inner, "the listener has TLS only");
                    });
                }
                let mut route = Route::new(self.comment(directive));
                let plain: Vec<_> = context
                    .server
                    .listens
                    .iter()
                    .filter(|listen| !listen.is_tls)
                    .map(|listen| self.listener_name(&listen.address))
                    .collect();
                Condition::narrow(&mut route, Key::Listener, &plain, "");
                self.own_answer(&mut route, context, directive, answer);
                rules.before.push(route);
            }
            (Condition::IsNot(key, values), Some(Ok(answer))) if rules.otherwise.is_none() => {
                self.report.kept(directive);
                self.rest(directive, |converter, inner| converter.report.kept(inner));
                rules.otherwise = Some((key, values, directive, answer));
            }
            (_, answer) => {
                let why = match answer {
                    Some(Err(why)) => why,
                    _ => "a route has no such condition".to_owned(),
                };
                let why = format!(
                    "{why}: a route can ask for a method, a host, a header or a query parameter"
                );
                if is_denial {
                    self.report.guard(directive, why.clone());
                    self.rest(directive, |converter, inner| {
                        converter.report.guard(inner, why.clone());
                    });
                    rules.disabled.push((true, why));
                } else {
                    self.report.left_out(directive, why.clone());
                    self.rest(directive, |converter, inner| {
                        converter.report.left_out(inner, why.clone());
                    });
                }
            }
        }
    }

    fn has_origin(&self, preflight: &Directive, context: &Context<'a, '_>) -> bool {
        let outer = effective_all(context.levels(), "add_header");
        let inner = preflight
            .body()
            .iter()
            .filter(|inner| inner.name == "add_header");
        outer.into_iter().chain(inner).any(|field| {
            field
                .arg(0)
                .eq_ignore_ascii_case("access-control-allow-origin")
        })
    }

    /// A route that answers by itself, with the fields of its `if`, or those around it.
    fn own_answer(
        &mut self,
        route: &mut Route,
        context: &Context<'a, '_>,
        directive: &'a Directive,
        answer: Answer,
    ) {
        match answer.difference {
            Some(difference) => self.report.left_out(directive, difference),
            None => self.report.kept(directive),
        }
        route.set(answer.key, answer.value, self.at(directive));
        let mut location = context.location.clone();
        location.levels.push(directive.body());
        let place = Context {
            location: &location,
            ..context.clone()
        };
        self.response_headers(route, &place, false);
        self.rest(directive, |converter, inner| match &*inner.name {
            "return" | "add_header" => converter.report.kept(inner),
            _ => {}
        });
    }

    fn rewrite(
        &mut self,
        directive: &'a Directive,
        context: &Context<'a, '_>,
        rules: &mut Rules<'a>,
    ) {
        let (expression, replacement, flag) =
            (directive.arg(0), directive.arg(1), directive.arg(2));
        let is_url = replacement.contains("://") || replacement.starts_with("$scheme");
        let status = match flag {
            "permanent" => Some(301),
            "redirect" => Some(302),
            _ if is_url => Some(302),
            _ => None,
        };
        let result = match status {
            Some(status) => self.rewritten_redirect(directive, context, status, rules),
            None if flag == "break" || flag == "last" && context.is_proxied() && context.location.directive.is_some() => {
                let mapping = answers::prefix_mapping(expression, replacement);
                rules.mapping = mapping;
                match rules.mapping {
                    Some(_) => Ok(()),
                    None => Err("`replace_prefix` replaces a prefix of the path, and nothing else".to_owned()),
                }
            }
            None => Err("the sidecar does not choose a route anew for a rewritten path: write a route for the path that clients ask for".to_owned()),
        };
        match result {
            Ok(()) => self.report.kept(directive),
            Err(why) => {
                self.report.left_out(directive, why.clone());
                if flag == "break" {
                    rules.disabled.push((false, why));
                }
            }
        }
    }

    fn rewritten_redirect(
        &mut self,
        directive: &'a Directive,
        context: &Context<'a, '_>,
        status: u64,
        rules: &mut Rules<'a>,
    ) -> Result<(), String> {
        let (expression, replacement) = (directive.arg(0), directive.arg(1));
        let whole = match expression {
            "^" | ".*" | "^.*" | "^.*$" => Some(replacement.to_owned()),
            "^(.*)$" | "^(.*)" | "(.*)" => Some(
                replacement
                    .replace("$1", "$uri")
                    .replace("$uri$uri", "$uri"),
            ),
            "^/(.*)$" | "^/(.*)" => Some(replacement.replace("/$1", "$uri")),
            _ => None,
        };
        let mut route = Route::new(self.comment(directive));
        if let Some(target) = whole {
            let target = match target.trim_end_matches('?').strip_suffix("$uri") {
                // A rewrite keeps the query.
                Some(before) => format!("{before}$request_uri"),
                None => target.replace("$request_uri?", "$request_uri"),
            };
            let answer = answers::redirect(&context.scope().value(&target), status)?;
            rules.answer.get_or_insert((directive, answer));
            return Ok(());
        }
        if let Some((from, to)) = answers::prefix_mapping(expression, replacement) {
            let answer = answers::redirect(&Value::parse("$request_uri"), status)?;
            route.set_path(&Path::Prefix(if from.is_empty() {
                "/".to_owned()
            } else {
                from
            }));
            route.set(answer.key, answer.value, self.at(directive));
            route.set(
                Key::ReplacePrefix,
                if to.is_empty() { "/".to_owned() } else { to },
                "",
            );
        } else {
            let found = pattern::paths(expression)?;
            let answer = answers::redirect(
                &context.scope().value(replacement.trim_end_matches('?')),
                status,
            )?;
            let [path] = &*found.paths else {
                return Err("its regular expression is more than one path".to_owned());
            };
            route.set_path(path);
            route.set(answer.key, answer.value, self.at(directive));
        }
        // In a location these would need both paths.
        match context.location.directive {
            None => rules.before.push(route),
            Some(_) => {
                return Err("move it to the server, or write a route that redirects".to_owned());
            }
        }
        Ok(())
    }
}
