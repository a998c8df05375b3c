//! Whatever decides who may call. A guard that cannot be kept takes its route out of service.

use super::super::inherit::{effective, effective_all, effective_any};
use super::super::model::Kind;
use super::super::route::{Key, Route};
use super::super::toml::Toml;
use super::super::tree::Directive;
use super::super::units;
use super::upstream::Target;
use super::{Context, Converter, standing};

/// What guards and has no key.
const UNKNOWN_GUARDS: [&str; 14] = [
    "access_by_lua",
    "access_by_lua_block",
    "access_by_lua_file",
    "auth_digest",
    "auth_jwt",
    "auth_ldap",
    "auth_pam",
    "js_access",
    "limit_req_dry_run",
    "modsecurity",
    "perimeterx",
    "secure_link",
    "secure_link_secret",
    "valid_referers",
];

impl<'a> Converter<'a> {
    /// Sets who may send requests to a route, and how many.
    pub(super) fn guards(&mut self, route: &mut Route, context: &Context<'a, '_>) {
        let levels = context.levels();
        let rules = effective_any(levels, &["allow", "deny"]);
        let basic = effective(levels, "auth_basic").filter(|directive| directive.arg(0) != "off");
        let request =
            effective(levels, "auth_request").filter(|directive| directive.arg(0) != "off");
        let satisfy = effective(levels, "satisfy");
        let restricts = rules.iter().any(|rule| rule.name == "deny");
        if let Some(satisfy) = satisfy {
            if satisfy.arg(0) == "any" && restricts && (basic.is_some() || request.is_some()) {
                let why = "the sidecar has no `satisfy any`: write a route for the networks that need no login, with `access.rules`, before one with the login";
                for directive in rules.iter().chain(&basic).chain(&request).chain([&satisfy]) {
                    self.report.guard(directive, why);
                }
                return route.disable(true, why);
            }
            self.report.implied(
                satisfy,
                "all of a route's guards must let a request through",
            );
        }
        self.rules(route, &rules);
        if let Some(directive) = basic {
            self.basic_auth(route, context, directive);
        }
        if let Some(directive) = request {
            self.authorize(route, context, directive);
        }
        self.request_limits(route, context);
        self.body_limit(route, context);
        for include in levels
            .iter()
            .flat_map(|level| level.iter())
            .filter(|directive| directive.name == "include")
        {
            if self.missing.contains_key(&include.id) && standing::may_guard(include.arg(0)) {
                route.disable(
                    true,
                    format!(
                        "`{}` is missing, and may decide who may call",
                        include.arg(0)
                    ),
                );
            }
        }
        for name in UNKNOWN_GUARDS {
            for directive in effective_all(levels, name) {
                if directive.arg(0) != "off" {
                    let why = format!(
                        "the sidecar has no `{name}`: `access.authorize` can ask a service that decides"
                    );
                    self.report.guard(directive, why.clone());
                    route.disable(true, why);
                }
            }
        }
    }

