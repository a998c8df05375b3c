//! Connections that are kept for the next request, or shared by several.

use std::rc::Rc;
use std::time::Duration;

use http::Request;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::{Terms, Transport, Upstream, http2};
use crate::body::RequestBody;
use crate::http1::{Connection, Keeper};

/// How long an idle connection is kept: less than the 5 s after which Node.js closes it, so that a request seldom meets the close.
const IDLE: Duration = Duration::from_secs(4);
/// The most idle connections to one upstream that a thread keeps.
const MAX_IDLE: usize = 64;

/// How long a kept connection may have been idle for a request that cannot be repeated: the longer, the likelier it is that the
/// upstream closes it at that moment.
const RECENT: Duration = Duration::from_secs(1);

impl Upstream {
    /// Has a task close idle connections in time, since no request may come that would find them expired.
    pub(super) fn start_reaper(self: &Rc<Self>) {
        if self.has_reaper.replace(true) {
            return;
        }
        let upstream = Rc::downgrade(self);
        spawn_local(async move {
            loop {
                sleep(IDLE / 2).await;
                let Some(upstream) = upstream.upgrade() else {
                    return;
                };
                upstream.discard_expired();
                if upstream.idle.borrow().is_empty() && upstream.shared.borrow().is_empty() {
                    upstream.has_reaper.set(false);
                    return;
                }
            }
        });
    }

    /// Closes connections that have been idle for too long.
    fn discard_expired(&self) {
        let now = Instant::now();
        self.idle.borrow_mut().retain(|(connection, since)| {
            now.duration_since(*since) < connection.idle_limit.min(IDLE) && connection.is_quiet()
        });
        self.discard_expired_shared();
    }

    fn discard_expired_shared(&self) {
        self.shared
            .borrow_mut()
            .retain(|connection| connection.is_worth_keeping());
    }

    /// An open connection. Of the idle HTTP/1.1 ones the most recently used, so that the others can
    /// [expire](Self::discard_expired).
    pub(super) fn kept(
        &self,
        request: &Request<RequestBody>,
        terms: &Terms<'_>,
    ) -> Option<Transport> {
        if let Some(connection) = self.logged_in(terms) {
            self.health.reused();
            return Some(Transport::Http1(connection));
        }
        self.discard_expired_shared();
        if !terms.upgrades
            && let Some(connection) = self.usable()
        {
            self.health.reused();
            return Some(Transport::Http2(connection));
        }
        let newest = if may_repeat(request) { IDLE } else { RECENT };
        loop {
            let mut idle = self.idle.borrow_mut();
            let (_, since) = idle.last()?;
            if since.elapsed() >= newest {
                return None; // the others are older
            }
            let (connection, since) = idle.pop()?;
            if since.elapsed() < connection.idle_limit.min(IDLE) && connection.is_quiet() {
                self.health.reused();
                return Some(Transport::Http1(connection));
            }
        }
    }

    /// The connection on which the client has authenticated (NTLM, Negotiate).
    fn logged_in(&self, terms: &Terms<'_>) -> Option<Connection> {
        let connection = terms.client.take_login(&self.config)?;
        connection.is_quiet().then_some(connection)
    }

    pub(super) fn usable(&self) -> Option<Rc<http2::Connection>> {
        let shared = self.shared.borrow();
        let usable = shared.iter().find(|connection| connection.is_usable());
        usable.cloned()
    }
}

impl Keeper for Upstream {
    fn keep(self: Rc<Self>, mut connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE {
            connection.is_reused = true;
            idle.push((connection, Instant::now()));
            self.start_reaper();
        }
    }
}

/// Whether a request can be sent again: its whole body is still here, and it is idempotent (RFC 9110, section 9.2.2).
fn may_repeat(request: &Request<RequestBody>) -> bool {
    request.method().is_idempotent() && request.body().is_repeatable()
}
