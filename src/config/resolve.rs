//! From the file, the flags and the environment to a [`Config`], or to everything that is wrong with them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::address::{admin_address, is_conflict, is_loop, listen_address, upstream_address};
use super::draft::{Draft, ListenerDraft, Target};
use super::file::{Report, Value, walk};
use super::nearest::nearest;
use super::problem::{Mistake, Problem, Problems, Severity};
use super::upstream_host::upstream_host;
use super::value::choice;
use super::{
    Admin, Config, Level, ListenAddress, Listener, Probe, Source, access, balance, conflicts, name,
    routes, tls,
};

/// What flags and environment variables say instead of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Replace the addresses that the file listens on, unless there are none here.
    pub listen: Vec<Override>,
    /// Replaces `upstream.url`.
    pub upstream: Option<Override>,
    /// Replaces `upstream.host`.
    pub upstream_host: Option<Override>,
    /// Replaces `admin.listen`.
    pub admin: Option<Override>,
    /// Replaces `log.level`.
    pub log_level: Option<Override>,
}

/// One value from a flag or an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The flag or variable as it is written, such as `--listen`: its mistakes are reported under this name.
    pub source: String,
    /// Its value.
    pub value: String,
}

/// Reads a configuration and the warnings about it, or all of its errors.
///
/// `file_name` is only shown, and the files that the text names are not read. Warnings are left out where there are errors: they
/// would be about values that were not chosen.
pub fn parse(
    text: &str,
    file_name: &str,
    overrides: &Overrides,
) -> Result<(Config, Vec<Problem>), Problems> {
    let (config, report) = complete(text, file_name, overrides, None)?;
    Ok((config, report.into_problems()))
}

/// Reads a configuration file like [`parse`], and the files that it names: relative paths start at its folder. Without one, the
/// flags and the environment must name the upstream.
pub fn load(
    path: Option<&Path>,
    overrides: &Overrides,
) -> Result<(Config, Vec<Problem>), Problems> {
    Source::new(path.map(Path::to_owned), overrides.clone()).load()
}

/// The same as [`load`], but an expired certificate is an error.
pub fn check(
    path: Option<&Path>,
    overrides: &Overrides,
) -> Result<(Config, Vec<Problem>), Problems> {
    Source::new(path.map(Path::to_owned), overrides.clone()).check()
}

/// The files that a configuration names.
#[derive(Debug, Clone, Copy)]
pub(super) struct NamedFiles<'a> {
    /// Where they are.
    pub(super) folder: &'a Path,
    /// How bad it is that a certificate has expired.
    pub(super) expired: Severity,
}

/// The configuration, and a report without errors. Without `files` those that the text names are not looked at.
pub(super) fn complete(
    text: &str,
    file_name: &str,
    overrides: &Overrides,
    files: Option<NamedFiles<'_>>,
) -> Result<(Config, Report), Problems> {
    let (draft, mut report) = read(text, file_name, overrides)?;
    check_addresses(&draft, &mut report);
    check_upstreams(&draft, &mut report);
    name::check(&draft, &mut report);
    check_listener_names(&draft, &mut report);
    let targets = draft.routes.iter().map(|route| &route.upstream);
    for target in targets.chain([&draft.upstream]) {
        balance::check(target, &mut report);
    }
    tls::check(&draft, &mut report);
    access::check(&draft, &mut report);
    super::resume::check(&draft, &mut report);
    if let Some(files) = files {
        tls::check_files(&draft, files.folder, &mut report);
        tls::check_validity(&draft, files, Severity::Error, &mut report);
        super::files::check_files(&draft, files.folder, &mut report);
        access::check_files(&draft, files.folder, &mut report);
    }
    if report.has_errors() {
        return Err(Problems::new(report.into_problems()));
    }
    conflicts::warn(&draft, &mut report);
    if let Some(files) = files {
        tls::check_validity(&draft, files, Severity::Warning, &mut report);
    }
    let folder = files.map_or_else(|| Path::new(""), |files| files.folder);
    let config = resolve(draft, folder);
    Ok((config, report))
}

