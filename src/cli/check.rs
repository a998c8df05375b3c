//! `sse-sidecar check`: like `nginx -t`, but it reports every error at once.

use std::process::ExitCode;

use super::{ConfigSource, USAGE};
use crate::config::{self, Config};

/// Checks whether `run` could start with this configuration: every problem on stderr, or one line on stdout.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the command's answer"
)]
pub fn check(source: &ConfigSource) -> ExitCode {
    let ConfigSource { config, overrides } = source;
    match config::check(config.as_deref(), overrides) {
        Ok((resolved, warnings)) => {
            for warning in &warnings {
                eprintln!("{warning}\n");
            }
            let name = match config {
                Some(path) => path.to_string_lossy(),
                None => "the configuration".into(),
            };
            println!("{name} is valid: {}", summary(&resolved, warnings.len()));
            ExitCode::SUCCESS
        }
        Err(problems) => {
            eprintln!(
                "{problems}\n\n{}",
                counted(problems.iter().count(), "error")
            );
            ExitCode::from(USAGE)
        }
    }
}

/// `1 listener, 2 routes`
fn summary(config: &Config, warnings: usize) -> String {
    let mut summary = format!(
        "{}, {}",
        counted(config.listeners.len(), "listener"),
        counted(config.routes.len(), "route")
    );
    if warnings > 0 {
        summary = format!("{summary}, {}", counted(warnings, "warning"));
    }
    summary
}

fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
