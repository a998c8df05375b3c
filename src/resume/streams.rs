//! [`Streams`]: all kept streams of the process, how they are found, and how much they may take.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use tokio::time::Instant;

use super::claim::{Claim, Waiting};
use super::cursor::{Began, Token};
use super::identity::{Identity, Secret, Tag};
use super::kept::{Attachment, KeptStream, Origin};
use super::saved::SavedHead;
use crate::config::{Credential, History};
use crate::metrics::{Deduplicated, Eviction, Metrics, Resumed};
use crate::sse::EndReason;

/// All kept streams of the process.
pub struct Streams {
    secret: Secret,
    index: Mutex<Index>,
    /// How much memory they may take, and how many there may be.
    memory: AtomicUsize,
    most: AtomicUsize,
    pub(super) metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Index {
    streams: HashMap<Token, Arc<KeptStream>>,
    /// The newest with each key.
    keys: HashMap<[u8; 16], Token>,
    /// By identity and target, those with ids of the backend's.
    owners: HashMap<[u8; 16], Vec<Token>>,
    /// By session of MCP.
    sessions: HashMap<[u8; 16], Vec<Token>>,
    shares: HashMap<[u8; 16], usize>,
    claims: HashMap<[u8; 16], Arc<Claim>>,
    /// Those that have ended, the oldest first.
    ended: VecDeque<Token>,
    /// Those that nobody reads, with the moment at which half their time of grace is over.
    waiting: VecDeque<(Instant, Token)>,
}

/// A stream that somebody asks for by its name.
#[derive(Debug)]
pub enum Found {
    /// It is theirs.
    Own(Arc<KeptStream>),
    /// It is somebody else's, who must not be told of.
    Foreign,
    /// There is none.
    None,
}

/// So much of all streams one identity may have.
const SHARE: usize = 10;
/// A stream is not promised a history for which there is less room than this.
const ROOM: usize = 32 * 1024;

impl Streams {
    /// None so far.
    pub fn new(metrics: &Arc<Metrics>) -> io::Result<Arc<Self>> {
        let secret = Secret::new().ok_or_else(|| io::Error::other("no random bits"))?;
        let streams = Self {
            secret,
            index: Mutex::default(),
            memory: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            metrics: metrics.clone(),
        };
        streams.limit(&History::default());
        Ok(Arc::new(streams))
    }

    /// So much they may take from now on.
    pub fn limit(&self, history: &History) {
        let memory = usize::try_from(history.memory).unwrap_or(usize::MAX);
        self.memory.store(memory, Ordering::Relaxed);
        self.most.store(history.streams, Ordering::Relaxed);
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who asks, by what the request shows on `route`.
    pub fn identity(
        &self,
        route: &str,
        credentials: &[Credential],
        headers: &HeaderMap,
    ) -> Identity {
        self.secret.identity(route, credentials, headers)
    }

    /// What these parts say, for `identity` alone.
    pub fn tag(&self, identity: &Identity, kind: &'static str, parts: &[&[u8]]) -> Tag {
        let own = [identity.tag().as_bytes(), kind.as_bytes()];
        self.secret
            .tag(own.into_iter().chain(parts.iter().copied()))
    }

    /// What these parts say.
    pub fn tag_of(&self, parts: &[&[u8]]) -> Tag {
        self.secret.tag(parts.iter().copied())
    }

    /// Keeps a stream that begins now, if there is room for it.
    pub fn begin(
        self: &Arc<Self>,
        began: Began,
        origin: Origin,
        head: SavedHead,
    ) -> Option<Arc<KeptStream>> {
        if self.is_full(&origin) || !self.has_memory() {
            self.metrics.resume.refused();
            return None;
        }
        let stream = KeptStream::new(Token::new(began)?, origin, head, self.clone());
        let token = *stream.token();
        let mut index = self.index();
        let origin = stream.origin();
        if let Some(key) = &origin.key {
            index.keys.insert(*key.as_bytes(), token);
        }
        let lists = [&origin.owner, &origin.session];
        let Index {
            owners, sessions, ..
        } = &mut *index;
        for (tag, list) in lists.into_iter().zip([owners, sessions]) {
            if let Some(tag) = tag {
                list.entry(*tag.as_bytes()).or_default().push(token);
            }
        }
        *index.shares.entry(*origin.share.as_bytes()).or_default() += 1;
        index.streams.insert(token, stream.clone());
        drop(index);
        self.metrics.resume.begun();
        Some(stream)
    }

    /// Whether there are as many as there may be, also after those that have ended went; or whether this identity has its share.
    fn is_full(&self, origin: &Origin) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        loop {
            let index = self.index();
            let own = index.shares.get(origin.share.as_bytes()).copied();
            if own.unwrap_or_default() >= (most / SHARE).max(1) {
                return true;
            }
            if index.streams.len() < most {
                return false;
            }
            drop(index);
            if !self.evict_one(Eviction::Streams) {
                return true;
            }
        }
    }

