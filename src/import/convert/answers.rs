//! `return` and `rewrite`: redirects, fixed answers, and prefixes that are taken off.

use super::super::inherit::effective;
use super::super::placeholders::is_placeholder;
use super::super::route::Key;
use super::super::toml::Toml;
use super::super::tree::Directive;
use super::super::value::{Part, Scope, Value, missing_placeholder};

/// What a route answers by itself, and what there is to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) key: Key,
    pub(super) value: Toml,
    /// Where the answer is not quite nginx's.
    pub(super) difference: Option<&'static str>,
    /// Something worth a note, though nothing is lost.
    pub(super) note: Option<&'static str>,
}

impl Answer {
    /// A status without a text.
    pub(super) fn status(status: u64) -> Self {
        let value = Toml::Table(vec![("status".to_owned(), Toml::Number(status))]);
        Self {
            key: Key::Respond,
            value,
            difference: None,
            note: None,
        }
    }
}

/// What a `return` answers, or why it cannot be said.
pub(super) fn of_return(directive: &Directive, scope: &Scope<'_>) -> Result<Answer, String> {
    let first = directive.arg(0);
    let (status, text) = match first.parse::<u64>() {
        Ok(status) => (status, directive.args.get(1)),
        Err(_) => (302, directive.args.first()),
    };
    if matches!(status, 301 | 302 | 303 | 307 | 308)
        && let Some(url) = text
    {
        return redirect(&scope.value(url), status);
    }
    if status == 444 {
        // Which closes the connection without an answer.
        let difference =
            Some("`return 444` closes the connection without an answer; the sidecar answers 403");
        return Ok(Answer {
            difference,
            ..Answer::status(403)
        });
    }
    if !(200..=599).contains(&status) {
        return Err(format!(
            "{status} is no status that the sidecar answers with"
        ));
    }
    let mut answer = Answer::status(status);
    if let (Some(text), Toml::Table(entries)) =
        (text.filter(|text| !text.is_empty()), &mut answer.value)
    {
        let value = scope.value(text);
        let Some(text) = value.literal() else {
            return Err(
                "its text depends on the request; a fixed answer has a fixed text".to_owned(),
            );
        };
        entries.push(("text".to_owned(), text.into()));
        entries.push(("content_type".to_owned(), content_type(scope).into()));
    }
    Ok(answer)
}

fn content_type(scope: &Scope<'_>) -> String {
    let field = super::super::inherit::effective_all(scope.levels, "add_header");
    let field = field
        .iter()
        .find(|field| field.arg(0).eq_ignore_ascii_case("content-type"));
    let named = field.map(|field| field.arg(1));
    let default = || effective(scope.levels, "default_type").map(|directive| directive.arg(0));
    let named = named
        .or_else(default)
        .filter(|name| name.contains('/') && !name.contains('$'));
    named.unwrap_or("text/plain").to_owned()
}

/// A redirect to a URL or a path.
pub(super) fn redirect(target: &Value, status: u64) -> Result<Answer, String> {
    let text = braced(target)?;
    let mut entries: Vec<(String, Toml)> = Vec::new();
    let mut add = |name: &str, value: Toml| entries.push((name.to_owned(), value));
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme @ ("http" | "https" | "${scheme}"), rest)) => (Some(scheme), rest),
        Some((scheme, _)) => return Err(format!("it leads to a `{scheme}` URL")),
        None => (None, &*text),
    };
    let path = if let Some(scheme) = scheme {
        let end = ["/", "?", "${request_uri}", "${uri}"]
            .iter()
            .filter_map(|end| rest.find(end))
            .min();
        let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        if scheme != "${scheme}" {
            add("scheme", scheme.into());
        }
        if !matches!(host, "${host}" | "${http_host}") {
            if host.is_empty() || host.contains('$') {
                return Err(format!(
                    "it leads to `{authority}`, a host that depends on more than the request's own"
                ));
            }
            add("host", host.into());
        }
        match port {
            None | Some("${server_port}") => {}
            Some(port) => match port.parse() {
                Ok(port) => add("port", Toml::Number(port)),
                Err(_) => return Err(format!("`{port}` is no port")),
            },
        }
        if path.is_empty() { "/" } else { path }
    } else {
        rest
    };
    let mut note = None;
    match path {
        "${request_uri}" | "${uri}${is_args}${args}" | "${uri}?${args}" => {}
        path => {
            if !path.contains(['?', '$']) {
                note = Some("a redirect to another path keeps the query, which nginx drops");
            }
            let path = path
                .replace("${request_uri}", "${uri}")
                .replace("${is_args}${args}", "");
            let template = Value::parse(&path).template()?;
            if !template.starts_with('/') && !template.starts_with("{path}") {
                return Err(format!("it leads to `{path}`, which is no path"));
            }
            add("path", template.into());
        }
    }
    add("status", Toml::Number(status));
    Ok(Answer {
        key: Key::Redirect,
        value: Toml::Table(entries),
        difference: None,
        note,
    })
}

/// The value with each variable in braces, so that it can be taken apart as text.
fn braced(value: &Value) -> Result<String, String> {
    let mut text = String::new();
    for part in &value.0 {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Variable(name) if is_placeholder(name) => return Err(missing_placeholder(name)),
            Part::Variable(name) => {
                let name = match &**name {
                    "document_uri" => "uri",
                    "query_string" => "args",
                    name => name,
                };
                text.push_str(&format!("${{{name}}}"));
            }
        }
    }
    Ok(text)
}

