//! Upstream connections that belong to one client, because it has logged in on them.

use std::cell::RefCell;
use std::sync::Arc;

use crate::config;
use crate::http1::Connection;

/// An upstream connection on which a client has logged in.
#[derive(Debug)]
pub struct Login {
    /// Where to.
    pub upstream: Arc<config::Upstream>,
    /// The connection, between two requests.
    pub connection: Connection,
}

/// A client's logins: one for each upstream.
#[derive(Debug, Default)]
pub(super) struct Logins(RefCell<Vec<Login>>);

impl Logins {
    pub(super) fn keep(&self, login: Login) {
        let before = self.take(&login.upstream);
        self.0.borrow_mut().push(login);
        drop(before);
    }

    pub(super) fn take(&self, upstream: &config::Upstream) -> Option<Connection> {
        let mut logins = self.0.borrow_mut();
        let at = logins
            .iter()
            .position(|login| *login.upstream == *upstream)?;
        Some(logins.swap_remove(at).connection)
    }

    pub(super) fn upstreams(&self) -> Vec<Arc<config::Upstream>> {
        let logins = self.0.borrow();
        logins.iter().map(|login| login.upstream.clone()).collect()
    }

    pub(super) fn clear(&self) {
        let logins = self.0.take();
        drop(logins);
    }
}
