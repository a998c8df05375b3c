//! The log level of the running process: `GET /log/level`, `PUT /log/level/debug`.

use http::StatusCode;
use http::header::HeaderMap;

use super::ending::INTENT;
use super::{Admin, Answer, TEXT, host, text};
use crate::config::Level;
use crate::log;

/// Whether a path is one of those that set the level.
pub(super) fn is_asked(path: &str) -> bool {
    wanted(path).is_some()
}

fn wanted(path: &str) -> Option<&str> {
    path.strip_prefix("/log/level/")
}

/// The current level.
pub(super) fn show() -> Answer {
    text(StatusCode::OK, TEXT, format!("{}\n", log::level().name()))
}

pub(super) fn set(admin: &Admin, path: &str, headers: &HeaderMap) -> Answer {
    if !admin.shown.borrow().allow_log_level {
        let how = "the log level cannot be set here: `admin.allow_log_level` is false\n";
        return text(StatusCode::FORBIDDEN, TEXT, how);
    }
    if !headers.contains_key(&INTENT) || !host::is_own_page(headers) {
        let how = "only who sends `X-Sse-Sidecar: log` can set the log level\n";
        return text(StatusCode::FORBIDDEN, TEXT, how);
    }
    let Some(level) = wanted(path).and_then(Level::named) else {
        let names = Level::NAMES.map(|(name, _)| name).join(", ");
        return text(
            StatusCode::NOT_FOUND,
            TEXT,
            format!("the levels are {names}\n"),
        );
    };
    log::set_level(level, "admin request");
    let until = "until the configuration is reloaded or the process ends";
    text(StatusCode::OK, TEXT, format!("{}, {until}\n", level.name()))
}
