//! `log.access`: what a line of the access log looks like.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use http::header::{REFERER, USER_AGENT};

use super::nearest::nearest;
use super::problem::Mistake;
use super::template::{Piece, pieces};

/// The form of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// It.
    pub form: AccessForm,
    /// As written in the file.
    written: String,
}

/// The form of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessForm {
    /// One JSON object.
    Json,
    /// Parts, one after the other.
    Text(Vec<AccessPart>),
}

/// One part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessPart {
    /// Itself.
    Text(String),
    /// A value of the request, escaped so that no client can forge the end of it.
    Value {
        /// What.
        value: AccessValue,
        /// The character that follows it in the line.
        until: Option<char>,
        /// It is between double quotes, so it may have spaces.
        is_quoted: bool,
    },
}

/// The value of a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "`NAMES` says what each is called, and docs/access-log.md what it means"
)]
pub enum AccessValue {
    Time,
    CommonTime,
    ClientIp,
    Peer,
    Method,
    Scheme,
    Host,
    Path,
    Query,
    Target,
    Protocol,
    Status,
    Bytes,
    Duration,
    DurationMs,
    TimeToHead,
    TimeToHeadMs,
    TimeToFirstEvent,
    TimeToFirstEventMs,
    Upstream,
    Route,
    Reason,
    Side,
    Events,
    Heartbeats,
    RequestId,
    TraceId,
    Header(HeaderName),
}

const NAMES: [(&str, AccessValue); 29] = [
    ("time", AccessValue::Time),
    ("time_common", AccessValue::CommonTime),
    ("client_ip", AccessValue::ClientIp),
    ("peer", AccessValue::Peer),
    ("method", AccessValue::Method),
    ("scheme", AccessValue::Scheme),
    ("host", AccessValue::Host),
    ("path", AccessValue::Path),
    ("query", AccessValue::Query),
    ("target", AccessValue::Target),
    ("protocol", AccessValue::Protocol),
    ("status", AccessValue::Status),
    ("bytes", AccessValue::Bytes),
    ("duration", AccessValue::Duration),
    ("duration_ms", AccessValue::DurationMs),
    ("time_to_head", AccessValue::TimeToHead),
    ("time_to_head_ms", AccessValue::TimeToHeadMs),
    ("time_to_first_event", AccessValue::TimeToFirstEvent),
    ("time_to_first_event_ms", AccessValue::TimeToFirstEventMs),
    ("upstream", AccessValue::Upstream),
    ("route", AccessValue::Route),
    ("reason", AccessValue::Reason),
    ("side", AccessValue::Side),
    ("events", AccessValue::Events),
    ("heartbeats", AccessValue::Heartbeats),
    ("request_id", AccessValue::RequestId),
    ("trace_id", AccessValue::TraceId),
    ("user_agent", AccessValue::Header(USER_AGENT)),
    ("referer", AccessValue::Header(REFERER)),
];

/// The format that Apache and nginx have under that name, but without the query, which may hold secrets.
const COMBINED: &str = "{client_ip} - - [{time_common}] \"{method} {path} {protocol}\" {status} {bytes} \"{referer}\" \"{user_agent}\"";

/// `off`, `json`, `combined` or a template, in which `{{` and `}}` are literal braces.
pub(super) fn access_log(text: &str) -> Result<Option<Arc<AccessLog>>, Mistake> {
    let form = match text {
        "off" => return Ok(None),
        "json" => AccessForm::Json,
        "combined" => AccessForm::Text(template(COMBINED)?),
        text => AccessForm::Text(template(text)?),
    };
    let written = text.to_owned();
    Ok(Some(Arc::new(AccessLog { form, written })))
}

impl AccessLog {
    /// The fields of a request that are kept for its line.
    pub fn headers(&self) -> Vec<HeaderName> {
        let AccessForm::Text(parts) = &self.form else {
            return vec![USER_AGENT, REFERER];
        };
        let header = |part: &AccessPart| match part {
            AccessPart::Value {
                value: AccessValue::Header(name),
                ..
            } => Some(name.clone()),
            AccessPart::Value { .. } | AccessPart::Text(_) => None,
        };
        parts.iter().filter_map(header).collect()
    }

    /// Whether the host, or the query, is kept for it.
    pub fn has(&self, wanted: &AccessValue) -> bool {
        match &self.form {
            AccessForm::Json => *wanted == AccessValue::Host,
            AccessForm::Text(parts) => parts.iter().any(|part| match part {
                AccessPart::Value { value, .. } => value == wanted,
                AccessPart::Text(_) => false,
            }),
        }
    }
}

/// As in the file.
impl fmt::Display for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

