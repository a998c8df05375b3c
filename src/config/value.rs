//! Readers of single values: each takes the value of a key and returns what it means, or an error.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;

use super::file::Value;
use super::nearest::nearest;
use super::problem::Mistake;
use super::units::{self, DurationError};
use super::{ConnectRetry, Workers};
use crate::tls::{PeerName, ServerName};

/// Far more threads than any machine has cores for.
const MOST_WORKERS: usize = 1024;

/// More connections than Linux gives file descriptors to one process by default.
const MOST_CONNECTIONS: usize = 1_048_576;

/// A browser's request takes a few hundred bytes and ten fields, one with many cookies some KiB.
const HEAD_LENGTHS: RangeInclusive<usize> = 1024..=1024 * 1024;
const HEADER_COUNTS: RangeInclusive<usize> = 10..=1000;

/// Each stream is a request of its own.
const STREAMS: RangeInclusive<u32> = 1..=10_000;

/// Heartbeats more often than this are a mistake, or a load test.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Every idle stream writes it every few seconds.
const LONGEST_TEXT: usize = 256;
/// The least bytes of `probe.token`.
const SHORTEST_TOKEN: usize = 16;

/// A string that `parse` understands.
pub(super) fn text<T>(
    parse: impl Fn(&str) -> Result<T, Mistake>,
) -> impl FnOnce(Value<'_>) -> Result<T, Mistake> {
    move |value| {
        let bare = match value {
            Value::String(text) => return parse(text),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(boolean) => boolean.to_string(),
            Value::Other(_) => String::new(),
        };
        // The string's own rules may give a better correction.
        let help = match parse(&bare) {
            Err(Mistake {
                help: Some(help), ..
            }) => help,
            Ok(_) if !bare.is_empty() => format!("write `\"{bare}\"`"),
            Ok(_) | Err(_) => "write one string in quotes".to_owned(),
        };
        Err(expected("a string", value).help(help))
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(words: &[(&str, T)]) -> impl FnOnce(Value<'_>) -> Result<T, Mistake> {
    text(move |text| {
        let known = words.iter().map(|(word, _)| *word);
        words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, meaning)| *meaning)
            .ok_or_else(|| {
                let help = match nearest(&text.to_lowercase(), known.clone()) {
                    Some(word) => format!("write `\"{word}\"`"),
                    None => format!(
                        "write one of {}",
                        known
                            .map(|word| format!("`\"{word}\"`"))
                            .collect::<Vec<_>>()
                            .join(", ")
                    ),
                };
                Mistake::new(format!("unknown value `{text}`")).help(help)
            })
    })
}

/// `true` or `false`.
pub(super) fn boolean(value: Value<'_>) -> Result<bool, Mistake> {
    match value {
        Value::Boolean(boolean) => Ok(boolean),
        Value::String(_) | Value::Integer(_) | Value::Other(_) => {
            Err(expected("a boolean", value).help("write `true` or `false`, without quotes"))
        }
    }
}

/// A duration, or `"off"`.
pub(super) fn timeout(value: Value<'_>) -> Result<Option<Duration>, Mistake> {
    match value {
        Value::String("off") => Ok(None),
        Value::String(text) => duration(text).map(Some),
        Value::Integer(0) | Value::Boolean(false) => {
            Err(expected("a duration", value).help("write `\"off\"` to turn it off"))
        }
        Value::Integer(_) | Value::Boolean(true) | Value::Other(_) => Err(no_duration(value)),
    }
}

/// `timeouts.connect_retry`: a duration, `"off"`, or `"auto"`.
pub(super) fn connect_retry(value: Value<'_>) -> Result<ConnectRetry, Mistake> {
    match value {
        Value::String("auto") => Ok(ConnectRetry::Auto),
        value => timeout(value)
            .map(|time| time.map_or(ConnectRetry::Off, ConnectRetry::For))
            .map_err(|mistake| {
                mistake.help("write `\"auto\"`, `\"off\"`, or a duration such as `\"2s\"`")
            }),
    }
}

