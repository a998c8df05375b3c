//! What a running process cannot change: it takes a restart.

use super::address::is_loop;
use super::file::Report;
use super::problem::{Mistake, Problem, Problems, Severity};
use super::{Admin, Config, Listener, Log, Server};

/// Restores in `new` the keys that cannot change while `running`, and reports where that made a difference; or that the two do not
/// go together.
pub(super) fn keep(
    running: &Config,
    new: &mut Config,
    report: &Report,
) -> Result<Vec<Problem>, Problems> {
    let mut keys = Vec::new();
    keep_listeners(&running.listeners, &mut new.listeners, &mut keys);
    let Server {
        workers,
        max_connections: _,
        max_request_head: _,
        max_request_headers: _,
        max_response_head: _,
        max_response_headers: _,
        max_streams: _,
        trusted_proxies: _,
    } = &running.server;
    keep_value(
        workers,
        &mut new.server.workers,
        "server.workers",
        &mut keys,
    );
    let Admin {
        listen,
        allow_ending: _,
        allow_log_level: _,
        hosts: _,
    } = &running.admin;
    keep_value(listen, &mut new.admin.listen, "admin.listen", &mut keys);
    let Log {
        level: _,
        format,
        access: _,
    } = &running.log;
    keep_value(format, &mut new.log.format, "log.format", &mut keys);
    check_loops(new, report)?;
    let mistake = Mistake::new("takes effect with the next restart");
    let waiting = |key: &String| report.problem(Severity::Warning, key, &mistake);
    Ok(keys.iter().map(waiting).collect())
}

/// A backend may come to where the sidecar is about to leave: until then, requests would come back to it.
fn check_loops(config: &Config, report: &Report) -> Result<(), Problems> {
    for upstream in config.upstreams() {
        let upstream = &upstream.address;
        let mut listeners = config.listeners.iter().map(|listener| &listener.address);
        if let Some(listener) = listeners.find(|listener| is_loop(upstream, listener)) {
            let mistake = Mistake::new(format!(
                "`{upstream}` is the sidecar itself, which listens on `{listener}` until it is restarted"
            ))
            .help("restart the sidecar to move it");
            let problem = report.problem(Severity::Error, "listener", &mistake);
            return Err(Problems::new(vec![problem]));
        }
    }
    Ok(())
}

fn keep_listeners(running: &[Listener], new: &mut Vec<Listener>, keys: &mut Vec<String>) {
    if running.len() != new.len() {
        keys.push("listener".to_owned());
    }
    for (index, (running, new)) in running.iter().zip(&*new).enumerate() {
        let Listener {
            address,
            name,
            tls,
            proxy_protocol,
            mode,
        } = running;
        let differs = [
            ("address", *address != new.address),
            ("name", *name != new.name),
            ("proxy_protocol", *proxy_protocol != new.proxy_protocol),
            ("mode", *mode != new.mode),
            ("tls", *tls != new.tls),
        ];
        let differs = differs.iter().filter(|(_, differs)| *differs);
        keys.extend(differs.map(|(key, _)| format!("listener[{index}].{key}")));
    }
    running.clone_into(new);
}

fn keep_value<T: Clone + PartialEq>(running: &T, new: &mut T, key: &str, keys: &mut Vec<String>) {
    if running != new {
        running.clone_into(new);
        keys.push(key.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::super::resolve::complete;
    use super::*;
    use crate::config::Overrides;

    fn read(text: &str) -> (Config, Report) {
        complete(text, "f", &Overrides::default(), None).unwrap()
    }

    /// The keys that need a restart, and the configuration until then.
    fn kept(before: &str, after: &str) -> (Vec<String>, Config) {
        let (running, _) = read(before);
        let (mut new, report) = read(after);
        let waiting = keep(&running, &mut new, &report).unwrap();
        let keys = waiting.into_iter().filter_map(|problem| problem.key);
        (keys.collect(), new)
    }

    const UPSTREAM: &str = "upstream.url = 'http://127.0.0.1:3000'\n";

    #[test]
    fn what_cannot_change_stays_and_is_named() {
        let tls = "tls = { certificate = 'a', private_key = 'b' }";
        let before = format!("{UPSTREAM}[[listener]]\n{tls}\n[[listener]]\naddress = '[::1]:1'");
        let listeners = "[[listener]]\nproxy_protocol = true\n[[listener]]\naddress = '[::1]:2'\n";
        for (rest, expected) in [
            ("", &["listener", "listener[0].tls"][..]),
            (
                listeners,
                &[
                    "listener[0].proxy_protocol",
                    "listener[0].tls",
                    "listener[1].address",
                ],
            ),
            (
                "server.workers = 3\nadmin.listen = 'off'\nlog.format = 'text'\n",
                &[
                    "listener",
                    "listener[0].tls",
                    "server.workers",
                    "admin.listen",
                    "log.format",
                ],
            ),
        ] {
            let (keys, config) = kept(&before, &format!("{UPSTREAM}{rest}"));
            assert_eq!(keys, expected);
            assert_eq!(config, read(&before).0);
        }
    }

    #[test]
    fn everything_else_changes() {
        let rest = "server = { max_connections = 1, max_request_head = 9000, max_request_headers = 30, max_streams = 4, trusted_proxies = ['::1'] }\n\
                    admin.allow_ending = true\nadmin.allow_log_level = true\nadmin.hosts = ['a']\nlog = { level = 'debug', access = 'json' }\ntimeouts.keep_alive = '1s'\ndrain.timeout = '1s'\n\
                    route = [{ path = '/x', heartbeat.text = 'x' }]\n";
        let (keys, config) = kept(UPSTREAM, &format!("{rest}{UPSTREAM}"));
        assert!(keys.is_empty(), "{keys:?}");
        assert_eq!(config, read(&format!("{rest}{UPSTREAM}")).0);
    }

    #[test]
    fn a_backend_may_not_come_to_where_the_sidecar_still_listens() {
        let (running, _) = read("upstream.url = 'http://127.0.0.1:3000'");
        let after =
            "listener = [{ address = '0.0.0.0:9090' }]\nupstream.url = 'http://127.0.0.1:8080'";
        let (mut new, report) = read(after);
        let problems = keep(&running, &mut new, &report).unwrap_err();
        let said = problems.to_string();
        assert!(
            said.contains("f:1:") && said.contains("until it is restarted"),
            "{said}"
        );
    }
}
