//! The configuration reference has every key, and what it says of each is what the code does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use sse_sidecar::config::{self, Config, Overrides, Problems, Source};
use toml::de::{DeTable, DeValue};

use super::reference::{Entry, Kind, Scope, entries};

const EXAMPLE: &str = include_str!("../../config.example.toml");

fn parse(text: &str) -> Result<Config, Problems> {
    config::parse(text, "f", &Overrides::default()).map(|(config, _)| config)
}

/// Every key of the example with its value in TOML. Keys without a default are comments there, and so is the route.
pub(crate) fn example() -> BTreeMap<String, String> {
    let text = uncommented();
    let document = DeTable::parse(&text).unwrap();
    let mut keys = BTreeMap::new();
    let mut flatten = |table: &str, key: &str, span: std::ops::Range<usize>| {
        keys.insert(format!("{table}.{key}"), text[span].to_owned());
    };
    let is_top_level = |key: &str| document.get_ref().contains_key(key);
    for (table, value) in document.get_ref() {
        let name = table.get_ref().as_ref();
        let tables: Vec<_> = match value.get_ref() {
            DeValue::Array(tables) => tables.iter().map(toml::Spanned::get_ref).collect(),
            table => vec![table],
        };
        for (key, value) in tables.iter().flat_map(|table| table.as_table().unwrap()) {
            let key = key.get_ref().as_ref();
            match value.get_ref() {
                // Their scope says which keys a route has besides its own.
                DeValue::Table(_) if name == "route" && is_top_level(key) => {}
                // Its keys are names of the user's own.
                DeValue::Table(_) if ["set", "add"].contains(&key) => {
                    flatten(name, key, value.span());
                }
                DeValue::Table(inner) => {
                    for (inner, value) in inner {
                        flatten(name, &format!("{key}.{}", inner.get_ref()), value.span());
                    }
                }
                _ => flatten(name, key, value.span()),
            }
        }
    }
    keys
}

/// The example with all that is commented out made a part of it.
pub(crate) fn uncommented() -> String {
    let uncomment = |line: &str| {
        let rest = line.strip_prefix("# ").unwrap_or(line);
        let key = rest.split(" = ").next().unwrap();
        let is_key = key
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b"._".contains(&b));
        let is_toml = rest.starts_with('[') || is_key && rest.contains(" = ");
        format!("{}\n", if is_toml { rest } else { line })
    };
    EXAMPLE.lines().map(uncomment).collect()
}

/// What other keys of the table need.
const CORS: &str = "cors.origins = 'https://a'\n";

/// `key = value` where the key belongs.
fn set(key: &str, value: &str) -> String {
    match key.split_once('.').unwrap() {
        (table @ ("listener" | "route"), key) => format!("{table} = [{{ {key} = {value} }}]\n"),
        _ => format!("{key} = {value}\n"),
    }
}

/// What a key needs beside it.
fn beside(key: &str) -> &'static str {
    match key {
        "resume.at" | "resume.stop" => "resume.key = 'query:run'",
        "dedupe.second" => "resume.grace = '30s'",
        _ => "",
    }
}

/// Whether the key may have the value. Other keys may be missing beside it.
fn is_allowed(key: &str, value: &str) -> bool {
    let text = format!("{}{}\n", set(key, value), beside(key));
    let upstream = "upstream.url = 'http://127.0.0.1:3000'\n";
    let names_upstream = matches!(key, "upstream.url" | "upstream.urls");
    let rest = if names_upstream { "" } else { upstream };
    let indexed = key
        .replace("listener.", "listener[0].")
        .replace("route.", "route[0].");
    match parse(&format!("{text}{rest}")) {
        Ok(_) => true,
        Err(problems) => problems
            .iter()
            .all(|problem| problem.key.as_deref() != Some(&indexed)),
    }
}

