//! What counts for the whole process: the access log, trusted proxies, and timeouts that run before a request has a route.

use super::super::inherit::{effective, effective_all};
use super::super::model::Server;
use super::super::output::Output;
use super::super::units;
use super::Converter;

impl<'a> Converter<'a> {
    /// One line for each request, if any server writes one to a file.
    pub(super) fn access_log(&mut self, servers: &[&'a Server<'a>], output: &mut Output) {
        let locations = servers
            .iter()
            .flat_map(|server| server.locations.iter().map(|location| &location.levels));
        let levels = servers.iter().map(|server| &server.levels).chain(locations);
        let logs = levels.flat_map(|levels| effective_all(levels, "access_log"));
        for directive in logs.filter(|directive| directive.arg(0) != "off") {
            let format = directive
                .args
                .get(1)
                .filter(|format| !format.contains('='))
                .map_or("combined", String::as_str);
            let defined = self
                .model
                .http
                .iter()
                .find(|inner| inner.name == "log_format" && inner.arg(0) == format);
            let is_json = defined.is_some_and(|defined| {
                defined.arg(1) == "escape=json" || defined.arg(1).trim_start().starts_with('{')
            });
            let form = if is_json { "json" } else { "combined" };
            self.report.kept(directive);
            if format != "combined" {
                self.report.note(format!("the log format `{format}` became `\"{form}\"`; `log.access` can also be a template"));
            }
            self.report.note("the access log goes to standard output, for whatever collects the output of services");
            output
                .access_log
                .get_or_insert_with(|| (form, self.at(directive).text));
        }
    }

    /// What counts for the whole process.
    pub(super) fn process(&mut self, servers: &[&'a Server<'a>], output: &mut Output) {
        let http = [self.model.http];
        let levels = servers
            .iter()
            .map(|server| &server.levels[..])
            .chain([&http[..]]);
        for levels in levels {
            for directive in effective_all(levels, "set_real_ip_from") {
                let proxy = directive.arg(0);
                let is_network = proxy.parse::<ipnet::IpNet>().is_ok()
                    || proxy.parse::<std::net::IpAddr>().is_ok();
                if proxy == "unix:" {
                    self.report
                        .implied(directive, "clients on a Unix socket are trusted");
                } else if !is_network {
                    self.report.left_out(
                        directive,
                        "`server.trusted_proxies` takes addresses and networks",
                    );
                } else {
                    self.report.kept(directive);
                    if !output.trusted_proxies.iter().any(|known| known == proxy) {
                        output.trusted_proxies.push(proxy.to_owned());
                    }
                }
            }
            for (name, key) in [
                ("keepalive_timeout", "keep_alive"),
                ("client_header_timeout", "request_head"),
            ] {
                let Some(directive) = effective(levels, name) else {
                    continue;
                };
                let is_set = output.timeouts.iter().find(|(known, ..)| *known == key);
                match (units::duration(directive.arg(0)), is_set) {
                    (Some(0), _) if name == "keepalive_timeout" => self.report.left_out(
                        directive,
                        "connections of clients are kept; `timeouts.keep_alive` says how long",
                    ),
                    (Some(time), None) if time > 0 => {
                        self.report.kept(directive);
                        output.timeouts.push((
                            key,
                            units::written_duration(time),
                            self.at(directive).text,
                        ));
                    }
                    (Some(time), Some((_, known, _)))
                        if *known == units::written_duration(time) =>
                    {
                        self.report.kept(directive);
                    }
                    (Some(_), Some(_)) => self.report.left_out(
                        directive,
                        format!("`timeouts.{key}` is one for all listeners"),
                    ),
                    _ => self.report.left_out(
                        directive,
                        format!(
                            "`{}` is no duration that `timeouts.{key}` could be",
                            directive.arg(0)
                        ),
                    ),
                }
            }
        }
    }
}
