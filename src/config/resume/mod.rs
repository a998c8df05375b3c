//! The tables `[history]`, `resume` and `dedupe`: which streams outlive their clients, and how clients find them again.

mod values;

use std::fmt;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderName, Method};

use self::values::{credential, history_size, key_source, keyed_path, stop_request};
use crate::config::draft::{Draft, Settings};
use crate::config::file::{Report, Table};
use crate::config::limits::written_size;
use crate::config::path::normal_path;
use crate::config::problem::Mistake;
use crate::config::units;
use crate::config::value::{boolean, choice, number, text, timeout};
use crate::config::written::{Keys, text as written};

/// What all kept streams of the process may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Bytes of all histories together.
    pub memory: u64,
    /// How many streams may have one.
    pub streams: usize,
}

/// Which streams of a route outlive their clients, and how they are found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// How long a stream waits for its client; `None` cancels it at once.
    pub grace: Option<Duration>,
    /// How long its history is there after its end.
    pub keep: Duration,
    /// How many bytes are kept of one stream.
    pub history: u64,
    /// Which streams get ids of the sidecar's.
    pub ids: Ids,
    /// What else names a stream.
    pub key: Option<KeySource>,
    /// Where a stream is joined and stopped by its key.
    pub at: Option<KeyedPath>,
    /// Which request to the backend stops the stream of its key, if the backend agrees.
    pub stop: Option<(Method, KeyedPath)>,
    /// What a client must show to get a stream that it began.
    pub identity: Vec<Credential>,
    /// What a reset of a stream on an HTTP/2 connection that lives on means.
    pub on_reset: OnReset,
    /// What a client gets whose place is not kept.
    pub on_gap: OnGap,
    /// What a client gets that has seen a stream to its end.
    pub after_end: AfterEnd,
}

/// Which streams get ids of the sidecar's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// Those of clients that ask for event streams.
    Auto,
    /// All.
    Always,
    /// None.
    Never,
}

/// Where in a request a name stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A field.
    Header(HeaderName),
    /// A parameter of the query.
    Query(String),
    /// A value in the JSON body, by its pointer (RFC 6901).
    Json(String),
}

/// A path with a key in it: what stands before the key, and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedPath {
    before: String,
    after: String,
}

/// Something that a client shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A whole field.
    Header(HeaderName),
    /// One cookie.
    Cookie(String),
}

/// What a reset means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnReset {
    /// The same as a lost connection.
    Keep,
    /// The client wants no more of the stream.
    Cancel,
}

/// What a client gets whose place is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnGap {
    /// `Restart` for streams that began with GET, `Gone` for others.
    Auto,
    /// A new request to the backend.
    Restart,
    /// 410, or an error event.
    Gone,
    /// What there is, after an event that says how much is missing.
    Continue,
}

/// What a client gets that has seen a stream to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterEnd {
    /// By how the stream ended.
    Auto,
    /// The end, again.
    Stop,
    /// A new request to the backend.
    Restart,
}

/// Which requests are the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedupe {
    /// What the second one gets; `None` sends both.
    pub second: Option<Second>,
    /// Requests with the same of this are the same.
    pub key: KeySource,
    /// A request that says that it is a retry is the same as the one with its body.
    pub retries: bool,
    /// Requests with the same body within this time are the same.
    pub body: Option<Duration>,
}

/// What the second of two equal requests gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Second {
    /// The stream of the first, from its start.
    Join,
    /// Its own, and the first is cancelled.
    Replace,
    /// 409.
    Reject,
}

/// Each stream of a history takes some hundred bytes besides.
const MOST_STREAMS: usize = 1_000_000;

/// The parts of a keyed path that must be there.
const KEY: &str = "{key}";

impl History {
    pub(super) fn read(&mut self, table: &mut Table<'_>) {
        table.table("history", |table| {
            table.set("memory", &mut self.memory, text(history_size));
            table.set("streams", &mut self.streams, |value| {
                number(value, 1..=MOST_STREAMS)
            });
        });
    }

