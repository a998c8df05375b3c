//! Values with variables: what the file alone tells about them, and how the sidecar's file expresses the rest.

use super::placeholders::is_placeholder;
use super::tree::Directive;

/// One part of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    /// The name of a variable, or the number of a capture.
    Variable(String),
}

/// A value whose constants are folded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Value(pub(super) Vec<Part>);

/// `set` may name a variable that names another.
const DEEPEST_FOLD: usize = 8;

/// What the blocks around a directive say of variables, the outermost first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) levels: &'a [&'a [Directive]],
    /// The first name of the server, which is `$server_name`.
    pub(super) server_name: &'a str,
}

impl Value {
    /// The parts of a text, as nginx reads a value.
    pub(super) fn parse(text: &str) -> Self {
        let mut value = Self::default();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, dollar) = rest.split_at(at);
            value.push_text(before);
            let (name, after) = variable(&dollar[1..]);
            if name.is_empty() {
                value.push_text("$");
            } else {
                value.0.push(Part::Variable(name.to_owned()));
            }
            rest = after;
        }
        value.push_text(rest);
        value
    }

    /// The whole text, if nothing depends on a request.
    pub(super) fn literal(&self) -> Option<&str> {
        match &*self.0 {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The name, if the value is one variable.
    pub(super) fn variable(&self) -> Option<&str> {
        match &*self.0 {
            [Part::Variable(name)] => Some(name),
            _ => None,
        }
    }

    /// With the sidecar's placeholders, or why it cannot be said with them.
    pub(super) fn template(&self) -> Result<String, String> {
        let mut template = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => template.push_str(&text.replace('{', "{{").replace('}', "}}")),
                Part::Variable(name) => template.push_str(&placeholder(name)?),
            }
        }
        Ok(template)
    }

    fn push_text(&mut self, more: &str) {
        match self.0.last_mut() {
            _ if more.is_empty() => {}
            Some(Part::Text(text)) => text.push_str(more),
            _ => self.0.push(Part::Text(more.to_owned())),
        }
    }
}

impl Scope<'_> {
    /// Reads a value, and puts in what `set` makes constant.
    pub(super) fn value(&self, text: &str) -> Value {
        self.fold(Value::parse(text), DEEPEST_FOLD)
    }

    fn fold(&self, value: Value, depth: usize) -> Value {
        let mut folded = Value::default();
        for part in value.0 {
            match part {
                Part::Text(text) => folded.push_text(&text),
                Part::Variable(name) => match self.constant(&name, depth) {
                    Some(value) => {
                        for part in value.0 {
                            match part {
                                Part::Text(text) => folded.push_text(&text),
                                variable @ Part::Variable(_) => folded.0.push(variable),
                            }
                        }
                    }
                    None => folded.0.push(Part::Variable(name)),
                },
            }
        }
        folded
    }

    /// What a variable always is here: set once, and in no `if`.
    fn constant(&self, name: &str, depth: usize) -> Option<Value> {
        if name == "server_name" && !self.server_name.is_empty() {
            return Some(Value(vec![Part::Text(self.server_name.to_owned())]));
        }
        let sets = self.levels.iter().flat_map(|level| sets(level, name));
        let mut sets: Vec<_> = sets.collect();
        let (is_certain, text) = sets.pop().filter(|_| sets.is_empty())?;
        (is_certain && depth > 0).then(|| self.fold(Value::parse(text), depth - 1))
    }
}

/// What `set` makes of a variable in one block, and whether it always does.
fn sets<'a>(level: &'a [Directive], name: &str) -> Vec<(bool, &'a str)> {
    let mut found = Vec::new();
    for directive in level {
        let is_it = |directive: &Directive| {
            directive.name == "set" && directive.arg(0).strip_prefix('$') == Some(name)
        };
        if is_it(directive) {
            found.push((true, directive.arg(1)));
        } else if directive.name == "if" {
            found.extend(
                directive
                    .body()
                    .iter()
                    .filter(|inner| is_it(inner))
                    .map(|inner| (false, inner.arg(1))),
            );
        } else if directive.name == "auth_request_set"
            && directive.arg(0).strip_prefix('$') == Some(name)
        {
            found.push((false, ""));
        }
    }
    found
}