    fn has_memory(&self) -> bool {
        self.evict(ROOM)
    }

    /// One takes `now` bytes, and took `before`; whether all together take no more than they may.
    pub(super) fn account(&self, before: usize, now: usize) -> bool {
        let bytes = self.metrics.resume.bytes_changed(before, now);
        bytes <= self.memory.load(Ordering::Relaxed)
    }

    /// Drops histories that nobody was promised any more until all are within their limit, with so much `room` to spare; whether they are.
    pub(super) fn evict(&self, room: usize) -> bool {
        while self.metrics.resume.bytes() + room > self.memory.load(Ordering::Relaxed) {
            if !self.evict_one(Eviction::Memory) {
                return false;
            }
        }
        true
    }

    /// A history gave up what it could have kept, since all together take too much.
    pub(super) fn shortened(&self) {
        self.metrics.resume.evicted(Eviction::Shortened);
    }

    /// Those that have ended go first, the oldest of them before the others, then those that have waited for half their time.
    fn evict_one(&self, why: Eviction) -> bool {
        let victim = {
            let mut index = self.index();
            let Index {
                streams,
                ended,
                waiting,
                ..
            } = &mut *index;
            let ended = std::iter::from_fn(|| ended.pop_front());
            let mut ended = ended.filter_map(|token| streams.get(&token).cloned());
            let found = ended.find(|stream| stream.is_unread());
            found.or_else(|| {
                let now = Instant::now();
                let half = std::iter::from_fn(|| waiting.pop_front_if(|(at, _)| *at <= now));
                let mut half = half.filter_map(|(_, token)| streams.get(&token).cloned());
                half.find(|stream| stream.is_unread())
            })
        };
        let Some(victim) = victim else {
            return false;
        };
        victim.stop(EndReason::GraceOver);
        self.remove(&victim);
        victim.discard(); // whoever still reads its upstream may take a moment to let it go
        self.metrics.resume.evicted(why);
        true
    }

    /// `stream` has ended.
    pub(super) fn ended(&self, stream: &KeptStream) {
        self.index().ended.push_back(*stream.token());
    }

    /// Nobody reads `stream` from now on.
    pub(super) fn unread(&self, stream: &KeptStream) {
        let grace = stream.origin().settings.resume.grace.unwrap_or_default();
        let Some(half) = Instant::now().checked_add(grace / 2) else {
            return;
        };
        let mut index = self.index();
        let Index {
            streams, waiting, ..
        } = &mut *index;
        // Whoever comes and goes all the time is not to leave a trace each time.
        let waits = |token: &Token| streams.get(token).is_some_and(|stream| stream.is_unread());
        while waiting.front().is_some_and(|(_, token)| !waits(token)) {
            waiting.pop_front();
        }
        waiting.push_back((half, *stream.token()));
    }

    /// `stream` cannot be found any more.
    pub(super) fn remove(&self, stream: &Arc<KeptStream>) {
        let token = stream.token();
        let origin = stream.origin();
        let mut index = self.index();
        if index.streams.remove(token).is_none() {
            return;
        }
        let Index {
            streams,
            keys,
            owners,
            sessions,
            shares,
            claims,
            ended,
            waiting,
        } = &mut *index;
        if let Some(key) = &origin.key
            && keys.get(key.as_bytes()) == Some(token)
        {
            keys.remove(key.as_bytes());
        }
        for (tag, lists) in [(&origin.owner, owners), (&origin.session, sessions)] {
            if let Some(tag) = tag
                && let Some(list) = lists.get_mut(tag.as_bytes())
            {
                list.retain(|one| one != token);
                if list.is_empty() {
                    lists.remove(tag.as_bytes());
                }
            }
        }
        let share = origin.share.as_bytes();
        if let Some(own) = shares.get_mut(share) {
            *own -= 1;
            if *own == 0 {
                shares.remove(share);
            }
        }
        if let Some(tag) = &origin.claim {
            let is_its =
                |claim: &Arc<Claim>| claim.kept().is_some_and(|kept| Arc::ptr_eq(&kept, stream));
            if claims.get(tag.as_bytes()).is_some_and(is_its) {
                claims.remove(tag.as_bytes());
            }
        }
        // What is gone is skipped where these are read; but they must not grow with every stream that ever was.
        let is_gone = |token: &Token| !streams.contains_key(token);
        while ended.front().is_some_and(is_gone) {
            ended.pop_front();
        }
        while waiting.front().is_some_and(|(_, token)| is_gone(token)) {
            waiting.pop_front();
        }
        drop(index);
        self.metrics.resume.forgotten();
    }

