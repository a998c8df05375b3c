//! `docs/config.schema.json` says the same of every key as the reference does. That it is a schema, and what it takes and refuses, is
//! tested with a validator in `tests/end_to_end/test_config_schema.py`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::reference::{Entry, Kind, Scope, entries};

const SCHEMA: &str = include_str!("../../docs/config.schema.json");

/// A schema itself, or the one that it refers to.
fn followed<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// The schema of each key below `schema`, which takes no other keys.
fn flatten<'a>(
    root: &'a Value,
    schema: &'a Value,
    prefix: &str,
    found: &mut BTreeMap<String, &'a Value>,
) {
    assert_eq!(schema["additionalProperties"], false, "{prefix}");
    for (key, value) in schema["properties"].as_object().unwrap() {
        let name = format!("{prefix}{key}");
        let value = followed(root, value);
        let inner = match value["type"].as_str() {
            Some("array") if prefix.is_empty() => followed(root, &value["items"]),
            _ => value,
        };
        if inner["properties"].is_object() {
            flatten(root, inner, &format!("{name}."), found);
        } else {
            found.insert(name, value);
        }
    }
}

fn keys(root: &Value) -> BTreeMap<String, &Value> {
    let mut found = BTreeMap::new();
    flatten(root, root, "", &mut found);
    found
}

#[test]
fn it_has_exactly_the_keys_of_the_reference() {
    let root: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut expected: Vec<String> = Vec::new();
    for (key, entry) in entries() {
        expected.push(key.to_owned());
        if entry.scope == Scope::Route && !key.starts_with("route.") {
            expected.push(format!("route.{key}"));
        }
    }
    expected.sort();
    let found: Vec<String> = keys(&root).into_keys().collect();
    assert_eq!(found, expected);
}

#[test]
fn it_says_the_same_of_each() {
    let root: Value = serde_json::from_str(SCHEMA).unwrap();
    let found = keys(&root);
    for (key, entry) in entries() {
        let schema = found[key];
        assert_eq!(schema["description"], *entry.summary, "`{key}`");
        let default = entry.default.as_deref().map(toml_to_json);
        assert_eq!(schema.get("default"), default.as_ref(), "`{key}`");
        assert_eq!(shape(&root, schema), expected_shape(&entry), "`{key}`");
        if entry.scope == Scope::Route && !key.starts_with("route.") {
            let own = found[&*format!("route.{key}")];
            assert_eq!(shape(&root, own), shape(&root, schema), "`{key}`");
        }
    }
}

/// Strings, numbers, booleans and empty arrays are written alike.
fn toml_to_json(value: &str) -> Value {
    serde_json::from_str(value).unwrap()
}

/// What values a schema takes, in words.
fn shape(root: &Value, schema: &Value) -> String {
    if let Some(title) = schema["title"].as_str() {
        return title.to_owned();
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let choices = choices
            .iter()
            .map(|choice| shape(root, followed(root, choice)));
        return choices.collect::<Vec<_>>().join(" or ");
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return shape(root, followed(root, &parts[0]));
    }
    match (schema["enum"].as_array(), schema["type"].as_str()) {
        (Some(words), _) => {
            let words = words.iter().map(|word| match word.as_str() {
                Some(word) => word.to_owned(),
                None => word.to_string(),
            });
            words.collect::<Vec<_>>().join(" or ")
        }
        (None, Some("integer")) => format!("{} to {}", schema["minimum"], schema["maximum"]),
        (None, Some(kind)) => kind.to_owned(),
        (None, None) => panic!("{schema}"),
    }
}

/// The same of what the reference says.
fn expected_shape(entry: &Entry) -> String {
    match &entry.kind {
        Kind::String => "string".to_owned(),
        Kind::Strings | Kind::Tables | Kind::Backends | Kind::Integers(_) => "array".to_owned(),
        Kind::OneOrMore => "string or array of strings".to_owned(),
        Kind::Table => "object".to_owned(),
        Kind::Boolean => "boolean".to_owned(),
        Kind::Integer(range, None) => {
            let off = if entry.off { " or off" } else { "" };
            format!("{} to {}{off}", range.start(), range.end())
        }
        Kind::Integer(range, Some(word)) => {
            format!("{} to {} or {word}", range.start(), range.end())
        }
        Kind::Duration { word, .. } => {
            let off = if entry.off { " or off" } else { "" };
            let word = word.as_ref().map(|word| format!(" or {word}"));
            format!("duration{off}{}", word.unwrap_or_default())
        }
        Kind::OneOf(words) => words.join(" or "),
    }
}
