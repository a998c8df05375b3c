//! The whole file: listeners, what counts for the process, and routes.

use std::fmt;

use super::route::Route;
use super::toml::{Toml, quoted};

/// One `[[listener]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) is_proxy_protocol: bool,
    /// Certificates and keys; the first is the default.
    pub(super) certificates: Vec<(String, String)>,
    pub(super) client_ca: Option<String>,
    pub(super) from: String,
}

/// The whole file.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) source: String,
    pub(super) listeners: Vec<Listener>,
    pub(super) trusted_proxies: Vec<String>,
    /// `[timeouts]`
    pub(super) timeouts: Vec<(&'static str, String, String)>,
    /// `log.access`, with where it is from.
    pub(super) access_log: Option<(&'static str, String)>,
    pub(super) routes: Vec<Route>,
}

/// The file.
impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            listeners,
            trusted_proxies,
            timeouts,
            access_log,
            routes,
        } = self;
        writeln!(f, "# Imported from {}.", comment(source))?;
        for listener in listeners {
            write!(f, "\n{listener}")?;
        }
        if !trusted_proxies.is_empty() {
            let proxies = Toml::List(
                trusted_proxies
                    .iter()
                    .map(|proxy| proxy.as_str().into())
                    .collect(),
            );
            write!(f, "\n[server]\ntrusted_proxies = {proxies}\n")?;
        }
        if !timeouts.is_empty() {
            f.write_str("\n[timeouts]\n")?;
        }
        for (key, value, from) in timeouts {
            line(f, "", &format!("{key} = {}", quoted(value)), from)?;
        }
        if let Some((form, from)) = access_log {
            f.write_str("\n[log]\n")?;
            line(f, "", &format!("access = {}", quoted(form)), from)?;
        }
        for route in routes {
            write!(f, "\n{route}")?;
            if let Some(stand_in) = route.stand_in() {
                write!(f, "{stand_in}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            address,
            is_proxy_protocol,
            certificates,
            client_ca,
            from,
        } = self;
        line(f, "", "[[listener]]", from)?;
        if !name.is_empty() {
            writeln!(f, "name = {}", quoted(name))?;
        }
        writeln!(f, "address = {}", quoted(address))?;
        if *is_proxy_protocol {
            writeln!(f, "proxy_protocol = true")?;
        }
        match &**certificates {
            [] => {}
            [(certificate, key)] => {
                writeln!(f, "tls.certificate = {}", quoted(certificate))?;
                writeln!(f, "tls.private_key = {}", quoted(key))?;
            }
            several => {
                f.write_str("tls.certificates = [\n")?;
                for (certificate, key) in several {
                    writeln!(
                        f,
                        "  {{ certificate = {}, private_key = {} }},",
                        quoted(certificate),
                        quoted(key)
                    )?;
                }
                f.write_str("]\n")?;
            }
        }
        if let Some(ca) = client_ca {
            writeln!(f, "tls.client_ca = {}", quoted(ca))?;
        }
        Ok(())
    }
}

/// A line with where it is from.
pub(super) fn line(
    f: &mut fmt::Formatter<'_>,
    prefix: &str,
    text: &str,
    from: &str,
) -> fmt::Result {
    if from.is_empty() {
        return writeln!(f, "{prefix}{text}");
    }
    writeln!(f, "{prefix}{text:<width$}  # {}", comment(from), width = 50)
}

/// Text for a `#` comment.
pub(super) fn comment(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