#[test]
fn the_reference_has_exactly_the_keys_of_the_example() {
    let documented: BTreeSet<_> = entries().keys().map(|key| (*key).to_owned()).collect();
    let known: BTreeSet<_> = example().into_keys().collect();
    assert_eq!(documented, known);
}

#[test]
fn its_defaults_are_those_of_the_code() {
    let bare = "upstream.url = 'http://127.0.0.1:3000'\n";
    for (key, entry) in entries() {
        let Some(default) = entry.default else {
            continue;
        };
        // Only a Unix socket has a mode.
        let of_route = key
            .strip_prefix("route.")
            .and_then(|key| key.split_once('.'));
        let (bare, written) = if key.starts_with("cors.") {
            let bare = format!("{CORS}{bare}");
            let written = format!("{}{bare}", set(key, &default));
            (bare, written)
        } else if let Some((table, key)) = of_route {
            let route = |rest: &str| format!("{bare}route = [{{ {table} = {{ {rest} }} }}]");
            (route(""), route(&format!("{key} = {default}")))
        } else if key == "listener.mode" {
            let socket = |mode: &str| format!("{bare}listener = [{{ address = 'unix:/x'{mode} }}]");
            (socket(""), socket(&format!(", mode = {default}")))
        } else {
            (bare.to_owned(), format!("{}{bare}", set(key, &default)))
        };
        let (bare, written) = (parse(&bare).unwrap(), parse(&written).unwrap());
        assert!(bare == written, "the default of `{key}` is not {default}");
    }
}

#[test]
fn keys_take_the_values_that_it_names_and_no_others() {
    for (key, entry) in entries() {
        let (allowed, refused) = values(&entry);
        for value in allowed {
            assert!(is_allowed(key, &value), "`{key}` cannot be {value}");
        }
        for value in refused {
            assert!(!is_allowed(key, &value), "`{key}` can be {value}");
        }
    }
}

#[test]
fn it_names_every_choice_that_the_code_has() {
    for (key, entry) in entries() {
        let Kind::OneOf(mut documented) = entry.kind else {
            continue;
        };
        if documented[0].parse::<u16>().is_ok() {
            continue; // a number that is none of them is refused: that is tested with the values
        }
        // A word that is like none of them gets all of them as help.
        let problems = parse(&set(key, "\"zzzzzzzz\"")).unwrap_err();
        let mut problems = problems.iter();
        let indexed = key.replace("route.", "route[0].");
        let problem = problems.find(|problem| problem.key.as_deref() == Some(&indexed));
        let help = problem.unwrap().help.as_deref().unwrap();
        let mut known: Vec<_> = help.split('"').skip(1).step_by(2).collect();
        known.sort_unstable();
        documented.sort_unstable();
        assert_eq!(documented, known, "`{key}`");
    }
}

