//! Where log lines go: standard error, as text for people or as JSON for machines.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::LevelFilter;

use crate::config::{Format, Level, Log};

/// Starts logging. Later calls do nothing: a process has one log.
pub fn start(log: Log) {
    let level = match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let text = match log.format {
        Format::Auto => stderr().is_terminal(),
        Format::Text => true,
        Format::Json => false,
    };
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(stderr)
        .with_target(false);
    let _ = if text {
        lines.with_ansi(stderr().is_terminal()).try_init()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init()
    };
}
