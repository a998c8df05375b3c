//! New connections: tried again where that is worthwhile, and shared where requests come together.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::retry::{self, Backoff};
use super::{Error, Patience, Terms, Transport, Upstream, connect, http2};
use crate::config;
use crate::http1::Connection;
use crate::metrics::Phase;
use crate::reason::Reason;
use crate::tls::{self, ClientConfig};

/// How long a request waits for another one to open a connection that both can share. One that takes longer may be stuck.
const SHARED_CONNECT: Duration = Duration::from_secs(1);

impl Upstream {
    /// A new connection, or an HTTP/2 connection that another request has opened meanwhile. An immediate failure is retried.
    pub(super) async fn connect(
        self: &Rc<Self>,
        terms: &Terms<'_>,
        patience: Patience,
    ) -> Result<Transport, Error> {
        terms.phase.set(Phase::Connecting);
        let (timeout, again) = match patience {
            Patience::Own => (terms.connect, retry::patience(terms)),
            Patience::Share(share) => (share, None),
        };
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let until = again.map(|again| Instant::now() + again);
        let mut backoff = Backoff::default();
        let mut last = None;
        loop {
            let connecting = self.connect_once(terms);
            let error = match at_most_until(deadline, connecting).await {
                Some(Ok(transport)) => return Ok(transport),
                Some(Err(error)) => error,
                None => {
                    self.resolver.forget(); // the addresses may have changed
                    let timeout = || Error::new(Reason::UpstreamConnectTimeout, None);
                    return Err(last.unwrap_or_else(timeout));
                }
            };
            let now = Instant::now();
            let until = until.filter(|&until| now < until && retry::is_worthwhile(error.reason));
            let Some(until) = until else {
                return Err(error);
            };
            last = Some(error);
            sleep_until((now + backoff.next()).min(until)).await;
        }
    }

    async fn connect_once(self: &Rc<Self>, terms: &Terms<'_>) -> Result<Transport, Error> {
        // Only HTTP/1.1 can switch protocols.
        let may_share = !terms.upgrades && self.may_speak_http2();
        // Concurrent requests share the connection that the first of them opens, unless it turns out to be HTTP/1.1.
        let mut opening = None;
        if may_share && !self.prefers_http1.get() {
            opening = timeout(SHARED_CONNECT, self.opening.lock()).await.ok();
        }
        if may_share && let Some(connection) = self.usable() {
            return Ok(Transport::Http2(connection));
        }
        if self.prefers_http1.get() {
            opening = None;
        }
        let socket = connect::connect(&self.config, &self.resolver, self.tls(may_share)).await?;
        self.health.connected();
        let scheme = match self.config.address.scheme() {
            config::Scheme::Https if socket.alpn_protocol().as_deref() == Some(tls::H2) => {
                Scheme::HTTPS
            }
            config::Scheme::H2c => Scheme::HTTP,
            config::Scheme::Http | config::Scheme::Https => {
                if may_share {
                    self.prefers_http1.set(true); // although HTTP/2 was offered
                }
                return Ok(Transport::Http1(Connection::new(socket)));
            }
        };
        self.prefers_http1.set(false);
        let connection = http2::handshake(socket, scheme).await?;
        self.shared.borrow_mut().push(connection.clone());
        self.start_reaper();
        drop(opening);
        Ok(Transport::Http2(connection))
    }

    fn may_speak_http2(&self) -> bool {
        match self.config.address.scheme() {
            config::Scheme::Http => false,
            config::Scheme::Https | config::Scheme::H2c => true,
        }
    }

    /// The current TLS configuration; it offers HTTP/2 only if the connection may be `shared`.
    fn tls(&self, shared: bool) -> Option<Arc<ClientConfig>> {
        let mut config = self.tls.as_ref()?.current();
        if !shared {
            Arc::make_mut(&mut config)
                .alpn_protocols
                .retain(|name| name != tls::H2);
        }
        Some(config)
    }
}

/// The output of `future`, or `None` if the deadline passes first.
async fn at_most_until<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}