fn template(text: &str) -> Result<Vec<AccessPart>, Mistake> {
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return Err(Mistake::new(
            "a line of the access log holds no line ends or other control characters",
        )
        .help("leave them out: each line gets its end"));
    }
    let mut parts = Vec::new();
    let mut is_quoted = false;
    let mut pieces = pieces(text, "{status}")?.into_iter().peekable();
    while let Some(piece) = pieces.next() {
        parts.push(match piece {
            Piece::Text(text) => {
                is_quoted ^= text.matches('"').count() % 2 == 1;
                AccessPart::Text(text)
            }
            Piece::Name(name) => AccessPart::Value {
                value: value(name)?,
                until: match pieces.peek() {
                    Some(Piece::Text(text)) => text.chars().next(),
                    Some(Piece::Name(_)) | None => None,
                },
                is_quoted,
            },
        });
    }
    if parts.iter().all(|part| matches!(part, AccessPart::Text(_))) {
        return Err(no_template(text));
    }
    Ok(parts)
}

fn no_template(text: &str) -> Mistake {
    let help = match nearest(&text.to_lowercase(), ["off", "json", "combined"]) {
        Some(word) => format!("write `\"{word}\"`"),
        None => "write `\"off\"`, `\"json\"`, `\"combined\"`, or a template such as `\"{client_ip} {method} {path} {status}\"`".to_owned(),
    };
    Mistake::new(format!("unknown value `{text}`")).help(help)
}

fn value(name: &str) -> Result<AccessValue, Mistake> {
    if let Some(header) = name.strip_prefix("header.") {
        return HeaderName::from_bytes(header.as_bytes())
            .map(AccessValue::Header)
            .map_err(|_| {
                Mistake::new(format!("`{header}` is not the name of a header"))
                    .help("write such as `{header.x-tenant}`")
            });
    }
    let known = NAMES.iter().find(|(known, _)| *known == name);
    known.map(|(_, value)| value.clone()).ok_or_else(|| {
        let meant = nearest(name, NAMES.iter().map(|(known, _)| *known));
        let help = meant.map(|meant| format!("did you mean `{{{meant}}}`?"));
        let help = help.unwrap_or_else(|| {
            let names = NAMES.iter().map(|(known, _)| format!("`{{{known}}}`"));
            let names: Vec<_> = names.collect();
            format!("known here: {}, `{{header.NAME}}`", names.join(", "))
        });
        Mistake::new(format!("unknown placeholder `{{{name}}}`")).help(help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<AccessPart> {
        match &access_log(text).unwrap().unwrap().form {
            AccessForm::Text(parts) => parts.clone(),
            AccessForm::Json => panic!("{text} is no template"),
        }
    }

    #[test]
    fn values_know_what_ends_them() {
        let value = |value, until, is_quoted| AccessPart::Value {
            value,
            until,
            is_quoted,
        };
        let text = |text: &str| AccessPart::Text(text.to_owned());
        assert_eq!(
            parts("{{{status}}} \"{method} {path}\" {header.X-Tenant}{bytes}"),
            [
                text("{"),
                value(AccessValue::Status, Some('}'), false),
                text("} \""),
                value(AccessValue::Method, Some(' '), true),
                text(" "),
                value(AccessValue::Path, Some('"'), true),
                text("\" "),
                value(
                    AccessValue::Header(HeaderName::from_static("x-tenant")),
                    None,
                    false
                ),
                value(AccessValue::Bytes, None, false),
            ]
        );
    }

    #[test]
    fn every_name_is_a_placeholder_and_is_written_back() {
        for (name, value) in NAMES {
            let text = format!("{{{name}}}");
            let log = access_log(&text).unwrap().unwrap();
            assert!(log.has(&value), "{name}");
            assert_eq!(log.to_string(), text);
        }
        assert_eq!(access_log("off"), Ok(None));
    }

    #[test]
    fn only_named_fields_are_kept() {
        let headers = |text| access_log(text).unwrap().unwrap().headers();
        assert_eq!(headers("json"), [USER_AGENT, REFERER]);
        assert_eq!(headers("combined"), [REFERER, USER_AGENT]);
        assert!(headers("{status}").is_empty());
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (text, help) in [
            ("jsn", "write `\"json\"`"),
            ("", "write `\"off\"`, "),
            ("{statu}", "did you mean `{status}`?"),
            ("{status", "write `{{` or `}}`"),
            ("status}", "write `{{` or `}}`"),
            ("{header.a b}", "write such as"),
            ("{status}\n", "leave them out"),
        ] {
            let mistake = access_log(text).unwrap_err();
            assert!(
                mistake.help.as_deref().unwrap().starts_with(help),
                "{text}: {mistake:?}"
            );
        }
    }
}
