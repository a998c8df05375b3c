//! Why a file cannot be read.

use std::fmt;

/// Why a file cannot be read as nginx would read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    file: Option<String>,
    line: Option<usize>,
    what: String,
}

impl ReadError {
    /// A mistake on a line.
    pub(super) fn new(line: usize, what: impl Into<String>) -> Self {
        Self {
            file: None,
            line: Some(line),
            what: what.into(),
        }
    }

    /// A file of which nothing can be read.
    pub(super) fn whole(file: &str, what: impl Into<String>) -> Self {
        Self {
            file: Some(file.to_owned()),
            line: None,
            what: what.into(),
        }
    }

    /// Adds the file, unless that is known.
    pub(super) fn of(mut self, file: &str) -> Self {
        self.file.get_or_insert_with(|| file.to_owned());
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: {}", self.what),
            (Some(file), None) => write!(f, "{file}: {}", self.what),
            (None, Some(line)) => write!(f, "line {line}: {}", self.what),
            (None, None) => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for ReadError {}
