//! Problems of a configuration, as a person reads them.

use std::fmt;
use std::ops::Range;

use crate::tls;

/// A problem of a configuration: an error, or something that deserves a second look.
///
/// Its `Display` has the form of rustc's messages: the key and the problem, the line of the file with the position marked, and a
/// correction. Plain text, without a line end after the last line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether the configuration can be used all the same.
    pub severity: Severity,
    /// The key's full path such as `route[1].timeouts.read`, or the flag or environment variable; `None` for the file as a whole.
    pub key: Option<String>,
    /// The problem, in one sentence.
    pub message: String,
    /// How to fix it.
    pub help: Option<String>,
    /// The position; `None` for flags, environment variables and a file that cannot be read.
    pub place: Option<Location>,
}

/// Whether a configuration with this problem can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but probably does not do what was meant.
    Warning,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file as it was named to the sidecar.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The character in the line, counted from 1.
    pub column: usize,
    /// The line itself, control characters made visible.
    source: String,
    /// How many characters of it are meant, at least 1.
    width: usize,
}

/// Everything that is wrong with a configuration, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// A problem with one value; its position is known to the caller.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// The value holds a password or the like, and must not be shown.
    pub(super) is_secret: bool,
}

impl Problem {
    /// The control characters of what was read never reach a terminal or a log.
    pub(super) fn new(
        severity: Severity,
        key: Option<&str>,
        mistake: &Mistake,
        place: Option<Location>,
    ) -> Self {
        Self {
            severity,
            key: key.map(printable),
            message: printable(&mistake.message),
            help: mistake.help.as_deref().map(printable),
            place,
        }
    }
}

impl Location {
    /// The place of the bytes `span` of `text`; a span past the end, or in the middle of a character, is moved to the nearest one.
    pub(super) fn new(file: &str, text: &str, span: Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start);
        let end = text.ceil_char_boundary(span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..]
            .find('\n')
            .map_or(text.len(), |newline| start + newline);
        Self {
            file: file.to_owned(),
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            source: visible(text[line_start..line_end].trim_end_matches('\r')),
            width: text[start..end.min(line_end)].chars().count().max(1),
        }
    }

    /// The same position without the source line.
    pub(super) fn masked(self) -> Self {
        let before: String = self.source.chars().take(self.column - 1).collect();
        let after: String = self
            .source
            .chars()
            .skip(self.column - 1 + self.width)
            .collect();
        Self {
            source: format!("{before}***{after}"),
            width: 3,
            ..self
        }
    }
}

impl Problems {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty(), "`Problems` without a problem");
        Self(problems)
    }

    /// The problems, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl From<tls::Error> for Problems {
    fn from(error: tls::Error) -> Self {
        let mistake = Mistake::new(error.to_string()).help(error.help());
        Self::new(vec![Problem::new(Severity::Error, None, &mistake, None)])
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Mistake {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            is_secret: false,
        }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    pub(super) fn secret(self) -> Self {
        Self {
            is_secret: true,
            ..self
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            severity,
            key,
            message,
            help,
            place,
        } = self;
        write!(f, "{severity}: ")?;
        if let Some(key) = key {
            write!(f, "{key}: ")?;
        }
        f.write_str(message)?;
        let mut margin = 1;
        if let Some(place) = place {
            write!(f, "\n{place}")?;
            margin = place.margin();
        }
        if let Some(help) = help {
            write!(f, "\n{:margin$} = help: {help}", "")?;
        }
        Ok(())
    }
}

impl Location {
    /// The width of the line number.
    fn margin(&self) -> usize {
        self.line.to_string().len()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            source,
            width,
        } = self;
        let margin = self.margin();
        // Tabs stay tabs, so that the mark is aligned however wide they are shown.
        let indent: String = source
            .chars()
            .take(column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        writeln!(f, "{:margin$}--> {file}:{line}:{column}", "")?;
        writeln!(f, "{:margin$} |", "")?;
        writeln!(f, "{line} | {source}")?;
        write!(f, "{:margin$} | {indent}{:^<width$}", "", "")
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Control characters as their escapes.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            printable.extend(c.escape_default());
        } else {
            printable.push(c);
        }
    }
    printable
}

/// Control characters as one character each, so that columns stay true.
fn visible(line: &str) -> String {
    line.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_line_and_a_column_of_characters() {
        let place = Location::new("f", "a = 1\r\nü = \"x\"\r\n", 12..15);
        assert_eq!((place.line, place.column, place.width), (2, 5, 3));
        assert_eq!(place.source, "ü = \"x\"");
    }

    #[test]
    fn a_span_past_the_end_is_the_end() {
        let place = Location::new("f", "a", 7..9);
        assert_eq!((place.line, place.column, place.width), (1, 2, 1));
    }

    #[test]
    fn a_span_over_lines_marks_the_first() {
        assert_eq!(Location::new("f", "ab\ncd", 1..5).width, 1);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mistake = Mistake::new("`\u{1b}[31m`");
        let place = Location::new("f", "\u{1b}[31m", 0..1);
        let shown = Problem::new(Severity::Error, None, &mistake, Some(place)).to_string();
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
}
