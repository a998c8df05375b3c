//! The client of a request, and which proxies may speak for it.

use http::HeaderMap;
use http::uri::Scheme;
use ipnet::IpNet;

use crate::client::{ClientAddress, Downstream};
use crate::proxy::forwarded;

/// The client of a request.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct Asker<'a> {
    pub(in crate::proxy) client: &'a dyn Downstream,
    pub(in crate::proxy) address: ClientAddress,
    pub(in crate::proxy) trusted_proxies: &'a [IpNet],
}

impl Asker<'_> {
    /// Sets the forwarded headers.
    pub(in crate::proxy) fn forward(self, headers: &mut HeaderMap) {
        let Self {
            client,
            address,
            trusted_proxies,
        } = self;
        let scheme = if client.is_tls() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        forwarded::tell(headers, client.peer(), address, &scheme, trusted_proxies);
    }
}
