//! `sse-sidecar import-nginx`: a configuration of nginx as one of the sidecar.
//!
//! ```text
//! files, placeholders   the texts, from a disk or from what `nginx -T` printed
//! lexer, tree           nginx's words, and its directives with includes read
//! model, value          servers and locations in nginx's order, and what is known of variables
//! pattern, units        regular expressions as paths, durations and sizes
//! convert               the sidecar's routes, and an account of every directive
//! route, output, report what is written, and what is said about it
//! ```
//!
//! nginx's own rules are followed, not guessed. Nothing is dropped silently: each directive is kept, implied or left out. A guard that
//! cannot be kept closes what it guarded.

#![allow(
    clippy::match_bool,
    clippy::format_push_string,
    clippy::needless_for_each,
    clippy::single_match_else,
    clippy::unused_self,
    clippy::struct_field_names,
    clippy::enum_variant_names,
    clippy::too_many_lines,
    reason = "cases beside each other, methods beside their like, and the keys as the file has them read better here"
)]

mod convert;
mod error;
mod files;
mod inherit;
mod lexer;
mod model;
mod names;
mod output;
mod pattern;
mod placeholders;
mod report;
mod route;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod toml;
mod tree;
mod units;
mod value;

pub use self::error::ReadError;
pub use self::files::{Files, Texts};
pub use self::report::{Outcome, Report};

use self::model::Model;
use self::placeholders::Placeholders;

/// An imported configuration.
#[derive(Debug)]
pub struct Imported {
    /// The sidecar's file.
    pub toml: String,
    /// What became of every directive.
    pub report: Report,
}

/// Imports the file `main` and all that it includes. With `server` only the server of that name is taken. `placeholder` knows the values
/// of a template's placeholders, and `knows` the keys that a route can have.
pub fn import(
    files: &dyn Files,
    main: &str,
    server: Option<&str>,
    placeholder: &dyn Fn(&str) -> Option<String>,
    knows: &dyn Fn(&str) -> bool,
) -> Result<Imported, ReadError> {
    let mut placeholders = Placeholders::new(placeholder);
    let tree = tree::read(files, main, &mut placeholders)?;
    let mut report = Report::new(&tree);
    let model = Model::new(&tree.directives, &mut report);
    if let Some(name) = server
        && !model.servers.iter().any(|server| server.is_called(name))
    {
        return Err(ReadError::whole(
            main,
            format!("no `server` has the name `{name}`"),
        ));
    }
    if model.servers.is_empty() {
        return Err(ReadError::whole(
            main,
            "it has no `server` and no `location`",
        ));
    }
    for (name, is_known) in &placeholders.found {
        report.note(match is_known {
            true => format!("`${{{name}}}` was given by `--set` or the environment"),
            false => format!("`${{{name}}}` is a template's placeholder: give it with `--set {name}=VALUE`, or in the environment"),
        });
    }
    report.note("X-Forwarded-For of a client is kept only from `server.trusted_proxies`, where nginx appends to whatever it says");
    let missing = tree.missing.iter().cloned().collect();
    let output = convert::convert(
        &model,
        &tree.directives,
        &missing,
        main,
        server,
        knows,
        &mut report,
    );
    Ok(Imported {
        toml: output.to_string(),
        report,
    })
}
