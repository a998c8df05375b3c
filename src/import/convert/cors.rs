//! Cross-origin sharing, which nginx has no directives for: `add_header` in a location, and in the `if` that answers preflights.

use super::super::inherit::effective_all;
use super::super::route::{Key, Route};
use super::super::toml::Toml;
use super::super::tree::Directive;
use super::super::units;
use super::{Context, Converter};

const MIRRORED: &str = "every origin is mirrored, and with credentials any page could act for its visitor: list the origins, `cors = { origins = [\"https://…\"], credentials = true }`";

impl<'a> Converter<'a> {
    /// Makes `cors` of the fields of a location whose preflights `preflight` answers; whether there are any.
    pub(super) fn cors(
        &mut self,
        route: &mut Route,
        context: &Context<'a, '_>,
        preflight: &'a Directive,
    ) -> bool {
        let inner = effective_all(&[preflight.body()], "add_header");
        let outer = effective_all(context.levels(), "add_header");
        let is_cors = |directive: &&&Directive| {
            directive
                .arg(0)
                .to_ascii_lowercase()
                .starts_with("access-control-")
        };
        let fields: Vec<_> = outer
            .iter()
            .chain(&inner)
            .filter(is_cors)
            .copied()
            .collect();
        let value = |name: &str| {
            let fields = fields.iter().rev();
            let mut named = fields.filter(|field| field.arg(0).eq_ignore_ascii_case(name));
            named.next().map(|field| field.arg(1))
        };
        let Some(origin) = value("access-control-allow-origin") else {
            return false;
        };
        for directive in inner.iter().filter(|directive| !fields.contains(directive)) {
            self.report
                .implied(directive, "`cors` answers preflights by itself");
        }
        let credentials = value("access-control-allow-credentials") == Some("true");
        let origins = match self.origins(origin, credentials, context) {
            Ok(origins) => origins,
            Err(why) => {
                let answers = preflight
                    .body()
                    .iter()
                    .filter(|inner| inner.name == "return");
                for directive in fields.iter().copied().chain([preflight]).chain(answers) {
                    self.report.left_out(directive, why.clone());
                }
                return true;
            }
        };
        let mut table = vec![("origins".to_owned(), list(origins))];
        let names = |value: Option<&str>| -> Vec<String> {
            let names = value.unwrap_or_default().split(',').map(str::trim);
            names
                .filter(|name| !name.is_empty() && !name.contains(['$', '*', ' ']))
                .map(str::to_owned)
                .collect()
        };
        let mut methods = names(value("access-control-allow-methods"));
        methods.retain(|method| {
            method != "OPTIONS" && method.bytes().all(|byte| byte.is_ascii_uppercase())
        });
        for (key, names) in [
            ("headers", names(value("access-control-allow-headers"))),
            ("methods", methods),
            ("expose", names(value("access-control-expose-headers"))),
        ] {
            if !names.is_empty() {
                table.push((key.to_owned(), list(names)));
            }
        }
        if credentials {
            table.push(("credentials".to_owned(), Toml::Boolean(true)));
        }
        if let Some(age) = value("access-control-max-age").and_then(units::duration) {
            table.push(("max_age".to_owned(), units::written_duration(age).into()));
        }
        let answers = preflight
            .body()
            .iter()
            .filter(|inner| inner.name == "return");
        for directive in fields.iter().copied().chain([preflight]).chain(answers) {
            self.report.kept(directive);
        }
        route.set(Key::Cors, Toml::Table(table), self.at(preflight));
        true
    }

    /// Whose pages may read answers, by the value of `Access-Control-Allow-Origin`.
    fn origins(
        &mut self,
        text: &str,
        credentials: bool,
        context: &Context<'a, '_>,
    ) -> Result<Vec<String>, String> {
        let value = context.scope().value(text);
        if let Some(origin) = value.literal() {
            return match origin {
                "*" if credentials => Err("browsers refuse `*` with credentials: list the origins, `cors = { origins = [\"https://…\"], credentials = true }`".to_owned()),
                origin => Ok(vec![origin.to_owned()]),
            };
        }
        let variable = value.variable().unwrap_or_default();
        if variable == "http_origin" {
            return match credentials {
                true => Err(MIRRORED.to_owned()),
                false => Ok(vec!["*".to_owned()]),
            };
        }
        let map = self
            .model
            .maps
            .get(variable)
            .copied()
            .filter(|map| map.arg(0) == "$http_origin");
        let Some(map) = map else {
            return Err(format!(
                "the origins depend on `${variable}`: list them, `cors = {{ origins = [\"https://…\"] }}`"
            ));
        };
        let mut origins = Vec::new();
        for entry in map
            .body()
            .iter()
            .filter(|entry| entry.name != "default" && !entry.arg(0).is_empty())
        {
            let is_mirrored = matches!(entry.arg(0), "$http_origin") || entry.arg(0) == entry.name;
            if entry.name.starts_with('~') || !is_mirrored {
                return Err(format!(
                    "`map` allows origins by `{}`: list them, `cors = {{ origins = [\"https://…\", \"https://*.…\"] }}`",
                    entry.name
                ));
            }
            origins.push(entry.name.clone());
        }
        self.report.kept(map);
        match origins.is_empty() {
            true => Err("the `map` names no origin".to_owned()),
            false => Ok(origins),
        }
    }
}

fn list(items: Vec<String>) -> Toml {
    Toml::List(items.into_iter().map(Toml::from).collect())
}