    fn rules(&mut self, route: &mut Route, rules: &[&'a Directive]) {
        if rules.iter().all(|rule| rule.name == "allow") {
            for rule in rules {
                self.report
                    .implied(rule, "everybody has access unless a rule denies it");
            }
            return;
        }
        let mut written: Vec<Toml> = Vec::new();
        for rule in rules {
            let who = rule.arg(0);
            let is_network = who == "all"
                || who.parse::<ipnet::IpNet>().is_ok()
                || who.parse::<std::net::IpAddr>().is_ok();
            if is_network {
                self.report.kept(rule);
                written.push(format!("{} {who}", rule.name).into());
            } else if rule.name == "allow" {
                self.report.left_out(
                    rule,
                    format!("`{who}` is no network; whom it would let in stays out"),
                );
            } else {
                let why = format!("`{who}` is no network that `access.rules` could deny");
                self.report.guard(rule, why.clone());
                route.disable(true, why);
            }
        }
        if rules.last().is_none_or(|rule| rule.arg(0) != "all") && !written.is_empty() {
            written.push("allow all".into()); // nginx lets through whom no rule names
        }
        if let (Some(first), false) = (rules.first(), written.is_empty()) {
            route.set(Key::AccessRules, Toml::List(written), self.at(first));
        }
    }

    fn basic_auth(
        &mut self,
        route: &mut Route,
        context: &Context<'a, '_>,
        directive: &'a Directive,
    ) {
        let file = effective(context.levels(), "auth_basic_user_file");
        match file.map(|file| (file, context.scope().value(file.arg(0)))) {
            Some((file, value)) if value.literal().is_some_and(|path| !path.is_empty()) => {
                let path = self.path(value.literal().unwrap_or_default());
                self.report.kept(directive);
                self.report.kept(file);
                route.set(Key::AccessBasicAuth, path, self.at(file));
                self.report.note("`access.basic_auth` takes bcrypt only (`htpasswd -B`); other hashes in a password file have to be made anew");
            }
            _ => {
                let why = "it names no fixed file of passwords";
                self.report.guard(directive, why);
                route.disable(true, why);
            }
        }
    }

    /// The service that an `auth_request` asks is behind a location of its own.
    fn authorize(
        &mut self,
        route: &mut Route,
        context: &Context<'a, '_>,
        directive: &'a Directive,
    ) {
        match self.authorizer(context, directive.arg(0)) {
            Ok(url) => {
                self.report.kept(directive);
                route.set(Key::AccessAuthorize, url, self.at(directive));
            }
            Err(why) => {
                self.report.guard(directive, why.clone());
                route.disable(true, why);
            }
        }
    }

    fn authorizer(&mut self, context: &Context<'a, '_>, uri: &str) -> Result<String, String> {
        let mut locations = context.server.locations.iter();
        let location = locations.find(|location| match &location.kind {
            Kind::Exact(path) => path == uri,
            Kind::FirmPrefix(path) | Kind::Prefix(path) => uri.starts_with(path.as_str()),
            Kind::Regex { .. } | Kind::Named(_) => false,
        });
        let location = location.ok_or_else(|| format!("there is no location for `{uri}`"))?;
        let own = location.levels.last().copied().unwrap_or_default();
        let pass = own.iter().find(|directive| directive.name == "proxy_pass");
        let pass = pass.ok_or_else(|| format!("the location of `{uri}` has no `proxy_pass`"))?;
        let target = Target::read(
            &context.scope().value(pass.arg(0)),
            pass.arg(0).contains('$'),
        )?;
        let mut service = Route::default();
        let place = Context {
            location,
            ..context.clone()
        };
        self.upstream(&mut service, &place, pass)?;
        let Some(Toml::Text(base)) = service
            .settings
            .get(&Key::Url)
            .map(|setting| &setting.value)
        else {
            return Err(
                "the service that decides has several backends: `access.authorize` has one URL"
                    .to_owned(),
            );
        };
        if !base.starts_with("http") {
            return Err("`access.authorize` takes an http or https URL".to_owned());
        }
        for directive in own {
            let is_bodiless = matches!(&*directive.name, "proxy_pass_request_body")
                || directive.name == "proxy_set_header" && is_told(directive.arg(0));
            if is_bodiless {
                self.report.implied(
                    directive,
                    "the service that decides gets the client's head and no body",
                );
            }
        }
        let path = match (&target.path, &location.kind) {
            (None, _) => uri.to_owned(),
            (Some(path), _) if path.contains('$') => {
                return Err(format!(
                    "the path of the service depends on the request (`{path}`)"
                ));
            }
            (Some(path), Kind::Prefix(prefix) | Kind::FirmPrefix(prefix)) => {
                format!(
                    "{path}{}",
                    uri.strip_prefix(prefix.as_str()).unwrap_or_default()
                )
            }
            (Some(path), _) => path.clone(),
        };
        Ok(format!("{base}{path}"))
    }

    fn request_limits(&mut self, route: &mut Route, context: &Context<'a, '_>) {
        for directive in effective_all(context.levels(), "limit_req") {
            let option = |name: &str| directive.args.iter().find_map(|arg| arg.strip_prefix(name));
            let rate = option("zone=").and_then(|zone| self.model.zones.get(zone).copied());
            let rate = rate
                .filter(|zone| zone.name == "limit_req_zone")
                .ok_or_else(|| "its zone is not defined".to_owned());
            match rate.and_then(|zone| Ok((zone, rate_of(zone)?, limit_key(zone.arg(0))?))) {
                Ok((zone, rate, by)) if !route.has(Key::LimitRequests) => {
                    // nginx lets one request more through at once than its burst.
                    let burst = option("burst=")
                        .and_then(|burst| burst.parse::<u64>().ok())
                        .unwrap_or(0);
                    let text = format!("{rate}, burst {}", burst.saturating_add(1));
                    self.report.kept(directive);
                    self.report.kept(zone);
                    route.set(Key::LimitRequests, text, self.at(directive));
                    if let Some(by) = by {
                        route.set(Key::LimitBy, by, "");
                    }
                    self.report.note("a client over its rate is answered 429 at once with Retry-After, where nginx delays requests (without `nodelay`) and answers 503");
                }
                Ok(_) => self.unkept(
                    route,
                    directive,
                    "a route has one `limits.requests_per_client`, and this is another".to_owned(),
                ),
                Err(why) => self.unkept(route, directive, why),
            }
        }
        for directive in effective_all(context.levels(), "limit_conn") {
            let zone = self.model.zones.get(directive.arg(0)).copied();
            let key = zone
                .ok_or_else(|| "its zone is not defined".to_owned())
                .and_then(|zone| Ok((zone, limit_key(zone.arg(0))?)));
            match (key, directive.arg(1).parse::<u64>()) {
                (Ok((zone, None)), Ok(number)) if !route.has(Key::LimitStreams) => {
                    self.report.kept(directive);
                    self.report.kept(zone);
                    route.set(Key::LimitStreams, Toml::Number(number), self.at(directive));
                    self.report.note("`limits.streams_per_client` counts the event streams that a client has open; nginx's `limit_conn` counts its other requests too");
                }
                (Err(why), _) => self.unkept(route, directive, why),
                _ => self.unkept(
                    route,
                    directive,
                    "a route counts the streams of a client's address, once".to_owned(),
                ),
            }
        }
    }

    fn unkept(&mut self, route: &mut Route, directive: &'a Directive, why: String) {
        self.report.guard(directive, why.clone());
        route.disable(true, why);
    }

    fn body_limit(&mut self, route: &mut Route, context: &Context<'a, '_>) {
        let Some(directive) = effective(context.levels(), "client_max_body_size") else {
            if context.is_proxied() {
                self.report.note("without `client_max_body_size` nginx refuses request bodies above 1 MiB; the sidecar has no limit unless you write `limits.request_body`");
            }
            return;
        };
        match units::size(directive.arg(0)) {
            Some(0) => self.report.implied(
                directive,
                "request bodies have no limit unless one is written",
            ),
            Some(bytes) => {
                self.report.kept(directive);
                route.set(
                    Key::LimitBody,
                    units::written_size(bytes),
                    self.at(directive),
                );
            }
            None => self.unkept(
                route,
                directive,
                format!("`{}` is no size", directive.arg(0)),
            ),
        }
    }
}

/// Whether the sidecar sends this field to the authorizing service anyway.
fn is_told(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    matches!(
        &*field,
        "content-length"
            | "content-type"
            | "host"
            | "x-original-uri"
            | "x-original-method"
            | "x-real-ip"
    ) || field.starts_with("x-forwarded-")
}

/// `10r/s` as the sidecar's file has it.
fn rate_of(zone: &Directive) -> Result<String, String> {
    let rate = zone
        .args
        .iter()
        .find_map(|arg| arg.strip_prefix("rate="))
        .unwrap_or_default();
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
    match (
        rate.strip_suffix("r/s").and_then(number),
        rate.strip_suffix("r/m").and_then(number),
    ) {
        (Some(number), _) => Ok(format!("{number}/s")),
        (_, Some(number)) => Ok(format!("{number}/m")),
        _ => Err(format!("`{rate}` is no rate")),
    }
}

/// What a zone counts by: `None` for the client's address.
fn limit_key(variable: &str) -> Result<Option<String>, String> {
    match variable {
        "$binary_remote_addr" | "$remote_addr" => Ok(None),
        _ => match variable.strip_prefix("$http_") {
            Some(field) => Ok(Some(format!(
                "header:{}",
                super::super::value::field_name(field)
            ))),
            None => Err(format!(
                "it counts by `{variable}`; `limits.by` is the client's address or a header"
            )),
        },
    }
}