/// `^/old/(.*)$` and `/new/$1` as prefixes: the old and the new one, without trailing slashes.
pub(super) fn prefix_mapping(expression: &str, replacement: &str) -> Option<(String, String)> {
    let expression = expression.strip_prefix('^').unwrap_or(expression);
    let expression = expression.strip_suffix('$').unwrap_or(expression);
    let forms = [
        ("/(.*)", "1", "/"),
        ("/(.+)", "1", "/"),
        ("(/.*)", "1", ""),
        ("/?(.*)", "1", "/"),
        ("(/|$)(.*)", "2", "/"),
        ("(/.*)?", "1", ""),
        ("(.*)", "1", ""),
    ];
    let (from, capture, slash) = forms
        .iter()
        .find_map(|(end, capture, slash)| Some((expression.strip_suffix(end)?, capture, slash)))?;
    let from = from
        .replace("\\.", ".")
        .replace("\\-", "-")
        .replace("\\/", "/");
    let is_plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte))
    };
    let to = replacement
        .strip_suffix("$is_args$args")
        .unwrap_or(replacement);
    let to = to.strip_suffix(&format!("${capture}"))?;
    if !is_plain(&from) || !is_plain(to) || !(from.is_empty() || from.starts_with('/')) {
        return None;
    }
    let is_whole = match *slash {
        "/" => to.ends_with('/'),
        _ => to.is_empty() || !to.ends_with('/') || from.is_empty() || to == "/",
    };
    let is_path = to.is_empty() || to.starts_with('/');
    (is_whole && is_path).then(|| {
        (
            from.trim_end_matches('/').to_owned(),
            to.trim_end_matches('/').to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::testing::directives;

    fn answer(text: &str) -> Result<String, String> {
        let tree = directives(text);
        let scope = Scope {
            levels: &[&tree],
            server_name: "a.test",
        };
        let directive = tree
            .iter()
            .find(|directive| directive.name == "return")
            .unwrap();
        of_return(directive, &scope)
            .map(|answer| format!("{} = {}", answer.key.name(), answer.value))
    }

    #[test]
    fn redirects() {
        for (text, expected) in [
            (
                "301 https://$host$request_uri",
                "{ scheme = \"https\", status = 301 }",
            ),
            (
                "301 https://$server_name$request_uri",
                "{ scheme = \"https\", host = \"a.test\", status = 301 }",
            ),
            (
                "308 https://b.test:8443$request_uri",
                "{ scheme = \"https\", host = \"b.test\", port = 8443, status = 308 }",
            ),
            (
                "302 $scheme://b.test/x/",
                "{ host = \"b.test\", path = \"/x/\", status = 302 }",
            ),
            ("301 /new", "{ path = \"/new\", status = 301 }"),
            (
                "301 /new$request_uri",
                "{ path = \"/new{path}\", status = 301 }",
            ),
            (
                "https://b.test",
                "{ scheme = \"https\", host = \"b.test\", path = \"/\", status = 302 }",
            ),
            (
                "301 https://$http_host/new/$is_args$args",
                "{ scheme = \"https\", path = \"/new/\", status = 301 }",
            ),
        ] {
            assert_eq!(
                answer(&format!("return {text};")),
                Ok(format!("redirect = {expected}")),
                "{text}"
            );
        }
        for (text, why) in [
            ("301 https://$cookie_x/", "`${cookie_x}`"),
            ("301 https://${DOMAIN}/", "--set DOMAIN=VALUE"),
            ("302 /login?next=$request_uri&x=$cookie_a", "cookie_a"),
            ("301 ftp://a", "`ftp` URL"),
        ] {
            let error = answer(&format!("return {text};")).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn fixed_answers() {
        for (text, expected) in [
            ("return 204;", "{ status = 204 }"),
            ("return 404;", "{ status = 404 }"),
            (
                "return 200 'ok\\n';",
                "{ status = 200, text = \"ok\\n\", content_type = \"text/plain\" }",
            ),
            (
                "default_type application/json; return 200 '{}';",
                "{ status = 200, text = \"{}\", content_type = \"application/json\" }",
            ),
            (
                "add_header Content-Type text/html; return 200 x;",
                "{ status = 200, text = \"x\", content_type = \"text/html\" }",
            ),
            ("return 444;", "{ status = 403 }"),
        ] {
            assert_eq!(answer(text), Ok(format!("respond = {expected}")), "{text}");
        }
        assert!(answer("return 200 $remote_addr;").is_err());
        assert!(answer("return 99;").is_err());
    }

    #[test]
    fn prefixes_that_are_taken_off() {
        for (expression, replacement, expected) in [
            ("^/api/(.*)$", "/$1", Some(("/api", ""))),
            ("^/api/(.*)", "/v2/$1", Some(("/api", "/v2"))),
            ("/api/(.*)", "/$1", Some(("/api", ""))),
            ("^/api(/.*)$", "$1", Some(("/api", ""))),
            ("^/api/?(.*)$", "/$1", Some(("/api", ""))),
            ("^/api(/|$)(.*)", "/$2", Some(("/api", ""))),
            ("^(.*)$", "/app$1", Some(("", "/app"))),
            ("^/api/(.*)$", "/x$1", None),
            ("^/api/(.*)$", "/index.php?q=$1", None),
            ("^/a/(.*)/b/(.*)$", "/$1/$2", None),
            ("^/x$", "/y", None),
        ] {
            let found = prefix_mapping(expression, replacement);
            let expected =
                expected.map(|(from, to): (&str, &str)| (from.to_owned(), to.to_owned()));
            assert_eq!(found, expected, "{expression}");
        }
    }
}
