//! The files that a route answers with by itself.

use std::path::PathBuf;

/// A folder whose files are a route's answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The folder.
    pub root: PathBuf,
    /// The page, below the root, of a single-page application that makes its pages itself: it stands in where there is no file.
    pub fallback: Option<String>,
}
