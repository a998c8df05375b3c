//! The file as it is written: a walk over its TOML that notes the position of every key and continues after each mistake.
//!
//! A reader asks a [`Table`] for the keys it knows; what is then left over is unknown, and reported as such. So the keys a
//! table has are written down once, where they are read. Only this file knows TOML.

mod report;

use std::collections::HashMap;
use std::fmt;

use toml::de::{DeTable, DeValue};

pub(super) use self::report::Report;
use super::nearest::nearest;
use super::problem::{Location, Mistake, Problem, Problems, Severity};
use super::value::text;

/// One table of the file, which hands out the values of its keys.
#[derive(Debug)]
pub(super) struct Table<'a> {
    /// Its full name: empty for the whole file, else such as `route[1].timeouts`.
    path: String,
    entries: &'a DeTable<'a>,
    /// The keys asked for so far, with their form.
    known: Vec<(&'static str, Form)>,
    report: &'a mut Report,
}

/// A value as its reader gets it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    String(&'a str),
    Integer(i64),
    Boolean(bool),
    /// Anything else, by its name with an article.
    Other(&'static str),
}

/// An element of an array in which values and tables may stand.
#[derive(Debug)]
pub(super) enum Item<'i, 't, 'v> {
    /// With its full name.
    Value(&'i str, Value<'v>),
    Table(&'i mut Table<'t>),
}

/// The value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Value,
    Table,
    /// An array of tables.
    Tables,
    /// Nothing: the key belongs elsewhere.
    Refused,
}

/// Walks `text`. If it is not TOML, only that is reported and `read` never runs.
pub(super) fn walk(
    file: &str,
    text: &str,
    read: impl FnOnce(&mut Table<'_>),
) -> Result<Report, Problems> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| {
            let place = Location::new(file, text, error.span().unwrap_or_default());
            Problem::new(
                Severity::Error,
                None,
                &syntax_mistake(error, text),
                Some(place),
            )
        };
        return Err(Problems::new(errors.iter().map(problem).collect()));
    }
    let mut report = Report {
        file: file.to_owned(),
        text: text.to_owned(),
        problems: Vec::new(),
        positions: HashMap::new(),
    };
    Table::visit(String::new(), document.get_ref(), &mut report, read);
    Ok(report)
}

impl<'a> Table<'a> {
    /// Runs `read` on one table and reports the keys it did not ask for.
    fn visit(
        path: String,
        entries: &'a DeTable<'a>,
        report: &'a mut Report,
        read: impl FnOnce(&mut Table<'_>),
    ) {
        let mut table = Table {
            path,
            entries,
            known: Vec::new(),
            report,
        };
        read(&mut table);
        table.report_unknown_keys();
    }

    /// The full name of this table; empty for the whole file.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The full name of a key of this table.
    pub(super) fn join(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Whether the key is present, valid or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Reads a key into `target`, which keeps its value if the key is not there or wrong.
    pub(super) fn set<T, V: Into<T>>(
        &mut self,
        key: &'static str,
        target: &mut T,
        read: impl FnOnce(Value<'_>) -> Result<V, Mistake>,
    ) {
        if let Some((path, value)) = self.find(key, Form::Value) {
            match read(Value::from(value)) {
                Ok(value) => *target = value.into(),
                Err(mistake) => self.report.error(&path, &mistake),
            }
        }
    }

    /// Reads an array of strings into `target`, which keeps its value if the key is not there, and gets those that are right.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        target: &mut Vec<T>,
        read: impl Fn(&str) -> Result<T, Mistake>,
    ) {
        let Some((path, value)) = self.find(key, Form::Value) else {
            return;
        };
        let expected = |what: &str, value: &DeValue<'_>| {
            Mistake::new(format!("expected {what}, found {}", Value::from(value)))
                .help(format!("write `{key} = [\"…\", \"…\"]`"))
        };
        let Some(items) = value.as_array() else {
            return self
                .report
                .error(&path, &expected("an array of strings", value));
        };
        target.clear();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.report.positions.insert(path.clone(), item.span());
            let read = match item.get_ref() {
                DeValue::String(text) => read(text),
                other => Err(expected("a string", other)),
            };
            match read {
                Ok(item) => target.push(item),
                Err(mistake) => self.report.error(&path, &mistake),
            }
        }
    }

