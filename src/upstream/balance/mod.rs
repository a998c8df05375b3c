//! Several upstreams behind one route: which of them gets a request, and which one next if that fails.
//!
//! Each thread has the upstreams and their connections to itself. Shared about an upstream are atomics: how many requests it has,
//! and whether it is available (`upstream_stats`). A table of the available ones is kept until one of them changes. What is done
//! once for all threads, health checks and lookups, is up to [`Background`].

mod background;
mod check;
mod choose;
mod connecting;
mod rendezvous;
mod roster;
mod sampler;

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{Request, StatusCode};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

pub use self::background::Background;
use self::connecting::Connecting;
pub use self::rendezvous::identity;
use self::roster::{Member, Roster};
use super::retry;
use super::{Answer, Error, Failed, Patience, Terms, Upstream};
use crate::body::RequestBody;
use crate::config::{Balance, Policy, RequestLimit};
use crate::metrics::Metrics;
use crate::reason::{Reason, Side};
use crate::upstream_stats::{Fault, InFlight};

/// Several upstreams, as one thread sees them.
#[derive(Debug)]
pub struct Pool {
    config: Arc<Balance>,
    /// Those of the configuration; members may be single addresses of theirs.
    upstreams: Vec<Rc<Upstream>>,
    roster: RefCell<Roster>,
    queue: Arc<Notify>,
    /// How many requests wait until one of them is less busy.
    waiting: Cell<usize>,
    metrics: Arc<Metrics>,
}

/// Where a request goes; reported each time that is decided.
#[derive(Debug)]
pub enum Decision {
    /// To the backend with this index in the configuration, for as long as the guard lives.
    Asked(usize, InFlight),
    /// No longer to the last one, which has failed it.
    FailedOver(Reason),
}

/// Who gets a request.
enum Found {
    /// This one, which counts it from now on.
    Free(Rc<Member>, InFlight),
    /// Every possible backend has reached its limit; the queue to wait in is its own, or that of all.
    Busy(Arc<Notify>),
    /// All were tried.
    Nobody,
}

/// How often those who wait look for themselves: a backend may come back without that a request to it ends.
const LOOK: Duration = Duration::from_millis(250);

impl Pool {
    /// A pool of the backends of `config`; `upstreams` are theirs, in the same order.
    pub fn new(config: Arc<Balance>, upstreams: Vec<Rc<Upstream>>, metrics: Arc<Metrics>) -> Self {
        let queue = Arc::default();
        let roster = Roster::new(&config, &upstreams, &[], &queue, &metrics);
        Self {
            config,
            upstreams,
            roster: RefCell::new(roster),
            queue,
            waiting: Cell::new(0),
            metrics,
        }
    }

    /// The configuration of the pool.
    pub fn config(&self) -> &Arc<Balance> {
        &self.config
    }

    /// Those of its configuration.
    pub fn upstreams(&self) -> impl Iterator<Item = &Rc<Upstream>> {
        self.upstreams.iter()
    }

