//! A configuration as far as each value is right by itself: every key with the place it is read at and its default.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::access::Access;
use super::access_log::access_log;
use super::action::OwnAction;
use super::address::{admin_address, listen_address, network};
use super::cors::Cors;
use super::fields::{HeaderEdits, Message};
use super::file::Table;
use super::limits::Limits;
use super::matcher::{self, matcher, probe_path, replacement};
use super::name::name as route_name;
use super::problem::Mistake;
use super::resume::{Dedupe, History, Resume};
pub(super) use super::target::{Target, TlsDraft, TlsSide};
use super::value::{
    boolean, choice, comment, connect_retry, connections, delay, end, head_length, header_count,
    interval, listener_name, probe_token, socket_mode, streams, text, timeout, workers,
};
use super::{
    Detect, Drain, DrainStreams, Events, Format, Frame, Heartbeat, Level, ListenAddress, Listener,
    Log, Matcher, OnUpstreamFailure, Server, Timeouts,
};

/// Every network, since the clients of a sidecar come from outside its pod.
const DEFAULT_LISTENER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);

/// Only this host, since the admin port shows internals.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// The whole file. A key beside a value is whom to blame for it: the full path of a key in the file, or the name of a flag.
#[derive(Debug)]
pub(super) struct Draft {
    /// Those without a mistake.
    pub(super) listeners: Vec<ListenerDraft>,
    pub(super) server: Server,
    pub(super) admin: (String, Option<SocketAddr>),
    pub(super) allow_ending: bool,
    pub(super) allow_log_level: bool,
    pub(super) admin_hosts: Vec<String>,
    pub(super) upstream: Target,
    pub(super) settings: Settings,
    pub(super) probe: ProbeDraft,
    pub(super) history: History,
    pub(super) drain: Drain,
    pub(super) log: Log,
    pub(super) routes: Vec<RouteDraft>,
}

/// `[probe]`.
#[derive(Debug)]
pub(super) struct ProbeDraft {
    pub(super) path: String,
    pub(super) token: Option<String>,
}

/// One `[[listener]]`.
#[derive(Debug)]
pub(super) struct ListenerDraft {
    /// Whom to blame for the address.
    pub(super) key: String,
    pub(super) address: ListenAddress,
    pub(super) name: Option<String>,
    pub(super) proxy_protocol: bool,
    pub(super) mode: u32,
    pub(super) tls: TlsDraft,
}

/// One `[[route]]`.
#[derive(Debug)]
pub(super) struct RouteDraft {
    /// `route[1]`
    pub(super) key: String,
    pub(super) name: Option<String>,
    pub(super) matcher: Matcher,
    pub(super) upstream: Target,
    /// What it does without a backend.
    pub(super) own_action: Option<OwnAction>,
    pub(super) replace_prefix: Option<String>,
    pub(super) settings: Settings,
}

/// What a route can set, and the top level for all routes.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) timeouts: Timeouts,
    pub(super) heartbeat: Heartbeat,
    pub(super) events: Events,
    pub(super) drain_streams: DrainStreams,
    pub(super) request_headers: HeaderEdits,
    pub(super) response_headers: HeaderEdits,
    pub(super) cors: Option<Cors>,
    pub(super) access: Access,
    pub(super) limits: Limits,
    pub(super) resume: Resume,
    pub(super) dedupe: Dedupe,
}