/// The name behind a `$`, and what follows it.
fn variable(text: &str) -> (&str, &str) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if let Some(inner) = text.strip_prefix('{')
        && let Some((name, after)) = inner.split_once('}')
        && name.chars().all(is_name)
    {
        return (name, after);
    }
    let is_capture = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
    text.split_at(if is_capture { 1 } else { end })
}

/// How the sidecar's file says a variable of nginx.
fn placeholder(name: &str) -> Result<String, String> {
    let known = match name {
        "remote_addr" | "realip_remote_addr" => "{client_ip}",
        "scheme" => "{scheme}",
        "host" => "{host}",
        "server_port" => "{port}",
        "uri" | "document_uri" => "{path}",
        "args" | "query_string" => "{query}",
        "request_id" => "{request_id}",
        "http_host" => "{header.Host}",
        "content_type" => "{header.Content-Type}",
        "is_args" | "request_uri" => {
            return Err(format!(
                "`${name}` has no placeholder; `{{path}}` and `{{query}}` are its parts"
            ));
        }
        _ if is_placeholder(name) => return Err(missing_placeholder(name)),
        _ => match name.strip_prefix("http_") {
            Some(field) => return Ok(format!("{{header.{}}}", field_name(field))),
            None => return Err(format!("`${name}` has no placeholder")),
        },
    };
    Ok(known.to_owned())
}

/// The message about a template's placeholder that was not filled in.
pub(super) fn missing_placeholder(name: &str) -> String {
    format!(
        "`${{{name}}}` is a template's placeholder and no variable of nginx: give it with `--set {name}=VALUE`, or in the environment"
    )
}

/// The name of a request's field by that of its variable, as people write it.
pub(super) fn field_name(variable: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    variable.split('_').map(word).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::testing::directives;

    #[test]
    fn parts() {
        let text = |text: &str| Part::Text(text.to_owned());
        let variable = |name: &str| Part::Variable(name.to_owned());
        for (value, expected) in [
            ("a$b", vec![text("a"), variable("b")]),
            ("${a}b", vec![variable("a"), text("b")]),
            (
                "http://$host:8080$1x",
                vec![
                    text("http://"),
                    variable("host"),
                    text(":8080"),
                    variable("1"),
                    text("x"),
                ],
            ),
            ("a$ b$", vec![text("a$ b$")]),
            ("${a", vec![text("${a")]),
            ("$http_x-y", vec![variable("http_x"), text("-y")]),
        ] {
            assert_eq!(Value::parse(value).0, expected, "{value}");
        }
    }

    #[test]
    fn constants_are_folded() {
        let outer =
            directives("set $port 8000; set $twice 1; set $loop $loop; if ($a) { set $maybe 1; }");
        let inner = directives("set $up http://app:$port; set $twice 2;");
        let scope = Scope {
            levels: &[&outer, &inner],
            server_name: "a.test",
        };
        assert_eq!(scope.value("$up/x").literal(), Some("http://app:8000/x"));
        assert_eq!(scope.value("$server_name").literal(), Some("a.test"));
        for unknown in ["$twice", "$maybe", "$loop", "$none"] {
            assert_eq!(scope.value(unknown).literal(), None, "{unknown}");
        }
    }

    #[test]
    fn placeholders() {
        for (value, expected) in [
            (
                "$scheme://$host:$server_port",
                Ok("{scheme}://{host}:{port}"),
            ),
            ("$http_x_api_key", Ok("{header.X-Api-Key}")),
            ("{a}", Ok("{{a}}")),
            ("$request_uri", Err("path")),
            ("$ssl_client_s_dn", Err("`$ssl_client_s_dn`")),
            ("${BACKEND}", Err("--set BACKEND=VALUE")),
        ] {
            match (Value::parse(value).template(), expected) {
                (Ok(template), Ok(expected)) => assert_eq!(template, expected),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
                (other, _) => panic!("{value}: {other:?}"),
            }
        }
    }
}