    /// Sends `request` to one of them and waits for its response's head. Dropping the future cancels the request. `key` is the
    /// hashed value, and `tell` is called with each decision.
    ///
    /// A request that fails is sent to another one if nothing of it was sent, or if it was refused unprocessed; and once if it was
    /// sent, can be repeated without harm (RFC 9110, section 9.2.2), has no body, and nothing was received.
    pub async fn send(
        &self,
        mut request: Box<Request<RequestBody>>,
        terms: &Terms<'_>,
        key: Option<u64>,
        tell: &dyn Fn(Decision),
    ) -> Result<Answer, Error> {
        let mut tried: Vec<Rc<Member>> = Vec::new();
        let mut connecting = Connecting::new(terms);
        let mut was_sent_again = false;
        let mut queue_until = None;
        let busy = || Error::new(Reason::UpstreamBusy, None);
        let found = self.acquire(key, &tried, terms, &mut queue_until).await;
        let (mut member, mut in_flight) = found.ok().flatten().ok_or_else(busy)?;
        loop {
            tell(Decision::Asked(member.backend, in_flight));
            let left = self.roster.borrow().members.len() - tried.len();
            let patience = Patience::Share(connecting.share(left));
            terms.request_body.restart();
            let began = Instant::now();
            let mut failed = match member.upstream.attempt(request, terms, patience).await {
                Ok(answer) => {
                    self.answered(&member, answer.head.status);
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            let reason = failed.error.reason;
            if reason.side() != Side::Upstream {
                return Err(failed.error);
            }
            self.failed(&member, reason);
            let may_repeat = failed.is_silent && !was_sent_again && terms.request_body.is_empty();
            let Some(next) = take_for_another(&mut failed, may_repeat) else {
                return Err(failed.error);
            };
            request = next;
            was_sent_again |= !failed.is_unsent && !failed.is_refused;
            if failed.is_unsent {
                connecting.spend(began.elapsed());
            }
            let last = member.name();
            tried.push(member);
            let mut found = self.acquire(key, &tried, terms, &mut queue_until).await;
            if let Ok(Some((next, _))) = &found {
                self.metrics.upstreams.failed_over();
                tracing::debug!(
                    reason = reason.name(),
                    detail = failed.error.detail,
                    from = last,
                    upstream = next.name(),
                    "request goes to another upstream"
                );
            }
            let pause = connecting.pause().filter(|_| retry::is_worthwhile(reason));
            if let (Ok(None), Some(pause)) = (&found, pause) {
                // All of them may be restarting.
                tell(Decision::FailedOver(reason));
                connecting.spend(pause);
                sleep(pause).await;
                tried.clear();
                found = self.acquire(key, &tried, terms, &mut queue_until).await;
            }
            let Ok(Some(next)) = found else {
                return Err(failed.error);
            };
            tell(Decision::FailedOver(reason));
            (member, in_flight) = next;
        }
    }

    /// Who gets a request that those who were `tried` have failed; `None` if all were tried, an error if all are too busy for too long.
    async fn acquire(
        &self,
        key: Option<u64>,
        tried: &[Rc<Member>],
        terms: &Terms<'_>,
        until: &mut Option<Instant>,
    ) -> Result<Option<(Rc<Member>, InFlight)>, QueueTimeout> {
        let limit = self.config.limit.as_ref();
        // Later requests do not overtake waiting ones.
        if self.waiting.get() == 0 {
            match self.find(key, tried, terms, limit) {
                Found::Free(member, in_flight) => return Ok(Some((member, in_flight))),
                Found::Nobody => return Ok(None),
                Found::Busy(_) => {}
            }
        }
        let Some(limit) = limit else {
            return Ok(None); // without a limit, none is ever busy
        };
        let until = *until.get_or_insert_with(|| Instant::now() + limit.queue_timeout);
        let _waiting = Waiting::enter(self);
        let mut waits_its_turn = self.waiting.get() > 1;
        loop {
            let queue = match self.find_unless(waits_its_turn, key, tried, terms, limit) {
                Found::Free(member, in_flight) => return Ok(Some((member, in_flight))),
                Found::Nobody => return Ok(None),
                Found::Busy(queue) => queue,
            };
            waits_its_turn = false;
            // A request that has ended since then has left its sign.
            let mut freed = pin!(queue.notified());
            loop {
                let now = Instant::now();
                if now >= until {
                    return Err(QueueTimeout);
                }
                if timeout_at(until.min(now + LOOK), freed.as_mut())
                    .await
                    .is_ok()
                {
                    break;
                }
                // To look does not cost the place in the queue.
                match self.find(key, tried, terms, Some(limit)) {
                    Found::Free(member, in_flight) => return Ok(Some((member, in_flight))),
                    Found::Nobody => return Ok(None),
                    Found::Busy(_) => {}
                }
            }
        }
    }

    /// The backend for a request; none yet if it `waits` behind others.
    fn find_unless(
        &self,
        waits: bool,
        key: Option<u64>,
        tried: &[Rc<Member>],
        terms: &Terms<'_>,
        limit: &RequestLimit,
    ) -> Found {
        if !waits {
            return self.find(key, tried, terms, Some(limit));
        }
        let mut roster = self.roster.borrow_mut();
        Found::Busy(match (&self.config.policy, key) {
            (Policy::Hash(_), Some(_)) => roster.choose(key).queue.clone(),
            _ => self.queue.clone(),
        })
    }

    fn find(
        &self,
        key: Option<u64>,
        tried: &[Rc<Member>],
        terms: &Terms<'_>,
        limit: Option<&RequestLimit>,
    ) -> Found {
        let mut roster = self.roster.borrow_mut();
        if !roster.is_current(&self.metrics) {
            let (config, queue) = (&self.config, &self.queue);
            let members = &roster.members;
            *roster = Roster::new(config, &self.upstreams, members, queue, &self.metrics);
        }
        let is_untried = |member: &Rc<Member>| !tried.iter().any(|tried| Rc::ptr_eq(tried, member));
        let policy = &self.config.policy;
        let chosen = if tried.is_empty() {
            Some(logged_in(&roster, terms).unwrap_or_else(|| roster.choose(key)))
        } else {
            roster.choose_other(policy, key, is_untried)
        };
        let Some(mut member) = chosen else {
            return Found::Nobody;
        };
        let Some(limit) = limit else {
            let in_flight = member.stats().engage();
            return Found::Free(member, in_flight);
        };
        loop {
            if let Some(in_flight) = member.stats().engage_below(limit.most) {
                return Found::Free(member, in_flight);
            }
            if matches!(policy, Policy::Hash(_)) && key.is_some() {
                return Found::Busy(member.queue.clone());
            }
            let is_free =
                |member: &Rc<Member>| is_untried(member) && member.stats().active() < limit.most;
            let Some(other) = roster.choose_free(key, is_free) else {
                return Found::Busy(member.queue.clone());
            };
            member = other;
        }
    }

    fn answered(&self, member: &Rc<Member>, status: StatusCode) {
        let upstreams = &self.metrics.upstreams;
        if self.config.unhealthy_status.contains(&status.as_u16()) {
            self.blame(member, Fault::Response, status.as_str());
        } else if member.stats().standing.succeeded(upstreams.now()) {
            upstreams.changed();
            tracing::info!(upstream = member.name(), "upstream answers again");
        }
    }

    fn failed(&self, member: &Rc<Member>, reason: Reason) {
        let fault = match reason {
            Reason::UpstreamUnresolved
            | Reason::UpstreamUnreachable
            | Reason::UpstreamConnectTimeout
            | Reason::UpstreamTlsFailed => Fault::Connection,
            _ => Fault::Response,
        };
        self.blame(member, fault, reason.name());
    }

    /// Ejects `member` for a while, if it has failed often enough and there is another one.
    fn blame(&self, member: &Rc<Member>, fault: Fault, why: &str) {
        let upstreams = &self.metrics.upstreams;
        let now = upstreams.now();
        let is_other_left = || {
            let roster = self.roster.borrow();
            let mut others = roster.members.iter();
            others.any(|other| !Rc::ptr_eq(other, member) && other.stats().standing.is_good(now))
        };
        let ejected = member.stats().standing.failed(fault, now, is_other_left);
        if let Some(time) = ejected {
            upstreams.changed();
            tracing::warn!(
                upstream = member.name(),
                reason = why,
                ejected_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
                "upstream failed: others are used instead"
            );
        }
    }
}

/// All were too busy for too long.
struct QueueTimeout;

/// A request that waits, for as long as this lives.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn enter(pool: &'a Pool) -> Self {
        pool.waiting.set(pool.waiting.get() + 1);
        pool.metrics.upstreams.queue(1);
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
        self.0.metrics.upstreams.queue(-1);
    }
}

/// The upstream on which the client has authenticated: a login belongs to a connection.
fn logged_in(roster: &Roster, terms: &Terms<'_>) -> Option<Rc<Member>> {
    let logins = terms.client.logins();
    if logins.is_empty() {
        return None;
    }
    let has_login = |member: &&Rc<Member>| logins.contains(member.upstream.config());
    roster.members.iter().find(has_login).cloned()
}

/// The request, if it may go to another upstream.
fn take_for_another(failed: &mut Failed, may_repeat: bool) -> Option<Box<Request<RequestBody>>> {
    let (is_unsent, is_refused) = (failed.is_unsent, failed.is_refused);
    let mut request = failed.request.take_if(|request| {
        is_unsent || is_refused || may_repeat && request.method().is_idempotent()
    })?;
    // What HTTP/1 needs to say of the last connection, and HTTP/2 must not.
    if !request.headers().contains_key(UPGRADE) {
        request.headers_mut().remove(CONNECTION);
    }
    Some(request)
}