impl Draft {
    /// Reads the whole file, in the order of `config.example.toml`.
    pub(super) fn read(root: &mut Table<'_>) -> Self {
        let mut draft = Self::default();
        let mut listeners = Vec::new();
        root.tables("listener", |table| {
            let mut address =
                (!table.has("address")).then_some(ListenAddress::Tcp(DEFAULT_LISTENER));
            let mut proxy_protocol = false;
            table.set("address", &mut address, text(listen_address));
            table.set("proxy_protocol", &mut proxy_protocol, boolean);
            let mut mode = Listener::SOCKET_MODE;
            if let Some(ListenAddress::Tcp(_)) = address {
                let mistake = Mistake::new("only a Unix socket has a file with a mode")
                    .help("leave it out, or write such as `address = \"unix:/run/sidecar.sock\"`");
                table.refuse("mode", &mistake);
            } else {
                table.set("mode", &mut mode, socket_mode);
            }
            let tls = TlsDraft::read(table, TlsSide::Listener);
            let key = table.join("address");
            let mut name = None;
            table.set("name", &mut name, text(listener_name));
            listeners.extend(address.map(|address| ListenerDraft {
                key,
                address,
                name,
                proxy_protocol,
                mode,
                tls,
            }));
        });
        if root.has("listener") {
            draft.listeners = listeners;
        }
        root.table("server", |table| {
            table.set("workers", &mut draft.server.workers, workers);
            table.set(
                "max_connections",
                &mut draft.server.max_connections,
                connections,
            );
            table.set(
                "max_request_head",
                &mut draft.server.max_request_head,
                head_length,
            );
            table.set(
                "max_request_headers",
                &mut draft.server.max_request_headers,
                header_count,
            );
            table.set(
                "max_response_head",
                &mut draft.server.max_response_head,
                head_length,
            );
            table.set(
                "max_response_headers",
                &mut draft.server.max_response_headers,
                header_count,
            );
            table.set("max_streams", &mut draft.server.max_streams, streams);
            table.list(
                "trusted_proxies",
                &mut draft.server.trusted_proxies,
                network,
            );
        });
        root.table("admin", |table| {
            table.set("listen", &mut draft.admin.1, text(admin_address));
            table.set("allow_ending", &mut draft.allow_ending, boolean);
            table.set("allow_log_level", &mut draft.allow_log_level, boolean);
            table.list("hosts", &mut draft.admin_hosts, matcher::host);
        });
        draft.upstream = Target::read(root);
        draft.settings.read(root, Scope::Top);
        draft.history.read(root);
        root.table("probe", |table| draft.probe.read(table));
        root.table("drain", |table| {
            table.set("delay", &mut draft.drain.delay, delay);
            table.set("timeout", &mut draft.drain.timeout, end);
            read_drain_streams(table, &mut draft.settings.drain_streams);
        });
        root.table("log", |table| read_log(table, &mut draft.log));
        root.tables("route", |table| {
            draft.routes.push(RouteDraft::read(table, &draft.settings));
        });
        draft
    }
}

impl ProbeDraft {
    fn read(&mut self, table: &mut Table<'_>) {
        table.set("path", &mut self.path, text(probe_path));
        table.set("token", &mut self.token, text(probe_token));
    }
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            listeners: vec![ListenerDraft::plain(
                "listener",
                ListenAddress::Tcp(DEFAULT_LISTENER),
            )],
            server: Server::default(),
            admin: ("admin.listen".to_owned(), Some(DEFAULT_ADMIN)),
            allow_ending: false,
            allow_log_level: false,
            admin_hosts: Vec::new(),
            upstream: Target::missing("upstream.url"),
            settings: Settings::default(),
            probe: ProbeDraft {
                path: "/.well-known/sse-sidecar/probe".to_owned(),
                token: None,
            },
            history: History::default(),
            drain: Drain::default(),
            log: Log::default(),
            routes: Vec::new(),
        }
    }
}

impl ListenerDraft {
    /// A listener with nothing but its address.
    pub(super) fn plain(key: &str, address: ListenAddress) -> Self {
        Self {
            key: key.to_owned(),
            address,
            name: None,
            proxy_protocol: false,
            mode: Listener::SOCKET_MODE,
            tls: TlsDraft::default(),
        }
    }
}

impl RouteDraft {
    /// `inherited` is what the route does not say itself.
    fn read(table: &mut Table<'_>, inherited: &Settings) -> Self {
        let mut name = None;
        table.set("name", &mut name, text(route_name));
        let matcher = matcher(table);
        let mut replace_prefix = None;
        table.set(
            "replace_prefix",
            &mut replace_prefix,
            text(|text| replacement(text).map(Some)),
        );
        let own_action = OwnAction::read(table, replace_prefix.as_deref());
        let upstream = Target::read(table);
        let mut settings = inherited.clone();
        settings.read(table, Scope::Route);
        table.table("drain", |table| {
            for key in ["delay", "timeout"] {
                let mistake = Mistake::new("this timeout belongs to the whole process")
                    .help(format!("move it to `[drain]`, as `{key}`"));
                table.refuse(key, &mistake);
            }
            read_drain_streams(table, &mut settings.drain_streams);
        });
        Self {
            key: table.path().to_owned(),
            name,
            matcher,
            upstream,
            own_action,
            replace_prefix,
            settings,
        }
    }
}