/// Where the admin port of a sidecar started with these is, `None` if it has none. The file is only read if it must say so, and
/// its other mistakes do not matter: it may have been changed since the sidecar started.
pub fn load_admin(
    path: Option<&Path>,
    overrides: &Overrides,
) -> Result<Option<SocketAddr>, Problems> {
    let (text, name) = open(path.filter(|_| overrides.admin.is_none()))?;
    let (draft, report) = read(&text, &name, overrides)?;
    let (admin_key, admin) = draft.admin;
    let mut problems = report.into_problems();
    problems.retain(|problem| {
        let key = problem.key.as_deref().unwrap_or_default();
        key == admin_key || key.split('.').next() == Some("admin")
    });
    if problems.is_empty() {
        Ok(admin)
    } else {
        Err(Problems::new(problems))
    }
}

/// The text of the file and its name; both empty if there is none.
pub(super) fn open(path: Option<&Path>) -> Result<(String, String), Problems> {
    let Some(path) = path else {
        return Ok((String::new(), String::new()));
    };
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => Ok((text, name)),
        Err(error) => {
            let mistake = Mistake::new(format!("`{name}` cannot be read: {error}"))
                .help("name a readable file with `--config`");
            Err(Problems::new(vec![Problem::new(
                Severity::Error,
                None,
                &mistake,
                None,
            )]))
        }
    }
}

/// Reads the file, and replaces its values by flags and environment variables.
fn read(text: &str, file_name: &str, overrides: &Overrides) -> Result<(Draft, Report), Problems> {
    let mut draft = Draft::default();
    let mut report = walk(file_name, text, |root| draft = Draft::read(root))?;

    let Overrides {
        listen,
        upstream,
        upstream_host: host,
        admin,
        log_level,
    } = overrides;
    listen_instead(listen, &mut draft.listeners, &mut report);
    if let Some(Override { source, value }) = upstream {
        let address = upstream_address(value).map_err(|mistake| report.error(source, &mistake));
        draft.upstream.replace(source, address.ok());
    }
    if let Some(Override { source, value }) = host {
        match upstream_host(value) {
            Ok(host) => draft.upstream.host = host,
            Err(mistake) => report.error(source, &mistake),
        }
        if !draft.upstream.is_given {
            let mistake = Mistake::new("there is no upstream for all routes that it could hold for")
                .help("start with `--upstream https://api.example.com` too, or set `upstream.host` in the route");
            report.error(source, &mistake);
        }
    }
    if let Some(Override { source, value }) = admin {
        let address = admin_address(value).map_err(|mistake| report.error(source, &mistake));
        draft.admin = (source.clone(), address.unwrap_or_default());
    }
    if let Some(Override { source, value }) = log_level {
        match choice(&Level::NAMES)(Value::String(value)) {
            Ok(level) => draft.log.level = level,
            Err(mistake) => report.error(source, &mistake),
        }
    }
    Ok((draft, report))
}

/// Replaces the addresses of the file by those of `listen`. They keep the TLS and the PROXY protocol of its only listener; of
/// several, it is unknown which.
fn listen_instead(listen: &[Override], listeners: &mut Vec<ListenerDraft>, report: &mut Report) {
    let Some(Override { source, .. }) = listen.first() else {
        return;
    };
    let before = std::mem::take(listeners);
    let is_plain = |listener: &ListenerDraft| {
        !listener.proxy_protocol && !report.is_written(&listener.tls.key)
    };
    let lost = before.iter().position(|listener| !is_plain(listener));
    if let (Some(index), 2..) = (lost, before.len()) {
        let listener = &before[index];
        let what = if listener.proxy_protocol {
            "PROXY protocol"
        } else {
            "TLS"
        };
        let mistake = Mistake::new(format!(
            "the file has {} listeners, and which of them this stands for is not known: `{}` has {what}, which would be off",
            before.len(),
            listener.address
        ))
        .help("change `address` in the file, or leave one `[[listener]]` in it, whose TLS and PROXY protocol this keeps");
        report.error(source, &mistake);
        return;
    }
    for Override { source, value } in listen {
        match listen_address(value) {
            Ok(address) => {
                let mut listener = ListenerDraft::plain(source, address);
                if let [only] = &before[..] {
                    listener.proxy_protocol = only.proxy_protocol;
                    listener.mode = only.mode;
                    listener.tls = only.tls.clone();
                }
                listeners.push(listener);
            }
            Err(mistake) => report.error(source, &mistake),
        }
    }
}