    /// Reads one string or an array of them into `target`, as [`list`](Self::list) does.
    pub(super) fn one_or_more<T>(
        &mut self,
        key: &'static str,
        target: &mut Vec<T>,
        read: impl Fn(&str) -> Result<T, Mistake>,
    ) {
        let is_array = matches!(self.entries.get(key), Some(value) if value.get_ref().is_array());
        if is_array {
            return self.list(key, target, read);
        }
        let mut one = None;
        self.set(key, &mut one, text(|text| read(text).map(Some)));
        if let Some(one) = one {
            *target = vec![one];
        }
    }

    /// Reads a table whose keys are names of the user's own, each with one string.
    pub(super) fn names(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str, &str) -> Result<(), Mistake>,
    ) {
        let Some((path, value)) = self.find(key, Form::Value) else {
            return;
        };
        let example = format!("write `{key} = {{ \"X-Name\" = \"value\" }}`");
        let DeValue::Table(entries) = value else {
            let mistake = Mistake::new(format!("expected a table, found {}", Value::from(value)));
            return self.report.error(&path, &mistake.help(example));
        };
        for (name, value) in entries {
            let path = format!("{path}.{}", name.get_ref());
            self.report.positions.insert(path.clone(), value.span());
            let read = match value.get_ref() {
                DeValue::String(text) => read(name.get_ref(), text),
                other => {
                    let found = Value::from(other);
                    Err(Mistake::new(format!("expected a string, found {found}")).help(&example))
                }
            };
            if let Err(mistake) = read {
                self.report.error(&path, &mistake);
            }
        }
    }

    /// Reports a key that is missing, or right by itself but not beside the others.
    pub(super) fn wrong(&mut self, key: &str, mistake: &Mistake) {
        self.report.error(&self.join(key), mistake);
    }

    /// Reads an array in which values and tables may stand, of which each is `what`, and says how many there are.
    pub(super) fn items(
        &mut self,
        key: &'static str,
        what: &str,
        mut read: impl FnMut(Item<'_, '_, '_>) -> Result<(), Mistake>,
    ) -> Option<usize> {
        let (path, value) = self.find(key, Form::Value)?;
        let Some(items) = value.as_array() else {
            let found = Value::from(value);
            let mistake = Mistake::new(format!("expected an array, found {found}"))
                .help(format!("write `{key} = […]`, each element {what}"));
            self.report.error(&path, &mistake);
            return None;
        };
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.report.positions.insert(path.clone(), item.span());
            let mut read_item = Ok(());
            match item.get_ref() {
                DeValue::Table(entries) => {
                    Table::visit(path.clone(), entries, self.report, |table| {
                        read_item = read(Item::Table(table));
                    });
                }
                value => read_item = read(Item::Value(&path, Value::from(value))),
            }
            if let Err(mistake) = read_item {
                self.report.error(&path, &mistake);
            }
        }
        Some(items.len())
    }

    /// Reports that a key is missing from this table.
    pub(super) fn missing(&mut self, key: &'static str, mistake: &Mistake) {
        let path = self.join(key);
        self.report.error(&path, mistake);
    }

    /// Reports a key that belongs elsewhere.
    pub(super) fn refuse(&mut self, key: &'static str, mistake: &Mistake) {
        if let Some((path, _)) = self.find(key, Form::Refused) {
            self.report.error(&path, mistake);
        }
    }

    /// Reads a table, if present.
    pub(super) fn table(&mut self, key: &'static str, read: impl FnOnce(&mut Table<'_>)) {
        match self.find(key, Form::Table) {
            None => {}
            Some((path, DeValue::Table(entries))) => Table::visit(path, entries, self.report, read),
            Some((path, value)) => {
                let mistake =
                    Mistake::new(format!("expected a table, found {}", Value::from(value))).help(
                        format!("write `[{}]` and its keys below it", without_indices(&path)),
                    );
                self.report.error(&path, &mistake);
            }
        }
    }

    /// Reads each table of an array of tables, if present.
    pub(super) fn tables(&mut self, key: &'static str, mut read: impl FnMut(&mut Table<'_>)) {
        let Some((path, value)) = self.find(key, Form::Tables) else {
            return;
        };
        let expected = |value: &DeValue<'_>| {
            Mistake::new(format!(
                "expected an array of tables, found {}",
                Value::from(value)
            ))
            .help(format!(
                "write `[[{path}]]` and the keys of one {path} below it"
            ))
        };
        let Some(array) = value.as_array().filter(|array| !array.is_empty()) else {
            return self.report.error(&path, &expected(value));
        };
        for (index, item) in array.iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.report.positions.insert(path.clone(), item.span());
            match item.get_ref() {
                DeValue::Table(entries) => Table::visit(path, entries, self.report, &mut read),
                value => self.report.error(&path, &expected(value)),
            }
        }
    }

    /// The full name and the value of a key, if present. From now on the key counts as known and has a position.
    fn find(&mut self, key: &'static str, form: Form) -> Option<(String, &'a DeValue<'a>)> {
        self.known.push((key, form));
        let value = self.entries.get(key)?;
        let path = self.join(key);
        self.report.positions.insert(path.clone(), value.span());
        Some((path, value.get_ref()))
    }

    fn report_unknown_keys(&mut self) {
        for (key, _) in self.entries {
            let name = key.get_ref().as_ref();
            if self.known.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let path = self.join(name);
            let mistake = Mistake::new("unknown key").help(self.suggest(name));
            self.report.positions.insert(path.clone(), key.span());
            self.report.error(&path, &mistake);
        }
    }

    /// The known key that is nearest to an unknown one, else all of them.
    fn suggest(&self, unknown: &str) -> String {
        let known = || self.known.iter().filter(|(_, form)| *form != Form::Refused);
        let shown = |(name, form): &(&str, Form)| match form {
            Form::Table if self.path.is_empty() => format!("`[{name}]`"),
            Form::Tables => format!("`[[{name}]]`"),
            Form::Table => format!("`{name}.*`"),
            Form::Value | Form::Refused => format!("`{name}`"),
        };
        let nearest = nearest(unknown, known().map(|(name, _)| *name));
        match known().find(|(name, _)| Some(*name) == nearest) {
            Some(key) => format!("did you mean {}?", shown(key)),
            None => format!(
                "known here: {}",
                known().map(shown).collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

impl<'a> From<&'a DeValue<'a>> for Value<'a> {
    fn from(value: &'a DeValue<'a>) -> Self {
        match value {
            DeValue::String(text) => Self::String(text),
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
                .map_or(Self::Other("an integer that is too large"), Self::Integer),
            DeValue::Float(_) => Self::Other("a number with a fraction"),
            DeValue::Boolean(value) => Self::Boolean(*value),
            DeValue::Datetime(_) => Self::Other("a date or time"),
            DeValue::Array(items) if items.is_empty() => Self::Other("an empty array"),
            DeValue::Array(_) => Self::Other("an array"),
            DeValue::Table(_) => Self::Other("a table"),
        }
    }
}

/// As in "expected a string, found an integer".
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::Other(name) => name,
        })
    }
}

/// The parser's own words, with the next step for the two most frequent mistakes.
fn syntax_mistake(error: &toml::de::Error, text: &str) -> Mistake {
    let mistake = Mistake::new(format!("not valid TOML: {}", error.message()));
    let found = error
        .span()
        .and_then(|span| text.get(span))
        .unwrap_or_default();
    if error.message().starts_with("string values must be quoted") {
        mistake.help(format!("write `\"{found}\"`"))
    } else if error.message() == "duplicate key" {
        mistake.help(format!("leave out one of the two `{found}`"))
    } else {
        mistake
    }
}

/// `route.upstream` for `route[1].upstream`, as a table's header is written.
fn without_indices(path: &str) -> String {
    path.split('[')
        .map(|part| part.split_once(']').map_or(part, |(_, rest)| rest))
        .collect()
}