/// Whose settings are read.
#[derive(Debug, Clone, Copy)]
enum Scope {
    Top,
    Route,
}

impl Settings {
    fn read(&mut self, table: &mut Table<'_>, scope: Scope) {
        let Self {
            timeouts,
            heartbeat,
            events,
            drain_streams: _, // beside settings that only the top level has
            request_headers,
            response_headers,
            cors,
            access,
            limits,
            resume,
            dedupe,
        } = self;
        resume.read(table);
        dedupe.read(table);
        access.read(table);
        limits.read(table);
        request_headers.read(table, "request_headers", Message::Request);
        response_headers.read(table, "response_headers", Message::Response);
        Cors::read(cors, table);
        table.table("timeouts", |table| read_timeouts(table, timeouts, scope));
        table.table("heartbeat", |table| {
            table.set("interval", &mut heartbeat.interval, interval);
            table.set(
                "frame",
                &mut heartbeat.frame,
                choice(&[
                    ("auto", Frame::Auto),
                    ("line", Frame::Line),
                    ("block", Frame::Block),
                ]),
            );
            table.set("text", &mut heartbeat.text, text(comment));
            table.set("before_head", &mut heartbeat.before_head, timeout);
        });
        table.table("events", |table| {
            table.set(
                "detect",
                &mut events.detect,
                choice(&[
                    ("auto", Detect::Auto),
                    ("always", Detect::Always),
                    ("never", Detect::Never),
                ]),
            );
            table.set("streaming", &mut events.streaming, boolean);
            table.set(
                "on_upstream_failure",
                &mut events.on_upstream_failure,
                choice(&[
                    ("abort", OnUpstreamFailure::Abort),
                    ("event", OnUpstreamFailure::Event),
                    ("anthropic", OnUpstreamFailure::Anthropic),
                    ("openai-responses", OnUpstreamFailure::OpenaiResponses),
                    ("mcp", OnUpstreamFailure::Mcp),
                ]),
            );
        });
    }
}

fn read_log(table: &mut Table<'_>, log: &mut Log) {
    table.set("level", &mut log.level, choice(&Level::NAMES));
    table.set(
        "format",
        &mut log.format,
        choice(&[
            ("auto", Format::Auto),
            ("text", Format::Text),
            ("json", Format::Json),
        ]),
    );
    table.set("access", &mut log.access, text(access_log));
}

fn read_drain_streams(table: &mut Table<'_>, streams: &mut DrainStreams) {
    table.set(
        "streams",
        streams,
        choice(&[
            ("finish", DrainStreams::Finish),
            ("rotate", DrainStreams::Rotate),
        ]),
    );
}

fn read_timeouts(table: &mut Table<'_>, timeouts: &mut Timeouts, scope: Scope) {
    let Timeouts {
        connect,
        connect_retry: retry,
        response_head,
        first_event,
        read,
        write,
        total,
        request_head,
        request_body,
        keep_alive,
        connection_age,
    } = timeouts;
    let connection_timeout = |table: &mut Table<'_>, key, target| match scope {
        Scope::Top => table.set(key, target, timeout),
        Scope::Route => {
            let mistake = Mistake::new("this timeout runs before a request has a route")
                .help(format!("move it to `[timeouts]`, as `{key}`"));
            table.refuse(key, &mistake);
        }
    };
    table.set("connect", connect, timeout);
    table.set("connect_retry", retry, connect_retry);
    table.set("response_head", response_head, timeout);
    table.set("first_event", first_event, timeout);
    table.set("read", read, timeout);
    table.set("write", write, timeout);
    table.set("total", total, timeout);
    connection_timeout(table, "request_head", request_head);
    table.set("request_body", request_body, timeout);
    connection_timeout(table, "keep_alive", keep_alive);
    connection_timeout(table, "connection_age", connection_age);
}
