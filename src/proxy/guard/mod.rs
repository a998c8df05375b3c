//! Who may call: what a request has to pass between its route and its upstream. A route that asks for nothing of it has no guard.
//!
//! The checks go from the cheapest to the dearest: the rules for addresses, then the password.

mod basic;
mod passwords;
mod refusal;
mod users;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use http::Request;

use self::passwords::Passwords;
pub(super) use self::refusal::Refusal;
use self::users::Users;
pub use self::users::UsersWatcher;
use crate::client::ClientAddress;
use crate::config::{Access, Config};
use crate::reason::Reason;

/// The guards of a configuration, which all threads share: one for each of its routes.
#[derive(Debug, Clone, Default)]
pub struct Guards {
    of_routes: Vec<Option<Arc<Guard>>>,
    users: HashMap<PathBuf, Users>,
    passwords: Arc<Passwords>,
}

/// What the requests of one route have to pass.
#[derive(Debug)]
pub(super) struct Guard {
    access: Access,
    users: Option<Users>,
    passwords: Arc<Passwords>,
}

impl Guards {
    /// The guards of `config`, and what keeps them up to date. What was there `before` goes on: files that are watched, and what
    /// is known of clients.
    pub fn new(config: &Config, before: &Self) -> (Self, Vec<UsersWatcher>) {
        let mut guards = Self {
            of_routes: Vec::with_capacity(config.routes.len()),
            users: HashMap::new(),
            passwords: before.passwords.clone(),
        };
        let mut watchers = Vec::new();
        for route in &config.routes {
            let access = &route.access;
            let is_open = *access == Access::default();
            let users = access.basic_auth.as_ref().map(|file| {
                let known = guards.users.get(file).or_else(|| before.users.get(file));
                let users = known.cloned().unwrap_or_else(|| {
                    let (users, watcher) = users::watch(file.clone());
                    watchers.push(watcher);
                    users
                });
                guards.users.insert(file.clone(), users.clone());
                users
            });
            let guard = Guard {
                access: access.clone(),
                users,
                passwords: guards.passwords.clone(),
            };
            guards.of_routes.push((!is_open).then(|| Arc::new(guard)));
        }
        (guards, watchers)
    }

    /// The guard of the route at `index`, if it has one.
    pub(super) fn of_route(&self, index: usize) -> Option<Arc<Guard>> {
        self.of_routes.get(index).cloned().flatten()
    }
}

impl Guard {
    /// Lets a request of `client` pass, or says why not.
    pub(super) async fn check<B>(
        &self,
        request: &Request<B>,
        client: ClientAddress,
    ) -> Result<(), Refusal> {
        if !self.access.admits(client.ip()) {
            return Err(Refusal::new(Reason::AccessDenied));
        }
        if let Some(users) = &self.users {
            basic::check(request.headers(), &users.current(), &self.passwords).await?;
        }
        Ok(())
    }
}