/// Values that a key of this kind may have, and others.
fn values(entry: &Entry) -> (Vec<String>, Vec<String>) {
    let quoted = |word: &String| match word.parse::<u16>() {
        Ok(number) => number.to_string(),
        Err(_) => format!("\"{word}\""),
    };
    let (mut allowed, mut refused) = match &entry.kind {
        Kind::String => (vec![], vec!["1".to_owned()]),
        Kind::Strings => (vec!["[]".to_owned()], vec!["\"x\"".to_owned()]),
        Kind::OneOrMore => (vec!["[]".to_owned()], vec!["1".to_owned()]),
        Kind::Table => (
            vec!["{ X-A = 'b', X-C = '' }".to_owned()],
            vec!["1".to_owned(), "[]".to_owned()],
        ),
        Kind::Backends => (
            vec![
                "[\"http://a\"]".to_owned(),
                "[{ url = \"http://a\" }]".to_owned(),
            ],
            vec!["\"http://a\"".to_owned(), "[]".to_owned()],
        ),
        Kind::Integers(range) => {
            let (least, most) = range.clone().into_inner();
            (
                vec!["[]".to_owned(), format!("[{most}, {least}]")],
                vec![format!("{least}"), "\"x\"".to_owned()],
            )
        }
        Kind::Tables => (vec![], vec!["[]".to_owned(), "\"x\"".to_owned()]),
        Kind::Boolean => (
            vec!["true".to_owned(), "false".to_owned()],
            vec!["1".to_owned()],
        ),
        Kind::Integer(range, word) => {
            let (least, most) = range.clone().into_inner();
            let numbers = |numbers: [i64; 2]| numbers.map(|number| number.to_string()).to_vec();
            let mut allowed = numbers([least, most]);
            allowed.extend(word.as_ref().map(quoted));
            (allowed, numbers([least - 1, most + 1]))
        }
        Kind::Duration { least: None, word } => {
            let mut allowed = vec!["\"1ms\"".to_owned(), "\"8760h\"".to_owned()];
            let mut refused = vec!["\"0s\"".to_owned(), "\"8761h\"".to_owned(), "1".to_owned()];
            match word {
                Some(word) => allowed.push(quoted(word)),
                None => refused.push("\"auto\"".to_owned()),
            }
            (allowed, refused)
        }
        Kind::Duration {
            least: Some(least), ..
        } => {
            let milliseconds: u32 = least.trim_end_matches("ms").parse().unwrap();
            (
                vec![quoted(least)],
                vec![format!("\"{}ms\"", milliseconds - 1)],
            )
        }
        Kind::OneOf(words) => (
            words.iter().map(quoted).collect(),
            vec!["\"other\"".to_owned()],
        ),
    };
    // A path is a string, and any string may be one.
    if !matches!(entry.kind, Kind::String | Kind::OneOrMore) {
        let side = if entry.off {
            &mut allowed
        } else {
            &mut refused
        };
        let off = "\"off\"".to_owned();
        if !matches!(&entry.kind, Kind::OneOf(words) if words.iter().any(|word| word == "off")) {
            side.push(off);
        }
    }
    (allowed, refused)
}

#[test]
fn a_route_has_exactly_the_keys_that_are_marked() {
    let examples = example();
    for (key, entry) in entries() {
        if key.starts_with("route.") {
            continue;
        }
        let value = &examples[key];
        let is_refused = match parse(&format!(
            "upstream.url = 'http://a'\n{}\nroute = [{{ {key} = {value} }}]",
            beside(key)
        )) {
            Ok(_) => false,
            Err(problems) => {
                let key = format!("route[0].{key}");
                // An unknown table is blamed for the keys in it.
                let blamed = |blamed: &str| key == blamed || key.starts_with(&format!("{blamed}."));
                let is_tls = |blamed: &str| blamed == "route[0].upstream.tls"; // which goes with https:// only
                problems
                    .iter()
                    .filter_map(|problem| problem.key.as_deref())
                    .any(|key| blamed(key) && !is_tls(key))
            }
        };
        assert_eq!(is_refused, entry.scope != Scope::Route, "`{key}`");
    }
}