    pub(super) fn keys(&self) -> Keys {
        let Self { memory, streams } = self;
        vec![
            ("memory", written(written_size(*memory))),
            ("streams", streams.to_string()),
        ]
    }
}

impl Resume {
    const IDS: [(&'static str, Ids); 3] = [
        ("auto", Ids::Auto),
        ("always", Ids::Always),
        ("never", Ids::Never),
    ];
    const ON_RESET: [(&'static str, OnReset); 2] =
        [("keep", OnReset::Keep), ("cancel", OnReset::Cancel)];
    const ON_GAP: [(&'static str, OnGap); 4] = [
        ("auto", OnGap::Auto),
        ("restart", OnGap::Restart),
        ("gone", OnGap::Gone),
        ("continue", OnGap::Continue),
    ];
    const AFTER_END: [(&'static str, AfterEnd); 3] = [
        ("auto", AfterEnd::Auto),
        ("stop", AfterEnd::Stop),
        ("restart", AfterEnd::Restart),
    ];

    /// Whether any stream is kept.
    pub fn is_on(&self) -> bool {
        self.grace.is_some()
    }

    pub(super) fn read(&mut self, table: &mut Table<'_>) {
        let Self {
            grace,
            keep,
            history,
            ids,
            key,
            at,
            stop,
            identity,
            on_reset,
            on_gap,
            after_end,
        } = self;
        table.table("resume", |table| {
            table.set("grace", grace, timeout);
            table.set("keep", keep, |value| {
                timeout(value).map(Option::unwrap_or_default)
            });
            table.set("history", history, text(history_size));
            table.set("ids", ids, choice(&Self::IDS));
            table.set("key", key, text(|text| key_source(text).map(Some)));
            table.set("at", at, text(|text| keyed_path(text).map(Some)));
            table.set("stop", stop, text(|text| stop_request(text).map(Some)));
            table.list("identity", identity, credential);
            table.set("on_reset", on_reset, choice(&Self::ON_RESET));
            table.set("on_gap", on_gap, choice(&Self::ON_GAP));
            table.set("after_end", after_end, choice(&Self::AFTER_END));
            if key.is_none() {
                for (name, is_set) in [("at", at.is_some()), ("stop", stop.is_some())] {
                    if is_set {
                        let mistake = Mistake::new("there is no key by which a stream is found")
                            .help("write where requests carry it, such as `resume.key = \"json:/id\"`");
                        table.wrong(name, &mistake);
                    }
                }
            }
        });
    }

    pub(super) fn keys(&self) -> Keys {
        let Self {
            grace,
            keep,
            history,
            ids,
            key,
            at,
            stop,
            identity,
            on_reset,
            on_gap,
            after_end,
        } = self;
        let identity: Vec<_> = identity.iter().map(written).collect();
        let mut keys = vec![
            (
                "grace",
                grace.map_or_else(|| written("off"), |time| written(units::written(time))),
            ),
            ("keep", written(written_or_off(*keep))),
            ("history", written(written_size(*history))),
            ("ids", written(word(&Self::IDS, *ids))),
            ("identity", format!("[{}]", identity.join(", "))),
            ("on_reset", written(word(&Self::ON_RESET, *on_reset))),
            ("on_gap", written(word(&Self::ON_GAP, *on_gap))),
            ("after_end", written(word(&Self::AFTER_END, *after_end))),
        ];
        keys.extend(key.as_ref().map(|key| ("key", written(key))));
        keys.extend(at.as_ref().map(|at| ("at", written(at))));
        let stop = stop.as_ref();
        keys.extend(stop.map(|(method, path)| ("stop", written(format_args!("{method} {path}")))));
        keys
    }
}

impl Dedupe {
    const SECOND: [(&'static str, Option<Second>); 4] = [
        ("off", None),
        ("join", Some(Second::Join)),
        ("replace", Some(Second::Replace)),
        ("reject", Some(Second::Reject)),
    ];

    pub(super) fn read(&mut self, table: &mut Table<'_>) {
        let Self {
            second,
            key,
            retries,
            body,
        } = self;
        table.table("dedupe", |table| {
            table.set("second", second, choice(&Self::SECOND));
            table.set("key", key, text(key_source));
            table.set("retries", retries, boolean);
            table.set("body", body, timeout);
        });
    }

    pub(super) fn keys(&self) -> Keys {
        let Self {
            second,
            key,
            retries,
            body,
        } = self;
        vec![
            ("second", written(word(&Self::SECOND, *second))),
            ("key", written(key)),
            ("retries", retries.to_string()),
            (
                "body",
                body.map_or_else(|| written("off"), |time| written(units::written(time))),
            ),
        ]
    }
}

impl KeyedPath {
    /// Such a path.
    fn example(&self) -> String {
        format!("{}x{}", self.before, self.after)
    }

    /// The key in `path`, as it is written there.
    pub fn key<'a>(&self, path: &'a str) -> Option<&'a str> {
        let key = path
            .strip_prefix(&*self.before)?
            .strip_suffix(&*self.after)?;
        Some(key).filter(|key| !key.is_empty() && !key.contains('/'))
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            streams: 10_000,
        }
    }
}

impl Default for Resume {
    fn default() -> Self {
        let session = HeaderName::from_static("mcp-session-id");
        Self {
            grace: None,
            keep: Duration::from_secs(120),
            history: 4 << 20,
            ids: Ids::Auto,
            key: None,
            at: None,
            stop: None,
            identity: [AUTHORIZATION, COOKIE, session]
                .map(Credential::Header)
                .to_vec(),
            on_reset: OnReset::Keep,
            on_gap: OnGap::Auto,
            after_end: AfterEnd::Auto,
        }
    }
}

impl Default for Dedupe {
    fn default() -> Self {
        Self {
            second: None,
            key: KeySource::Header(HeaderName::from_static("idempotency-key")),
            retries: true,
            body: None,
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Json(pointer) => write!(f, "json:{pointer}"),
        }
    }
}

impl fmt::Display for KeyedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, after } = self;
        write!(f, "{before}{KEY}{after}")
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => name.fmt(f),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

/// A path at which streams are joined or stopped has to come to its route, and requests that are the same need a stream that is kept.
pub(super) fn check(draft: &Draft, report: &mut Report) {
    let top = (&draft.settings, String::new(), None);
    let routes = draft.routes.iter();
    let routes = routes.map(|route| {
        let path = route.matcher.path.as_ref();
        (&route.settings, format!("{}.", route.key), path)
    });
    for (settings, prefix, path) in std::iter::once(top).chain(routes) {
        let Settings { resume, dedupe, .. } = settings;
        let key = |name: &str| format!("{prefix}{name}");
        let stop = resume.stop.as_ref().map(|(_, path)| path);
        let paths = [("resume.at", resume.at.as_ref()), ("resume.stop", stop)];
        for (name, keyed) in paths {
            let name = key(name);
            if let (Some(keyed), Some(pattern)) = (keyed, path)
                && report.is_written(&name)
                && !pattern.matches(&normal_path(&keyed.example()))
            {
                let mistake =
                    Mistake::new(format!("requests for `{keyed}` do not come to this route"))
                        .help("begin it with the path of the route");
                report.error(&name, &mistake);
            }
        }
        let second = key("dedupe.second");
        if dedupe.second.is_some() && !resume.is_on() && report.is_written(&second) {
            let mistake =
                Mistake::new("only streams that are kept can be given to a second request")
                    .help("write `resume.grace = \"30s\"` as well");
            report.error(&second, &mistake);
        }
    }
}

fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    let word = words.iter().find(|(_, known)| *known == value);
    word.map_or("", |(word, _)| word)
}

fn written_or_off(time: Duration) -> String {
    if time.is_zero() {
        "off".to_owned()
    } else {
        units::written(time)
    }
}
