//! `docs/configuration.md` as data: an entry for each key, with the facts in its second line.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

const REFERENCE: &str = include_str!("../../docs/configuration.md");

/// What the reference says of one key.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Such as `Duration or "off"`.
    pub(crate) kind: Kind,
    /// Whether `"off"` is allowed in place of a value of that kind.
    pub(crate) off: bool,
    /// In TOML; `None` if there is none.
    pub(crate) default: Option<String>,
    pub(crate) scope: Scope,
    pub(crate) restart: bool,
    /// The first sentence of the description, without markup.
    pub(crate) summary: String,
}

#[derive(Debug)]
pub(crate) enum Kind {
    String,
    Strings,
    /// One string, or an array of them.
    OneOrMore,
    /// Names of the user's own, each with a string.
    Table,
    /// Strings, or tables of which each has a URL.
    Backends,
    /// Each of them in this range.
    Integers(RangeInclusive<i64>),
    Tables,
    Boolean,
    /// The word may replace a number.
    Integer(RangeInclusive<i64>, Option<String>),
    Duration {
        /// The smallest one, as it is written in a file.
        least: Option<String>,
        /// A word that may replace a duration, besides `off`.
        word: Option<String>,
    },
    OneOf(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Global,
    Listener,
    Route,
}

/// All entries, by key: `timeouts.read`, `listener.tls.certificate`.
pub(crate) fn entries() -> BTreeMap<&'static str, Entry> {
    let sections = REFERENCE.split("\n### `").skip(1);
    let entries = sections.map(|section| {
        let (key, rest) = section.split_once("`\n\n").unwrap();
        let (facts, description) = rest.split_once("\n\n").unwrap();
        (key, entry(key, facts, description))
    });
    let count = REFERENCE.matches("\n### `").count();
    let entries: BTreeMap<_, _> = entries.collect();
    assert_eq!(entries.len(), count, "a key has two entries");
    entries
}

fn entry(key: &str, facts: &str, description: &str) -> Entry {
    let facts: Vec<&str> = facts.split(" · ").collect();
    let [kind, default, scope, effect] = facts[..] else {
        panic!("`{key}` has the facts {facts:?}")
    };
    let (kind, off) = match kind.strip_suffix(" or `\"off\"`") {
        Some(kind) => (kind.trim_end_matches(','), true),
        None => (kind, false),
    };
    Entry {
        kind: read_kind(kind),
        off,
        default: match default {
            "no default" | "required" => None,
            _ => Some(code(default.strip_prefix("default ").unwrap())),
        },
        scope: match scope {
            "global" => Scope::Global,
            "per listener" => Scope::Listener,
            "per route" => Scope::Route,
            _ => panic!("`{key}` has the scope {scope}"),
        },
        restart: match effect {
            "restart" => true,
            "reload" => false,
            _ => panic!("a change of `{key}` takes {effect}"),
        },
        summary: summary(description),
    }
}

fn read_kind(kind: &str) -> Kind {
    match kind {
        "String" => Kind::String,
        "Array of strings" => Kind::Strings,
        "String or array of strings" => Kind::OneOrMore,
        "Table of strings" => Kind::Table,
        "Array of strings or tables" => Kind::Backends,
        "Array of tables" => Kind::Tables,
        "Boolean" => Kind::Boolean,
        "Duration" => Kind::Duration {
            least: None,
            word: None,
        },
        _ => {
            if let Some(words) = kind.strip_prefix("One of ") {
                Kind::OneOf(words.split(", ").map(|word| string(&code(word))).collect())
            } else if let Some(more) = kind.strip_prefix("Duration, ") {
                let least = more.strip_prefix("at least ");
                Kind::Duration {
                    least: least.map(|least| least.replace(' ', "")),
                    word: least.is_none().then(|| string(&code(more))),
                }
            } else if let Some(range) = kind.strip_prefix("Array of integers from ") {
                let (least, most) = range.split_once(" to ").unwrap();
                Kind::Integers(least.parse().unwrap()..=most.parse().unwrap())
            } else {
                let range = kind.strip_prefix("Integer from ").unwrap();
                let (range, word) = match range.split_once(", or ") {
                    Some((range, word)) => (range, Some(string(&code(word)))),
                    None => (range, None),
                };
                let (least, most) = range.split_once(" to ").unwrap();
                Kind::Integer(least.parse().unwrap()..=most.parse().unwrap(), word)
            }
        }
    }
}

/// Up to the first period that ends a sentence, without markup and line ends.
fn summary(description: &str) -> String {
    let paragraph = description.split("\n\n").next().unwrap();
    let text = paragraph.trim().replace('\n', " ").replace(['`', '*'], "");
    let end = text.find(". ").map_or(text.len(), |end| end + 1);
    text[..end].to_owned()
}

/// The text between two backticks.
fn code(text: &str) -> String {
    let code = text.strip_prefix('`').and_then(|t| t.strip_suffix('`'));
    code.unwrap_or_else(|| panic!("{text} is no code"))
        .to_owned()
}

/// The text between two quotation marks.
fn string(text: &str) -> String {
    text.trim_matches('"').to_owned()
}