    /// The stream with this name, if it is that of `identity`.
    pub fn find(&self, token: &Token, identity: &Identity) -> Found {
        let found = self.index().streams.get(token).cloned();
        // The same is done for a stream that is not there, so that nobody finds out by the time it takes.
        let other = Tag::default();
        let owner = found
            .as_ref()
            .map_or(&other, |stream| stream.origin().identity.tag());
        match (found.as_ref().map(Arc::clone), owner == identity.tag()) {
            (Some(stream), true) => Found::Own(stream),
            (Some(_), false) => Found::Foreign,
            (None, _) => Found::None,
        }
    }

    /// The stream with this name, if it is that of whoever shows what is in `headers`.
    pub fn find_as_shown(&self, token: &Token, headers: &HeaderMap) -> Option<Arc<KeptStream>> {
        let stream = self.index().streams.get(token).cloned()?;
        let origin = stream.origin();
        let credentials = &origin.settings.resume.identity;
        let shown = self.identity(&origin.route_info.route, credentials, headers);
        (shown == origin.identity).then_some(stream)
    }

    /// The stream with this key.
    pub fn find_by_key(&self, key: &Tag) -> Option<Arc<KeptStream>> {
        let index = self.index();
        let token = index.keys.get(key.as_bytes())?;
        index.streams.get(token).cloned()
    }

    /// The stream of `owner` that has sent the backend's `id`, the newest first, and the event that had it.
    pub fn find_by_id(&self, owner: &Tag, id: &[u8]) -> Option<(Arc<KeptStream>, u64)> {
        let streams: Vec<_> = {
            let index = self.index();
            let tokens = index.owners.get(owner.as_bytes())?.iter().rev();
            tokens
                .filter_map(|token| index.streams.get(token).cloned())
                .collect()
        };
        let mut found = streams.into_iter();
        found.find_map(|stream| {
            let sequence = stream.find(id)?;
            Some((stream, sequence))
        })
    }

    /// The streams of a session.
    pub fn of_session(&self, session: &Tag) -> Vec<Arc<KeptStream>> {
        let index = self.index();
        let tokens = index.sessions.get(session.as_bytes());
        let tokens = tokens.into_iter().flatten();
        tokens
            .filter_map(|token| index.streams.get(token).cloned())
            .collect()
    }

    /// Streams that nobody reads, and that go on all the same.
    pub fn unread_streams(&self) -> Vec<Arc<KeptStream>> {
        let index = self.index();
        let streams = index.streams.values();
        let unread = streams.filter(|stream| stream.grace_left().is_some());
        unread.cloned().collect()
    }

    /// Claims `tag`, unless somebody has: then that is returned.
    pub fn claim(self: &Arc<Self>, tag: Tag, body: Tag) -> Result<Waiting, Arc<Claim>> {
        let mut index = self.index();
        if let Some(claim) = index.claims.get(tag.as_bytes()) {
            return Err(claim.clone());
        }
        let waiting = Waiting::new(body, tag, self);
        index
            .claims
            .insert(*tag.as_bytes(), waiting.claim().clone());
        Ok(waiting)
    }

    /// Claims `tag`, whoever has it.
    pub fn claim_anyway(self: &Arc<Self>, tag: Tag, body: Tag) -> Waiting {
        let waiting = Waiting::new(body, tag, self);
        let claim = waiting.claim().clone();
        self.index().claims.insert(*tag.as_bytes(), claim);
        waiting
    }

    /// Who has claimed `tag`.
    pub fn claim_of(&self, tag: Tag) -> Option<Arc<Claim>> {
        self.index().claims.get(tag.as_bytes()).cloned()
    }

    /// `claim` has nothing to give: the next may have its tag.
    pub fn release(&self, claim: &Arc<Claim>, tag: Tag) {
        let mut index = self.index();
        let is_its = |known: &Arc<Claim>| Arc::ptr_eq(known, claim);
        if index.claims.get(tag.as_bytes()).is_some_and(is_its) {
            index.claims.remove(tag.as_bytes());
        }
    }

    /// A request was one that had been sent before.
    pub fn deduplicated(&self, how: Deduplicated) {
        self.metrics.resume.deduplicated(how);
    }

    /// What came of a client's wish to go on.
    pub fn count(&self, result: Resumed) {
        self.metrics.resume.resumed(result);
    }

    /// A client has come back to `stream`.
    pub(super) fn resumed(&self, attachment: &Attachment, stream: &KeptStream) {
        let result = if attachment.waiting > 0 {
            Resumed::Replayed
        } else {
            Resumed::Live
        };
        self.metrics.resume.resumed(result);
        self.metrics.resume.away(attachment.away);
        self.metrics.resume.replayed_events(attachment.waiting);
        let origin = stream.origin();
        tracing::info!(
            route = &*origin.route_info.route,
            path = &*origin.path,
            from = attachment.place.passed(),
            replayed_events = attachment.waiting,
            away_ms = u64::try_from(attachment.away.as_millis()).unwrap_or(u64::MAX),
            "stream resumed"
        );
    }

    /// So many events came while nobody read them.
    pub(super) fn unread_events(&self, events: u64) {
        self.metrics.resume.unread_events(events);
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}
