//! Single values of `[history]`, `resume` and `dedupe`.

use super::{Credential, KEY, KeySource, KeyedPath};
use crate::config::limits::{size, written_size};
use crate::config::problem::Mistake;
use http::Method;

/// The least that `resume.history` can be: twice what is read at once.
const LEAST_HISTORY: u64 = 64 * 1024;

fn some_size(text: &str) -> Result<u64, Mistake> {
    let help = "write such as `\"64MiB\"`; without `resume.grace` nothing is kept";
    size(text)?.ok_or_else(|| Mistake::new("a history needs some memory").help(help))
}

pub(super) fn history_size(text: &str) -> Result<u64, Mistake> {
    match some_size(text)? {
        size if size < LEAST_HISTORY => Err(Mistake::new(format!(
            "a history of less than `{}` holds no more than one read",
            written_size(LEAST_HISTORY)
        ))
        .help("write such as `\"4MiB\"`")),
        size => Ok(size),
    }
}

pub(super) fn key_source(text: &str) -> Result<KeySource, Mistake> {
    let help = "write `\"header:X-Conversation-Id\"`, `\"query:run\"`, or `\"json:/id\"`";
    let mistake = || Mistake::new(format!("`{text}` names no part of a request")).help(help);
    match text.split_once(':') {
        Some(("header", name)) => {
            let name = name.parse().map_err(|_| mistake())?;
            Ok(KeySource::Header(name))
        }
        Some(("query", name)) if !name.is_empty() => Ok(KeySource::Query(name.to_owned())),
        Some(("json", pointer)) if pointer.starts_with('/') => {
            Ok(KeySource::Json(pointer.to_owned()))
        }
        Some(("json", name)) if !name.is_empty() => {
            Err(mistake().help(format!("write `\"json:/{name}\"`")))
        }
        _ => Err(mistake()),
    }
}

pub(super) fn keyed_path(text: &str) -> Result<KeyedPath, Mistake> {
    let mistake = |what: &str| {
        Mistake::new(format!("`{text}` {what}")).help("write such as `\"/api/chat/{key}/stream\"`")
    };
    let (before, after) = text
        .split_once(KEY)
        .ok_or_else(|| mistake("has no `{key}`"))?;
    if !before.starts_with('/') || !before.ends_with('/') {
        return Err(mistake("is no path with `{key}` as a segment of its own"));
    }
    if after.contains(KEY) || !(after.is_empty() || after.starts_with('/')) {
        return Err(mistake(
            "is no path with one `{key}` as a segment of its own",
        ));
    }
    if text.contains(['?', '#', ' ']) {
        return Err(mistake("is no path"));
    }
    Ok(KeyedPath {
        before: before.to_owned(),
        after: after.to_owned(),
    })
}

pub(super) fn stop_request(text: &str) -> Result<(Method, KeyedPath), Mistake> {
    let help = "write method and path, such as `\"POST /api/chat/{key}/stop\"`";
    let mistake = || Mistake::new(format!("`{text}` is no request")).help(help);
    let (method, path) = text.split_once(' ').ok_or_else(mistake)?;
    let method = method.parse().map_err(|_| mistake())?;
    Ok((method, keyed_path(path)?))
}

pub(super) fn credential(text: &str) -> Result<Credential, Mistake> {
    let help = "write a header such as `\"authorization\"`, or a cookie such as `\"cookie:sid\"`";
    let mistake = || Mistake::new(format!("`{text}` is nothing that a client shows")).help(help);
    match text.split_once(':') {
        Some(("cookie", name)) if !name.is_empty() && !name.contains(['=', ';', ' ']) => {
            Ok(Credential::Cookie(name.to_owned()))
        }
        Some(("header", name)) => Err(mistake().help(format!("write `\"{name}\"`"))),
        Some(_) => Err(mistake()),
        None => text.parse().map(Credential::Header).map_err(|_| mistake()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyed_paths() {
        let path = keyed_path("/chat/{key}/stream").unwrap();
        assert_eq!(path.to_string(), "/chat/{key}/stream");
        for (tried, key) in [
            ("/chat/a/stream", Some("a")),
            ("/chat/a%2Fb/stream", Some("a%2Fb")),
            ("/chat//stream", None),
            ("/chat/a/b/stream", None),
            ("/chat/a/stream/", None),
            ("/chat/stream", None),
        ] {
            assert_eq!(path.key(tried), key, "{tried}");
        }
        assert_eq!(keyed_path("/chat/{key}").unwrap().key("/chat/7"), Some("7"));
        for wrong in [
            "/chat",
            "chat/{key}",
            "/chat{key}",
            "/{key}x",
            "/{key}/{key}",
            "/{key}?a",
        ] {
            assert!(keyed_path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_read_is_written_the_same() {
        for text in ["header:x-run", "query:run", "json:/a/0"] {
            assert_eq!(key_source(text).unwrap().to_string(), text);
        }
        for text in ["authorization", "cookie:sid"] {
            assert_eq!(credential(text).unwrap().to_string(), text);
        }
        let (method, path) = stop_request("POST /chat/{key}/stop").unwrap();
        assert_eq!(format!("{method} {path}"), "POST /chat/{key}/stop");
        for wrong in ["json:id", "header:", "x", "body:/id", "json:", "query:"] {
            assert!(key_source(wrong).is_err(), "{wrong}");
        }
    }
}
