//! Addresses and certificates.

use std::collections::BTreeMap;

use super::super::inherit::effective;
use super::super::model::{Listen, Server};
use super::super::output::Listener;
use super::super::tree::Directive;
use super::super::value::Scope;
use super::Converter;

impl<'a> Converter<'a> {
    /// The listeners of these servers, in the order of the file, and why addresses cannot be had.
    pub(super) fn listeners(
        &mut self,
        servers: &[&'a Server<'a>],
    ) -> (Vec<Listener>, BTreeMap<String, String>) {
        let mut listeners: Vec<Listener> = Vec::new();
        let mut refused = BTreeMap::new();
        let all: Vec<_> = servers
            .iter()
            .flat_map(|server| server.listens.iter().map(move |listen| (*server, listen)))
            .collect();
        for (server, listen) in &all {
            if let Some(wider) = all
                .iter()
                .map(|(_, other)| other)
                .find(|other| is_wider(other, listen))
            {
                let why = format!(
                    "{} is part of {}, which is listened on too: choose another port",
                    listen.address, wider.address
                );
                if let Some(directive) = listen.directive {
                    self.report.left_out(directive, why.clone());
                }
                refused.insert(listen.address.clone(), why);
                continue;
            }
            if let Some(directive) = listen.directive {
                self.options(directive);
            }
            let from = match listen.directive {
                Some(directive) => self.at(directive).text,
                None => "no `listen`: nginx listens on port 80".to_owned(),
            };
            let index = listeners
                .iter()
                .position(|known| known.address == listen.address);
            let index = index.unwrap_or_else(|| {
                listeners.push(Listener {
                    address: listen.address.clone(),
                    from,
                    ..Listener::default()
                });
                listeners.len() - 1
            });
            let listener = &mut listeners[index];
            listener.is_proxy_protocol |= listen.is_proxy_protocol;
            if listen.is_tls {
                self.certificates(server, listen, listener);
            }
        }
        for (server, listen) in &all {
            let without = |listener: &Listener| {
                listener.address == listen.address && listener.certificates.is_empty()
            };
            if listen.is_tls && listeners.iter().any(without) {
                let why = format!(
                    "{} has TLS, and no certificate was found: add `ssl_certificate` and `ssl_certificate_key`",
                    listen.address
                );
                if let Some(directive) = listen.directive.or(server.directive) {
                    self.report.left_out(directive, why.clone());
                }
                listeners.retain(|listener| listener.address != listen.address);
                refused.insert(listen.address.clone(), why);
            }
        }
        self.client_certificates(servers, &mut listeners);
        self.name(&mut listeners);
        (listeners, refused)
    }

    /// The name of the listener on an address.
    pub(super) fn listener_name(&self, address: &str) -> String {
        self.names.get(address).cloned().unwrap_or_default()
    }

    /// Routes name listeners only where there are several.
    fn name(&mut self, listeners: &mut [Listener]) {
        if listeners.len() < 2 {
            return;
        }
        for listener in listeners {
            let (ip, port) = listener
                .address
                .rsplit_once(':')
                .unwrap_or((&listener.address, ""));
            let mut name = match port {
                _ if listener.address.starts_with("unix:") => "socket".to_owned(),
                "80" => "http".to_owned(),
                "443" => "https".to_owned(),
                port => format!("port-{port}"),
            };
            match ip {
                "[::]" => name.push_str("-ipv6"),
                "0.0.0.0" | "unix" => {}
                ip => {
                    name = format!(
                        "{name}-{}",
                        ip.trim_matches(['[', ']']).replace([':', '.'], "-")
                    );
                }
            }
            let taken = |name: &str| self.names.values().any(|known| known == name);
            let mut number = 2;
            let plain = name.clone();
            while taken(&name) {
                name = format!("{plain}-{number}");
                number += 1;
            }
            self.names.insert(listener.address.clone(), name.clone());
            listener.name = name;
        }
    }

    fn options(&mut self, directive: &'a Directive) {
        for option in directive.args.iter().skip(1) {
            if option == "quic" {
                self.report.left_out(directive, "the sidecar has HTTP/1 and HTTP/2, and no QUIC: clients use those by themselves");
            }
        }
        self.report.kept(directive);
    }

    fn certificates(
        &mut self,
        server: &'a Server<'a>,
        listen: &Listen<'a>,
        listener: &mut Listener,
    ) {
        let certificate = effective(&server.levels, "ssl_certificate");
        let key = effective(&server.levels, "ssl_certificate_key");
        let (Some(certificate), Some(key)) = (certificate, key) else {
            return;
        };
        let scope = Scope {
            levels: &server.levels,
            server_name: server.first_name(),
        };
        let files = [certificate, key].map(|directive| {
            let value = scope.value(directive.arg(0));
            value.literal().map(|path| self.path(path))
        });
        let [Some(certificate_file), Some(key_file)] = files else {
            for directive in [certificate, key] {
                self.report.left_out(
                    directive,
                    "its name depends on the request: name each certificate in `tls.certificates`",
                );
            }
            return;
        };
        self.report.kept(certificate);
        self.report.kept(key);
        let pair = (certificate_file, key_file);
        if listener.certificates.contains(&pair) {
            return;
        }
        match listen.is_default {
            true => listener.certificates.insert(0, pair),
            false => listener.certificates.push(pair),
        }
    }

    /// Client certificates are requested by listener, before a name is known for sure.
    fn client_certificates(&mut self, servers: &[&'a Server<'a>], listeners: &mut [Listener]) {
        for server in servers {
            let Some(verify) = effective(&server.levels, "ssl_verify_client")
                .filter(|directive| directive.arg(0) != "off")
            else {
                continue;
            };
            let ca = effective(&server.levels, "ssl_client_certificate");
            let shares = |other: &&&Server<'a>| {
                other.listens.iter().any(|listen| {
                    server
                        .listens
                        .iter()
                        .any(|own| own.is_tls && own.address == listen.address)
                })
            };
            let is_alone = servers.iter().filter(shares).count() <= 1;
            match ca {
                Some(ca) if verify.arg(0) == "on" && is_alone => {
                    self.report.kept(verify);
                    self.report.kept(ca);
                    let path = self.path(ca.arg(0));
                    let own = listeners.iter_mut().filter(|listener| {
                        server
                            .listens
                            .iter()
                            .any(|listen| listen.is_tls && listen.address == listener.address)
                    });
                    own.for_each(|listener| listener.client_ca = Some(path.clone()));
                }
                _ => {
                    let why = "a listener asks all of its clients for certificates, by `tls.client_ca`, or none: give this server a listener of its own, with `ssl_verify_client on`";
                    self.report.guard(verify, why);
                }
            }
        }
    }
}

/// Whether one address is every address of the machine, of which the other is one.
fn is_wider(wide: &Listen<'_>, narrow: &Listen<'_>) -> bool {
    let split = |address: &str| {
        address
            .rsplit_once(':')
            .map(|(ip, port)| (ip.to_owned(), port.to_owned()))
    };
    let (Some((wide, wide_port)), Some((narrow, port))) =
        (split(&wide.address), split(&narrow.address))
    else {
        return false;
    };
    let is_all = matches!(
        (&*wide, narrow.starts_with('[')),
        ("0.0.0.0", false) | ("[::]", true)
    );
    is_all && wide != narrow && wide_port == port && narrow != "unix"
}