#[test]
fn a_change_takes_a_restart_exactly_where_it_is_marked() {
    let file = std::env::temp_dir().join(format!("reference-{}.toml", std::process::id()));
    for (key, entry) in entries() {
        // Files of certificates and passwords would have to be there.
        if key.contains(".tls.") || key.starts_with("route.") || key == "access.basic_auth" {
            continue;
        }
        let beside = match key {
            "upstream.url" | "upstream.urls" => "",
            "listener.mode" => "upstream.url = 'http://a'\nlistener = [{ address = 'unix:/x' }]",
            // Without a token there is no probe.
            "probe.path" => "upstream.url = 'http://a'\nprobe.token = '0123456789abcdef'",
            "upstream.queue_timeout" => "upstream.url = 'http://a'\nupstream.max_requests = 3",
            "upstream.health.path" => "upstream.url = 'http://a'",
            "resume.at" | "resume.stop" => "upstream.url = 'http://a'\nresume.key = 'query:run'",
            "dedupe.second" => "upstream.url = 'http://a'\nresume.grace = '30s'",
            key if key.starts_with("upstream.health.") => {
                "upstream.url = 'http://a'\nupstream.health.path = '/x'"
            }
            key if key.starts_with("cors.") => {
                "upstream.url = 'http://a'\ncors.origins = 'https://a'"
            }
            _ => "upstream.url = 'http://a'",
        };
        let before = match key {
            "upstream.url" | "upstream.urls" => "upstream.url = 'http://a'",
            _ => beside,
        };
        let after = match key {
            "listener.mode" => {
                "upstream.url = 'http://a'\nlistener = [{ address = 'unix:/x', mode = '0660' }]"
                    .to_owned()
            }
            "probe.path" => format!("probe.path = '/other'\n{beside}"),
            "probe.token" => format!("probe.token = '0123456789abcdef'\n{beside}"),
            "cors.origins" => beside.replace("https://a", "https://b"),
            _ => format!("{}{beside}", set(key, &other(key, &entry))),
        };
        fs::write(&file, before).unwrap();
        let mut source = Source::new(Some(file.clone()), Overrides::default());
        let (running, _) = source.load().unwrap();
        fs::write(&file, &after).unwrap();
        let reloaded = source.reload(&running).unwrap();
        let changed = reloaded.config != running;
        let waits = reloaded.waiting.iter().any(|problem| {
            let waiting = problem.key.as_deref().unwrap_or_default();
            waiting.replace("[0]", "") == key
        });
        assert_eq!(
            (waits, changed),
            (entry.restart, !entry.restart),
            "`{key}`: {after}"
        );
    }
    fs::remove_file(&file).unwrap();
}

/// A value that is not the default.
fn other(key: &str, entry: &Entry) -> String {
    match &entry.kind {
        Kind::Boolean => (entry.default.as_deref() == Some("false")).to_string(),
        Kind::Integer(range, _) => range.start().to_string(),
        Kind::Duration { .. } => "\"7s\"".to_owned(),
        Kind::OneOf(words) => format!("\"{}\"", words.last().unwrap()),
        Kind::Tables => panic!("`{key}` needs files"),
        Kind::Strings if key == "access.authorize_headers" => "[\"X-User\"]".to_owned(),
        Kind::Strings if key == "access.rules" => "[\"deny all\"]".to_owned(),
        Kind::Strings if key == "resume.identity" => "[\"cookie:sid\"]".to_owned(),
        Kind::Strings | Kind::OneOrMore => "[\"10.0.0.1\"]".to_owned(),
        Kind::Table => "{ X-A = 'b' }".to_owned(),
        Kind::Backends => "[\"http://b\", \"http://c\"]".to_owned(),
        Kind::Integers(range) => format!("[{}]", range.start()),
        Kind::String => match key {
            "listener.address" | "admin.listen" => "\"127.0.0.1:8181\"".to_owned(),
            "upstream.url" => "\"http://b\"".to_owned(),
            "upstream.health.path" => "\"/other\"".to_owned(),
            "upstream.balance" => "\"round_robin\"".to_owned(),
            "log.access" => "\"json\"".to_owned(),
            "access.authorize" => "\"http://c\"".to_owned(),
            "limits.requests_per_client" => "\"5/s\"".to_owned(),
            "limits.by" => "\"header:x\"".to_owned(),
            "limits.request_body" => "\"1KiB\"".to_owned(),
            "resume.history" | "history.memory" => "\"1MiB\"".to_owned(),
            "resume.key" | "dedupe.key" => "\"query:other\"".to_owned(),
            "resume.at" => "\"/other/{key}\"".to_owned(),
            "resume.stop" => "\"POST /other/{key}\"".to_owned(),
            _ => "\"other\"".to_owned(),
        },
    }
}
