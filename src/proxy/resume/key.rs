//! The key by which a route names its streams: in a field, in the query, in the path, or in the body.

use std::borrow::Cow;

use http::Request;
use serde_json::Value;

use crate::config::{KeySource, KeyedPath, normal_path};

/// The key in `request`, whose `body` is there if it is to be looked into.
pub(super) fn of<'a, B>(
    source: &KeySource,
    request: &'a Request<B>,
    body: Option<&[u8]>,
) -> Option<Cow<'a, [u8]>> {
    let key: Cow<'_, [u8]> = match source {
        KeySource::Header(name) => request.headers().get(name)?.as_bytes().into(),
        KeySource::Query(name) => {
            let pairs = request.uri().query()?.split('&');
            let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
            let (_, value) = pairs.find(|(own, _)| own == name)?;
            decoded(value).into()
        }
        KeySource::Json(pointer) => {
            let body: Value = serde_json::from_slice(body?).ok()?;
            match body.pointer(pointer)? {
                Value::String(text) => text.clone().into_bytes().into(),
                Value::Number(number) => number.to_string().into_bytes().into(),
                _ => return None,
            }
        }
    };
    Some(key).filter(|key| !key.is_empty())
}

/// The key in the path of `request`.
pub(super) fn in_path<B>(path: &KeyedPath, request: &Request<B>) -> Option<Vec<u8>> {
    let normal = normal_path(request.uri().path());
    path.key(&normal).map(decoded)
}

/// Percent-decoded: a `%` that encodes nothing stands for itself.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let pair = after.split_at_checked(2);
        let value = pair.and_then(|(pair, _)| {
            let pair = str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        if let (b'%', Some(value)) = (first, value) {
            bytes.push(value);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_where_they_are_said_to_be() {
        let request = Request::post("/chat/a%20b/stream?run=7%2F8&x")
            .header("x-run", "r1")
            .body(())
            .unwrap();
        let body = br#"{"id":"c1","n":5,"deep":{"id":["x"]},"none":null}"#;
        let source = |text: &str| -> KeySource {
            match text.split_once(':').unwrap() {
                ("header", name) => KeySource::Header(name.parse().unwrap()),
                ("query", name) => KeySource::Query(name.to_owned()),
                (_, pointer) => KeySource::Json(pointer.to_owned()),
            }
        };
        for (from, expected) in [
            ("header:x-run", Some("r1")),
            ("header:x-other", None),
            ("query:run", Some("7/8")),
            ("query:ru", None),
            ("query:x", None),
            ("json:/id", Some("c1")),
            ("json:/n", Some("5")),
            ("json:/deep/id/0", Some("x")),
            ("json:/none", None),
            ("json:/deep", None),
        ] {
            let key = of(&source(from), &request, Some(body));
            let key = key.map(|key| String::from_utf8(key.into_owned()).unwrap());
            assert_eq!(key.as_deref(), expected, "{from}");
        }
        assert_eq!(of(&source("json:/id"), &request, Some(b"no JSON")), None);
        assert_eq!(of(&source("json:/id"), &request, None), None);
    }

    #[test]
    fn percent_encoding() {
        for (text, expected) in [
            ("a%20b", "a b"),
            ("%", "%"),
            ("%2", "%2"),
            ("%zz%41", "%zzA"),
        ] {
            assert_eq!(decoded(text), expected.as_bytes());
        }
    }
}
