//! Where log lines go: standard error, as text for people or as JSON for machines; and standard output for the access log.

mod json;
mod time;

use std::io::{self, IsTerminal};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use self::json::Json;
pub use self::time::push_time;
use crate::config::{Format, Level, Log, Problem};
use crate::output::{STDERR, STDOUT};

/// How long the process waits at exit for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The current level.
static LEVEL: Mutex<Level> = Mutex::new(Level::Info);

/// What decides which lines are written.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Writes the last lines when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Logging(());

impl Drop for Logging {
    fn drop(&mut self) {
        STDERR.flush(LAST_LINES);
        STDOUT.flush(LAST_LINES);
    }
}

/// Starts logging; once in a process.
pub fn start(log: &Log) -> io::Result<Logging> {
    let level = log.level;
    STDERR.start()?;
    if log.access.is_some() {
        STDOUT.start()?;
    }
    let is_terminal = io::stderr().is_terminal();
    let text = match log.format {
        Format::Auto => is_terminal,
        Format::Text => true,
        Format::Json => false,
    };
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| STDERR.writer())
        .with_target(false);
    let lines = if text {
        lines.with_ansi(is_terminal).boxed()
    } else {
        lines.event_format(Json).boxed()
    };
    let log = tracing_subscriber::registry().with(lines.with_filter(filter));
    if log.try_init().is_ok() {
        let _ = FILTER.set(handle);
        *lock_level() = level;
    }
    // Otherwise the panicking thread would write it, and hang if standard error is not read.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(Logging(()))
}

/// Applies the settings `log`, whatever was set meanwhile.
pub fn adopt(log: &Log) {
    set_level(log.level, "configuration");
    if log.access.is_some()
        && let Err(error) = STDOUT.start()
    {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "cannot start the access log: its lines are lost"
        );
    }
}

/// The current level.
pub fn level() -> Level {
    *lock_level()
}

/// Sets the level; `by` says who asked for it. Lines that are not written cost nothing: that is decided once for each place in the
/// source.
pub fn set_level(level: Level, by: &str) {
    let before = std::mem::replace(&mut *lock_level(), level);
    let tell = || {
        let (from, to) = (before.name(), level.name());
        tracing::info!(from, to, by, "log level changed");
    };
    // While the more verbose level is active.
    if level < before {
        tell();
    }
    if let Some(handle) = FILTER.get() {
        let _ = handle.reload(filter(level)); // it fails only when there is no log any more
    }
    if level > before {
        tell();
    }
}

fn lock_level() -> MutexGuard<'static, Level> {
    LEVEL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Logs a problem of a configuration.
pub fn problem(problem: &Problem) {
    let place = problem.place.as_ref();
    tracing::warn!(
        key = problem.key.as_deref(),
        file = place.map(|place| &*place.file),
        line = place.map(|place| place.line),
        help = problem.help.as_deref(),
        "{}",
        problem.message
    );
}

fn filter(level: Level) -> Targets {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    // h2 has a line for every frame at debug, and quotes malformed targets with their queries, which may hold secrets.
    Targets::new().with_target(env!("CARGO_CRATE_NAME"), level)
}
