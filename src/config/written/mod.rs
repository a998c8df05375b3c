//! A configuration as its file could be written, for a person to see what is active. Reading it gives the same configuration,
//! except for secrets.

mod routing;

use std::fmt::{self, Display};
use std::time::Duration;

use super::upstream_host::{FROM_CLIENT, default_host};
use super::{
    Access, Action, Admin, Config, ConnectRetry, Dedupe, Detect, Drain, DrainStreams, Events,
    Format, Forwarded, Frame, Heartbeat, Limits, ListenAddress, Listener, Log, Matcher,
    OnUpstreamFailure, Probe, Resume, Route, Server, Timeouts, Upstream, Workers, units,
};
use crate::tls::PeerName;

/// Keys of one table, with their values in TOML.
pub(super) type Keys = Vec<(&'static str, String)>;

impl Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            listeners,
            server: of_server,
            admin: of_admin,
            timeouts: top_timeouts,
            routes,
            probe: of_probe,
            drain: of_drain,
            history: of_history,
            log: of_log,
        } = self;
        let is_fallback = |last: &&Route| {
            last.name.is_none()
                && last.matcher == Matcher::default()
                && last.timeouts == *top_timeouts
                && last.action.upstream().is_some()
        };
        let fallback = routes.last().filter(is_fallback);
        let top_streams = fallback
            .map(|route| route.drain_streams)
            .unwrap_or_default();
        let top_fields = fallback.map_or_else(Keys::new, routing::fields);
        // Before the first table, since they are dotted keys of the top level.
        lines(f, "", &top_fields)?;
        for of_listener in listeners {
            table(f, "[[listener]]", &listener(of_listener))?;
        }
        table(f, "\n[server]", &server(of_server))?;
        table(f, "\n[admin]", &admin(of_admin))?;
        if let Some(fallback) = fallback {
            table(f, "\n[upstream]", &upstream(fallback))?;
        }
        let mut top = vec![("timeouts", timeouts(top_timeouts))];
        top.extend(fallback.map_or_else(defaults, inherited));
        for (name, keys) in &top {
            table(f, &format!("\n[{name}]"), keys)?;
        }
        if let Some(of_probe) = of_probe {
            table(f, "\n[probe]", &probe(of_probe))?;
        }
        table(f, "\n[history]", &of_history.keys())?;
        table(f, "\n[drain]", &drain(of_drain))?;
        lines(f, "", &drain_streams(top_streams))?;
        table(f, "\n[log]", &log(of_log))?;
        for route in &routes[..routes.len() - usize::from(fallback.is_some())] {
            let name = route.name.as_ref().map(|name| ("name", text(name)));
            table(f, "\n[[route]]", &name.into_iter().collect())?;
            lines(f, "", &routing::matcher(&route.matcher))?;
            lines(f, "", &routing::action(&route.action))?;
            lines(
                f,
                "",
                &routing::changed(&routing::fields(route), &top_fields),
            )?;
            let has_upstream = route.action.upstream().is_some();
            if has_upstream && fallback.is_none_or(|fallback| upstream(fallback) != upstream(route))
            {
                lines(f, "upstream.", &upstream(route))?;
            }
            let mut own = vec![("timeouts", timeouts(&route.timeouts))];
            own.extend(inherited(route));
            for ((name, mut keys), (_, top)) in own.into_iter().zip(&top) {
                keys.retain(|key| !top.contains(key));
                lines(f, &format!("{name}."), &keys)?;
            }
            if route.drain_streams != top_streams {
                lines(f, "drain.", &drain_streams(route.drain_streams))?;
            }
        }
        Ok(())
    }
}