/// No address is listened on twice, and no request comes back to the sidecar.
fn check_addresses(draft: &Draft, report: &mut Report) {
    let (admin_key, admin) = &draft.admin;
    let admin = admin.map(|address| (admin_key, ListenAddress::Tcp(address)));
    let mut taken: Vec<_> = admin.iter().map(|(key, address)| (*key, address)).collect();
    for ListenerDraft { key, address, .. } in &draft.listeners {
        if let Some((other_key, other)) =
            taken.iter().find(|(_, taken)| is_conflict(taken, address))
        {
            let mistake = Mistake::new(format!("`{address}` is taken by {other_key}, `{other}`"))
                .help("choose another port or path");
            report.error(key, &mistake);
        }
        taken.push((key, address));
    }
    for (index, ListenerDraft { key, name, .. }) in draft.listeners.iter().enumerate() {
        let same = |other: &&ListenerDraft| name.is_some() && other.name == *name;
        if let Some(other) = draft.listeners[..index].iter().find(same) {
            let key = key.replace(".address", ".name");
            let mistake = Mistake::new(format!(
                "{} has this name too",
                other.key.replace(".address", "")
            ))
            .help("choose another one");
            report.error(&key, &mistake);
        }
    }

    let upstreams = draft
        .routes
        .iter()
        .map(|route| &route.upstream)
        .chain([&draft.upstream]);
    for (key, address) in upstreams.flat_map(Target::addresses) {
        let mut listeners = draft.listeners.iter().map(|listener| &listener.address);
        if let Some(listener) = listeners.find(|listener| is_loop(address, listener)) {
            let mistake = Mistake::new(format!(
                "`{address}` is the sidecar itself, which listens on `{listener}`"
            ))
            .help("name the address of the backend");
            report.error(key, &mistake);
        }
    }
}

/// Checks that the listeners that routes name exist, and that no two have the same name.
fn check_listener_names(draft: &Draft, report: &mut Report) {
    let names: Vec<&str> = draft
        .listeners
        .iter()
        .filter_map(|listener| listener.name.as_deref())
        .collect();
    for route in &draft.routes {
        let unknown = route.matcher.listeners.iter();
        for name in unknown.filter(|name| !names.contains(&name.as_str())) {
            let help = match nearest(name, names.iter().copied()) {
                Some(meant) => format!("did you mean `\"{meant}\"`?"),
                None => format!("write `name = \"{name}\"` in its `[[listener]]`"),
            };
            let mistake = Mistake::new(format!("no listener is called `{name}`")).help(help);
            report.error(&format!("{}.listener", route.key), &mistake);
        }
    }
}

/// Every request has somewhere to go.
fn check_upstreams(draft: &Draft, report: &mut Report) {
    if draft.upstream.is_given {
        return;
    }
    if draft.routes.is_empty() || report.is_written("upstream") {
        let mistake = Mistake::new("missing, so there is nowhere to send requests")
            .help("write `upstream.url = \"http://127.0.0.1:3000\"`, or start with `--upstream http://127.0.0.1:3000`");
        report.error(&draft.upstream.key, &mistake);
    }
    let without_upstream = draft
        .routes
        .iter()
        .filter(|route| !route.upstream.is_given && route.own_action.is_none());
    for route in without_upstream {
        let mistake = Mistake::new("missing, and there is no `[upstream]` for all routes either")
            .help("write `upstream.url = \"http://127.0.0.1:3000\"` in this route");
        report.error(&route.upstream.key, &mistake);
    }
}

/// The configuration that a draft without errors means.
fn resolve(draft: Draft, folder: &Path) -> Config {
    let Draft {
        listeners,
        server,
        admin: (_, listen),
        allow_ending,
        allow_log_level,
        admin_hosts: hosts,
        upstream: fallback,
        settings,
        probe,
        history,
        drain,
        log,
        routes,
    } = draft;
    let timeouts = settings.timeouts.clone();
    Config {
        routes: routes::resolve(routes, &fallback, settings, folder),
        probe: probe.token.map(|token| Probe {
            path: probe.path,
            token,
        }),
        listeners: listeners
            .into_iter()
            .map(|listener| Listener {
                tls: tls::server(&listener.tls, folder),
                name: listener.name.map(Into::into),
                proxy_protocol: listener.proxy_protocol,
                mode: listener.mode,
                address: listener.address,
            })
            .collect(),
        server,
        admin: Admin {
            listen,
            allow_ending,
            allow_log_level,
            hosts,
        },
        timeouts,
        drain,
        history,
        log,
    }
}
