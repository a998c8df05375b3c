//! An upstream that has a certificate for each host (`tls.server_name = "from-host"`). Requests on a connection have to be for that
//! connection's name, so each name has connections of its own: Apache answers 421 where the two differ.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::Request;
use http::header::HOST;
use http::uri::Authority;

use super::{Error, Upstream};
use crate::config;
use crate::reason::Reason;
use crate::tls::{ClientTls, PeerName, ServerName};

/// How many names a thread keeps connections for: hosts come from clients.
const MOST: usize = 64;

/// The upstream for each name, the most recently used last.
#[derive(Debug, Default)]
pub(super) struct ByHost(RefCell<Vec<(ServerName<'static>, Rc<Upstream>)>>);

impl Upstream {
    /// The upstream for the host that the request names; `None` if all hosts are the same here.
    pub(super) fn for_host<B>(&self, request: &Request<B>) -> Result<Option<Rc<Self>>, Error> {
        let Some(tls) = &self.config.tls else {
            return Ok(None);
        };
        if tls.server_name != PeerName::FromHost {
            return Ok(None);
        }
        let name = name(request).ok_or_else(|| {
            let detail = "the request's host is not a name that a certificate can have";
            Error::new(Reason::UpstreamTlsFailed, Some(detail.to_owned()))
        })?;
        let mut known = self.by_host.0.borrow_mut();
        let upstream = match known.iter().position(|(known, _)| *known == name) {
            Some(at) => known.remove(at).1,
            None => Rc::new(self.for_name(tls, &name)),
        };
        if known.len() >= MOST {
            known.remove(0); // requests that are with it keep it
        }
        known.push((name, upstream.clone()));
        Ok(Some(upstream))
    }

    fn for_name(&self, tls: &ClientTls, name: &ServerName<'static>) -> Self {
        let config = config::Upstream {
            address: self.config.address.clone(),
            tls: Some(ClientTls {
                server_name: PeerName::Fixed(name.clone()),
                ..tls.clone()
            }),
        };
        Self::with_health(
            self.name.clone(),
            Arc::new(config),
            self.tls.clone(),
            self.health.clone(),
        )
    }
}

fn name<B>(request: &Request<B>) -> Option<ServerName<'static>> {
    let host = request.headers().get(HOST)?.to_str().ok()?;
    let authority: Authority = host.parse().ok()?;
    let host = authority.host();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = bare
        .unwrap_or(host)
        .trim_end_matches('.')
        .to_ascii_lowercase();
    ServerName::try_from(host).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names() {
        for (host, expected) in [
            ("a.example", Some("a.example")),
            ("A.example.:8443", Some("a.example")),
            ("192.0.2.1:1", Some("192.0.2.1")),
            ("[2001:db8::1]:1", Some("2001:db8::1")),
            ("a b", None),
            ("", None),
        ] {
            let request = Request::builder().header(HOST, host).body(()).unwrap();
            let found = name(&request).map(|name| name.to_str().into_owned());
            assert_eq!(found.as_deref(), expected, "{host}");
        }
    }
}