/// The tables of a route that are those of the top level unless it has its own.
fn inherited(route: &Route) -> [(&'static str, Keys); 6] {
    [
        ("heartbeat", heartbeat(&route.heartbeat)),
        ("events", events(&route.events)),
        ("access", route.access.keys()),
        ("limits", route.limits.keys()),
        ("resume", route.resume.keys()),
        ("dedupe", route.dedupe.keys()),
    ]
}

/// The same where nothing is said.
fn defaults() -> [(&'static str, Keys); 6] {
    [
        ("heartbeat", heartbeat(&Heartbeat::default())),
        ("events", events(&Events::default())),
        ("access", Access::default().keys()),
        ("limits", Limits::default().keys()),
        ("resume", Resume::default().keys()),
        ("dedupe", Dedupe::default().keys()),
    ]
}

fn table(f: &mut fmt::Formatter<'_>, header: &str, keys: &Keys) -> fmt::Result {
    writeln!(f, "{header}")?;
    lines(f, "", keys)
}

fn lines(f: &mut fmt::Formatter<'_>, prefix: &str, keys: &Keys) -> fmt::Result {
    keys.iter()
        .try_for_each(|(key, value)| writeln!(f, "{prefix}{key} = {value}"))
}

fn listener(listener: &Listener) -> Keys {
    let Listener {
        address,
        name,
        tls,
        proxy_protocol,
        mode,
    } = listener;
    let mut keys = vec![
        ("address", text(address)),
        ("proxy_protocol", proxy_protocol.to_string()),
    ];
    keys.extend(name.as_ref().map(|name| ("name", text(name))));
    if let ListenAddress::Unix(_) = address {
        keys.push(("mode", text(format_args!("{mode:04o}"))));
    }
    if let Some(tls) = tls {
        let identity = &tls.identity;
        keys.push(("tls.certificate", text(identity.certificate.display())));
        keys.push(("tls.private_key", text(identity.private_key.display())));
        let others = tls.others.iter().map(|identity| {
            let (certificate, key) = (
                identity.certificate.display(),
                identity.private_key.display(),
            );
            format!(
                "{{ certificate = {}, private_key = {} }}",
                text(certificate),
                text(key)
            )
        });
        let others: Vec<_> = others.collect();
        if !others.is_empty() {
            keys.push(("tls.certificates", format!("[{}]", others.join(", "))));
        }
        let ca = tls.client_ca.as_ref();
        keys.extend(ca.map(|ca| ("tls.client_ca", text(ca.display()))));
    }
    keys
}

fn server(server: &Server) -> Keys {
    let Server {
        workers,
        max_connections,
        max_request_head,
        max_request_headers,
        max_response_head,
        max_response_headers,
        max_streams,
        trusted_proxies,
    } = server;
    let workers = match workers {
        Workers::Auto => text("auto"),
        Workers::Count(count) => count.to_string(),
    };
    let proxies: Vec<_> = trusted_proxies.iter().map(text).collect();
    vec![
        ("workers", workers),
        ("max_connections", max_connections.to_string()),
        ("max_request_head", max_request_head.to_string()),
        ("max_request_headers", max_request_headers.to_string()),
        ("max_response_head", max_response_head.to_string()),
        ("max_response_headers", max_response_headers.to_string()),
        ("max_streams", max_streams.to_string()),
        ("trusted_proxies", format!("[{}]", proxies.join(", "))),
    ]
}

fn admin(admin: &Admin) -> Keys {
    let Admin {
        listen,
        allow_ending,
        allow_log_level,
        hosts,
    } = admin;
    let hosts: Vec<_> = hosts.iter().map(text).collect();
    vec![
        ("listen", listen.map_or_else(|| text("off"), text)),
        ("allow_ending", allow_ending.to_string()),
        ("allow_log_level", allow_log_level.to_string()),
        ("hosts", format!("[{}]", hosts.join(", "))),
    ]
}

/// The token is a secret.
fn probe(probe: &Probe) -> Keys {
    let Probe { path, token: _ } = probe;
    vec![("path", text(path)), ("token", text("***"))]
}

fn upstream(route: &Route) -> Keys {
    let Action::Proxy(proxied) = &route.action else {
        return Keys::new();
    };
    let Upstream { address, tls } = &*proxied.upstream;
    let mut keys = match &proxied.balance {
        Some(balance) => super::balance::written(balance),
        None => vec![("url", text(address))],
    };
    let from_client = default_host(address).map(|_| FROM_CLIENT);
    let host = proxied.host.as_ref().and_then(|host| host.to_str().ok());
    let host = host.or(from_client);
    keys.extend(host.map(|host| ("host", text(host))));
    if proxied.forwarded == Forwarded::Off {
        keys.push(("forwarded", text("off")));
    }
    if let Some(tls) = tls {
        let ca = tls.ca.as_ref();
        keys.extend(ca.map(|ca| ("tls.ca", text(ca.display()))));
        if let Some(identity) = &tls.identity {
            keys.push(("tls.certificate", text(identity.certificate.display())));
            keys.push(("tls.private_key", text(identity.private_key.display())));
        }
        // Each of several has its own name, unless one is given for all of them.
        let names = route
            .upstreams()
            .filter_map(|upstream| upstream.tls.as_ref());
        let mut names = names.map(|tls| &tls.server_name);
        if names.all(|name| *name == tls.server_name) {
            let name = match &tls.server_name {
                PeerName::Fixed(name) => text(name.to_str()),
                PeerName::FromHost => text("from-host"),
            };
            keys.push(("tls.server_name", name));
        }
    }
    keys
}

fn timeouts(timeouts: &Timeouts) -> Keys {
    let Timeouts {
        connect,
        connect_retry,
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
    let connect_retry = match connect_retry {
        ConnectRetry::Auto => text("auto"),
        ConnectRetry::For(time) => clock(Some(*time)),
        ConnectRetry::Off => clock(None),
    };
    let mut keys = vec![
        ("connect", clock(*connect)),
        ("connect_retry", connect_retry),
    ];
    let rest = [
        ("response_head", response_head),
        ("first_event", first_event),
        ("read", read),
        ("write", write),
        ("total", total),
        ("request_head", request_head),
        ("request_body", request_body),
        ("keep_alive", keep_alive),
        ("connection_age", connection_age),
    ]
    .map(|(key, duration)| (key, clock(*duration)));
    keys.extend(rest);
    keys
}

fn heartbeat(heartbeat: &Heartbeat) -> Keys {
    let Heartbeat {
        interval,
        frame,
        text: comment,
        before_head,
    } = heartbeat;
    let frame = match frame {
        Frame::Auto => "auto",
        Frame::Line => "line",
        Frame::Block => "block",
    };
    vec![
        ("interval", clock(*interval)),
        ("frame", text(frame)),
        ("text", text(comment)),
        ("before_head", clock(*before_head)),
    ]
}

fn events(events: &Events) -> Keys {
    let Events {
        detect,
        streaming,
        on_upstream_failure,
    } = events;
    let detect = match detect {
        Detect::Auto => "auto",
        Detect::Always => "always",
        Detect::Never => "never",
    };
    let on_upstream_failure = match on_upstream_failure {
        OnUpstreamFailure::Abort => "abort",
        OnUpstreamFailure::Event => "event",
        OnUpstreamFailure::Anthropic => "anthropic",
        OnUpstreamFailure::OpenaiResponses => "openai-responses",
        OnUpstreamFailure::Mcp => "mcp",
    };
    vec![
        ("detect", text(detect)),
        ("streaming", streaming.to_string()),
        ("on_upstream_failure", text(on_upstream_failure)),
    ]
}

fn drain(drain: &Drain) -> Keys {
    let Drain { delay, timeout } = drain;
    let delay = Some(*delay).filter(|delay| !delay.is_zero());
    vec![("delay", clock(delay)), ("timeout", clock(Some(*timeout)))]
}

fn drain_streams(streams: DrainStreams) -> Keys {
    let streams = match streams {
        DrainStreams::Finish => "finish",
        DrainStreams::Rotate => "rotate",
    };
    vec![("streams", text(streams))]
}

fn log(log: &Log) -> Keys {
    let Log {
        level,
        format,
        access,
    } = log;
    let format = match format {
        Format::Auto => "auto",
        Format::Text => "text",
        Format::Json => "json",
    };
    let access = access.as_ref().map_or_else(|| text("off"), text);
    vec![
        ("level", text(level.name())),
        ("format", text(format)),
        ("access", access),
    ]
}

fn clock(duration: Option<Duration>) -> String {
    text(duration.map_or_else(|| "off".to_owned(), units::written))
}

/// A string of JSON is one of TOML.
pub(super) fn text(text: impl Display) -> String {
    serde_json::Value::from(text.to_string()).to_string()
}
