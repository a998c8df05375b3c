//! Access control: the checks between a request's route and its upstream. A route without such settings has no guard.
//!
//! The checks go from the cheapest to the most expensive: the rules for addresses, the limits, the password, then the authorizing
//! service.

mod asker;
mod authorize;
mod basic;
mod certificate;
mod counted;
mod passed;
mod passwords;
mod rates;
mod refusal;
mod streams;
mod users;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use http::Request;
use http::header::{ACCEPT, UPGRADE};
use http_body::Body;

pub(super) use self::asker::Asker;
pub(super) use self::authorize::Authorizer;
use self::counted::Counted;
pub(super) use self::counted::StreamLimit;
pub(super) use self::passed::Passed;
use self::passwords::Passwords;
pub(super) use self::refusal::{More, Refusal};
use self::users::Users;
pub use self::users::UsersWatcher;
use super::request::asks_for_events;
use super::route::Route;
use crate::config::{self, Access, Config, Detect, LimitBy, Limits, Matcher};
use crate::exchange::Exchange;
use crate::reason::Reason;

/// The guards of a configuration, which all threads share: one for each of its routes.
#[derive(Debug, Clone, Default)]
pub struct Guards {
    of_routes: Vec<Option<Arc<Guard>>>,
    users: HashMap<PathBuf, Users>,
    passwords: Arc<Passwords>,
    /// The counts, and for which routes.
    counted: Vec<(Scope, Arc<Counted>)>,
}

/// The routes that share counts: those with the limits of the top level, or one that has its own.
type Scope = (Option<Matcher>, LimitBy);

/// What the requests of one route have to pass.
#[derive(Debug)]
pub(super) struct Guard {
    access: Access,
    users: Option<Users>,
    passwords: Arc<Passwords>,
    limits: Limits,
    counted: Option<Arc<Counted>>,
}

impl Guards {
    /// The guards of `config`, and the tasks that keep them up to date. Watched files and counts of `before` continue.
    pub fn new(config: &Config, before: &Self) -> (Self, Vec<UsersWatcher>) {
        let mut guards = Self {
            of_routes: Vec::with_capacity(config.routes.len()),
            users: HashMap::new(),
            passwords: before.passwords.clone(),
            counted: Vec::new(),
        };
        let mut watchers = Vec::new();
        for route in &config.routes {
            let access = &route.access;
            let is_open = access.is_open() && route.limits == Limits::default();
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
                counted: guards.counted(route, before),
                limits: route.limits.clone(),
            };
            guards.of_routes.push((!is_open).then(|| Arc::new(guard)));
        }
        (guards, watchers)
    }

    /// The counts of a route, if it has limits; they survive a reload.
    fn counted(&mut self, route: &config::Route, before: &Self) -> Option<Arc<Counted>> {
        if !route.limits.counts() {
            return None;
        }
        let own = route.has_own_limits.then(|| route.matcher.clone());
        let scope = (own, route.limits.by.clone());
        let mut known = self.counted.iter().chain(&before.counted);
        let known = known.find(|(known, _)| *known == scope);
        let counted =
            known.map_or_else(|| Arc::new(Counted::new()), |(_, counted)| counted.clone());
        self.counted.push((scope, counted.clone()));
        Some(counted)
    }

    /// The guard of the route at `index`, if it has one.
    pub(super) fn of_route(&self, index: usize) -> Option<Arc<Guard>> {
        self.of_routes.get(index).cloned().flatten()
    }
}

impl Guard {
    /// Admits a request, or refuses it.
    pub(super) async fn check<B: Body>(
        &self,
        request: &Request<B>,
        route: &Route,
        asker: Asker<'_>,
        exchange: &mut Exchange,
    ) -> Result<Passed, Refusal> {
        let client = asker.address;
        let headers = request.headers();
        if !self.access.admits(client.ip()) {
            return Err(Refusal::new(Reason::AccessDenied));
        }
        let mut passed = Passed::default();
        if let Some(counted) = &self.counted {
            passed.stream_limit = counted.check(&self.limits, client, headers)?;
        }
        if wants_stream(request, &route.config)
            && let Some(limit) = passed.stream_limit.take()
        {
            exchange.hold(limit.take()?);
        }
        if let Some(most) = self.limits.request_body
            && request.body().size_hint().lower() > most
        {
            return Err(Refusal::new(Reason::RequestBodyTooLarge));
        }
        if let Some(users) = &self.users {
            basic::check(headers, &users.current(), &self.passwords).await?;
        }
        if self.access.forward_certificate {
            certificate::forward(asker, &mut passed);
        }
        if let Some(authorizer) = &route.authorizer {
            authorizer.check(request, asker, &mut passed).await?;
        }
        Ok(passed)
    }
}

/// Whether the response is expected to be a stream. One that unexpectedly is gets counted when that is known.
fn wants_stream<B>(request: &Request<B>, config: &config::Route) -> bool {
    let events = &config.events;
    request.headers().contains_key(UPGRADE)
        || events.streaming
        || events.detect == Detect::Always
        || asks_for_events(request.headers().get_all(ACCEPT))
}
