//! The conditions of `if`, as conditions of routes.

use super::super::route::{Key, Origin, Route};
use super::super::toml::Toml;
use super::super::tree::Directive;
use super::super::value::field_name;

/// What an `if` asks of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// The request has one of these values of what the key compares.
    Is(Key, Vec<String>),
    /// It has none of them.
    IsNot(Key, Vec<String>),
    /// It came without TLS.
    IsPlain,
    /// No condition of a route says it.
    Unknown,
}

impl Condition {
    pub(super) fn read(directive: &Directive) -> Self {
        let text = directive.args.join(" ");
        let text = text
            .trim()
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')'));
        let mut words = text
            .unwrap_or_default()
            .trim()
            .splitn(3, ' ')
            .map(str::trim);
        let subject = words.next().unwrap_or_default();
        let operator = words.next().unwrap_or_default();
        let value = words.next().unwrap_or_default();
        let Some(subject) = subject
            .strip_prefix('$')
            .map(|name| name.trim_matches(['{', '}']))
        else {
            return Self::Unknown;
        };
        let values = match operator {
            "=" | "!=" => vec![value.to_owned()],
            "~" | "~*" | "!~" | "!~*" => match alternatives(value) {
                Some(values) => values,
                None => return Self::Unknown,
            },
            "" => Vec::new(),
            _ => return Self::Unknown,
        };
        let is_negative = operator.starts_with('!');
        let (key, values) = match subject {
            "scheme" => {
                let is_plain = matches!(
                    (is_negative, values.first().map(String::as_str)),
                    (false, Some("http")) | (true, Some("https"))
                );
                return if is_plain {
                    Self::IsPlain
                } else {
                    Self::Unknown
                };
            }
            _ if values.iter().any(String::is_empty) => return Self::Unknown,
            "request_method" if !values.is_empty() => (Key::Method, values),
            "host" | "http_host" if !values.is_empty() => (Key::Host, values),
            _ => match (subject.strip_prefix("http_"), subject.strip_prefix("arg_")) {
                (Some(field), _) if values.len() <= 1 => {
                    (Key::Header, named(&field_name(field), ": ", &values))
                }
                (_, Some(name)) if values.len() <= 1 => (Key::Query, named(name, "=", &values)),
                _ => return Self::Unknown,
            },
        };
        let is_regex = operator.contains('~');
        match (key, is_negative) {
            // nginx finds these anywhere in the value.
            (Key::Header | Key::Query | Key::Host, _) if is_regex => Self::Unknown,
            (_, false) => Self::Is(key, values),
            (_, true) => Self::IsNot(key, values),
        }
    }

    /// Narrows a route to the requests that meet the condition.
    pub(super) fn narrow(route: &mut Route, key: Key, values: &[String], from: impl Into<Origin>) {
        let value = match values {
            [one] => Toml::Text(one.clone()),
            several => Toml::List(several.iter().map(|value| value.as_str().into()).collect()),
        };
        route.set(key, value, from);
    }
}

fn named(name: &str, between: &str, values: &[String]) -> Vec<String> {
    match values {
        [value] => vec![format!("{name}{between}{value}")],
        _ => vec![name.to_owned()],
    }
}

/// The values that `^(GET|POST)$` means.
fn alternatives(expression: &str) -> Option<Vec<String>> {
    let inner = expression.strip_prefix('^')?.strip_suffix('$')?;
    let inner = inner
        .strip_prefix('(')
        .and_then(|inner| inner.strip_suffix(')'))
        .unwrap_or(inner);
    let inner = inner.strip_prefix("?:").unwrap_or(inner);
    let is_plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let values: Vec<_> = inner.split('|').map(str::to_owned).collect();
    values.iter().all(|value| is_plain(value)).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::testing::directives;

    #[test]
    fn conditions() {
        let is = |key, values: &[&str]| {
            Condition::Is(
                key,
                values.iter().map(|value| (*value).to_owned()).collect(),
            )
        };
        let is_not = |key, values: &[&str]| {
            Condition::IsNot(
                key,
                values.iter().map(|value| (*value).to_owned()).collect(),
            )
        };
        for (text, expected) in [
            (
                "($request_method = 'OPTIONS')",
                is(Key::Method, &["OPTIONS"]),
            ),
            (
                "( $request_method = OPTIONS )",
                is(Key::Method, &["OPTIONS"]),
            ),
            (
                "($request_method !~ ^(GET|HEAD|POST)$)",
                is_not(Key::Method, &["GET", "HEAD", "POST"]),
            ),
            ("($host = a.test)", is(Key::Host, &["a.test"])),
            ("($host ~ ^www)", Condition::Unknown),
            (
                "($http_x_api_key != secret)",
                is_not(Key::Header, &["X-Api-Key: secret"]),
            ),
            ("($http_x_key = \"\")", Condition::Unknown),
            ("($arg_debug)", is(Key::Query, &["debug"])),
            ("($scheme = http)", Condition::IsPlain),
            ("($scheme != https)", Condition::IsPlain),
            ("($scheme = https)", Condition::Unknown),
            ("($http_user_agent ~* (bot|crawler))", Condition::Unknown),
            ("(-f $request_filename)", Condition::Unknown),
            ("($invalid_referer)", Condition::Unknown),
        ] {
            let tree = directives(&format!("if {text} {{ }}"));
            assert_eq!(Condition::read(&tree[0]), expected, "{text}");
        }
    }
}