/// `heartbeat.interval`: a duration that does not flood the clients, or `"off"`.
pub(super) fn interval(value: Value<'_>) -> Result<Option<Duration>, Mistake> {
    match timeout(value)? {
        Some(interval) if interval < SHORTEST_INTERVAL => Err(Mistake::new(format!(
            "an interval below `{}` floods the clients",
            units::written(SHORTEST_INTERVAL)
        ))
        .help("write seconds, such as `\"15s\"`")),
        interval => Ok(interval),
    }
}

/// `drain.delay`: a duration, or `"off"` for none.
pub(super) fn delay(value: Value<'_>) -> Result<Duration, Mistake> {
    timeout(value).map(Option::unwrap_or_default)
}

/// `drain.timeout`: a duration.
pub(super) fn end(value: Value<'_>) -> Result<Duration, Mistake> {
    match value {
        Value::String("off") => {
            Err(Mistake::new("a drain must end").help("write a duration, such as `\"30s\"`"))
        }
        Value::String(text) => match units::duration(text) {
            Err(DurationError::Zero) => Err(Mistake::new("a drain of no time cuts every stream")
                .help("write a duration, such as `\"30s\"`")),
            Ok(_) | Err(_) => duration(text),
        },
        Value::Integer(_) | Value::Boolean(_) | Value::Other(_) => Err(no_duration(value)),
    }
}

/// `server.workers`: `"auto"` or a number of threads.
pub(super) fn workers(value: Value<'_>) -> Result<Workers, Mistake> {
    let help = format!("write `\"auto\"` or a number from 1 to {MOST_WORKERS}, without quotes");
    match value {
        Value::String("auto") => Ok(Workers::Auto),
        Value::Integer(_) => {
            let count = NonZeroUsize::new(number(value, 1..=MOST_WORKERS)?);
            Ok(count.map_or(Workers::Auto, Workers::Count)) // from 1 on it is always one
        }
        Value::String(_) | Value::Boolean(_) | Value::Other(_) => {
            Err(expected("a number of threads", value).help(help))
        }
    }
}

/// `server.max_connections`: at least one.
pub(super) fn connections(value: Value<'_>) -> Result<usize, Mistake> {
    number(value, 1..=MOST_CONNECTIONS)
}

/// `server.max_request_head` and `server.max_response_head`: in bytes.
pub(super) fn head_length(value: Value<'_>) -> Result<usize, Mistake> {
    number(value, HEAD_LENGTHS)
}

/// `server.max_request_headers` and `server.max_response_headers`.
pub(super) fn header_count(value: Value<'_>) -> Result<usize, Mistake> {
    number(value, HEADER_COUNTS)
}

/// `server.max_streams`: at least one.
pub(super) fn streams(value: Value<'_>) -> Result<u32, Mistake> {
    number(value, STREAMS)
}

/// `heartbeat.text`: any text that fits in a comment line.
pub(super) fn comment(text: &str) -> Result<String, Mistake> {
    if text.contains(['\r', '\n', '\0']) {
        return Err(
            Mistake::new("a line end or NUL would break the event stream")
                .help("write one line of text"),
        );
    }
    if text.len() > LONGEST_TEXT {
        return Err(Mistake::new(format!("{} bytes are too many", text.len()))
            .help(format!("write at most {LONGEST_TEXT} bytes")));
    }
    Ok(text.to_owned())
}

/// `probe.token`: a secret that fits in a header field. An error does not show it.
pub(super) fn probe_token(text: &str) -> Result<Option<String>, Mistake> {
    if text.len() < SHORTEST_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let what =
            format!("a token is {SHORTEST_TOKEN} or more printable characters without spaces");
        return Err(Mistake::new(what).help("make one with `openssl rand -hex 16`"));
    }
    Ok(Some(text.to_owned()))
}

/// `listener.name`: a word by which routes speak of it.
pub(super) fn listener_name(text: &str) -> Result<Option<String>, Mistake> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if text.is_empty() || text.len() > LONGEST_TEXT || !text.bytes().all(is_known) {
        return Err(Mistake::new(format!("`{text}` is not a name"))
            .help("write letters, digits, `-`, `_` and `.`, such as `\"public\"`"));
    }
    Ok(Some(text.to_owned()))
}

/// `listener.mode`: octal digits, as chmod(1) takes them. Who cannot write to a socket cannot connect.
pub(super) fn socket_mode(value: Value<'_>) -> Result<u32, Mistake> {
    let help = "write three or four octal digits in quotes, such as `\"0660\"`";
    let Value::String(text) = value else {
        return Err(expected("a string", value).help(help));
    };
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok();
    match mode.filter(|mode| is_octal && *mode <= 0o777) {
        Some(mode) if mode & 0o222 == 0 => {
            Err(Mistake::new("no client could connect: that takes write permission").help(help))
        }
        Some(mode) => Ok(mode),
        None => Err(Mistake::new(format!("`{text}` is not a mode")).help(help)),
    }
}

/// The path of a file.
pub(super) fn path(text: &str) -> Result<PathBuf, Mistake> {
    if text.is_empty() || text.contains('\0') {
        return Err(Mistake::new("this is no path").help("name a file in PEM form"));
    }
    Ok(PathBuf::from(text))
}

/// `tls.server_name`: a name or an IP address, as a certificate has it.
pub(super) fn server_name(text: &str) -> Result<ServerName<'static>, Mistake> {
    let name = ServerName::try_from(text.trim_end_matches('.').to_owned());
    name.map_err(|_| {
        Mistake::new(format!(
            "`{text}` is not a name that a certificate can have"
        ))
        .help("write a host name such as `api.example.com`, or an IP address without a port")
    })
}

/// The same, or `from-host`.
pub(super) fn peer_name(text: &str) -> Result<PeerName, Mistake> {
    match text {
        "from-host" => Ok(PeerName::FromHost),
        name => server_name(name).map(PeerName::Fixed),
    }
}

/// `upstream.host`: the value of a Host field.
pub(super) fn host(text: &str) -> Result<HeaderValue, Mistake> {
    let is_host = text.parse().is_ok_and(|authority: Authority| {
        !authority.host().is_empty() && !text.contains('@') && !text.ends_with(':')
    });
    HeaderValue::from_str(text)
        .ok()
        .filter(|_| is_host)
        .ok_or_else(|| {
            Mistake::new(format!("`{text}` is not what a Host field can say"))
                .help("write a host, and its port unless it is the usual one, such as `api.example.com` or `app:8080`")
        })
}

pub(super) fn duration(text: &str) -> Result<Duration, Mistake> {
    units::duration(text).map_err(|error| {
        let help = match (error, units::nearest_duration(text)) {
            (DurationError::Zero, _) => "write `\"off\"` to turn it off".to_owned(),
            (DurationError::TooLong, _) => "write `\"8760h\"` or less".to_owned(),
            (_, Some(meant)) => format!("write `\"{meant}\"`"),
            (_, None) => {
                "write whole numbers with their units, such as `\"15s\"`, `\"250ms\"` or `\"1m30s\"`"
                    .to_owned()
            }
        };
        Mistake::new(format!("`{text}` is not a duration: {error}")).help(help)
    })
}

fn no_duration(value: Value<'_>) -> Mistake {
    let meant = match value {
        Value::Integer(seconds) => units::nearest_duration(&seconds.to_string()),
        Value::String(_) | Value::Boolean(_) | Value::Other(_) => None,
    };
    let meant = meant.unwrap_or_else(|| "15s".to_owned());
    expected("a duration", value).help(format!(
        "write it in quotes and with a unit, such as `\"{meant}\"`"
    ))
}

/// A number within a range.
pub(super) fn number<N>(value: Value<'_>, range: RangeInclusive<N>) -> Result<N, Mistake>
where
    N: TryFrom<i64> + PartialOrd + Display,
{
    let (least, most) = (range.start(), range.end());
    let help = format!("write a number from {least} to {most}, without quotes");
    let Value::Integer(number) = value else {
        return Err(expected("a number", value).help(help));
    };
    N::try_from(number)
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| Mistake::new(format!("`{number}` is out of range")).help(help))
}

pub(super) fn expected(what: &str, found: Value<'_>) -> Mistake {
    Mistake::new(format!("expected {what}, found {found}"))
}
