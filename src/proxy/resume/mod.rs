//! Streams that outlive their clients, as a route has them: which requests begin one, go on with one, stop one, or are the same as one
//! that is being answered.

mod body;
mod cursor;
mod dedupe;
mod deliver;
mod keep;
mod key;
mod preflight;
mod rules;
mod scope;
mod shared;
mod step;
mod stop;

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::UPGRADE;
use http::{Method, Request, StatusCode};

pub(super) use self::cursor::remove_from_raw_head;
pub use self::cursor::without_cursors;
use self::dedupe::Sameness;
pub(super) use self::deliver::{Resumed, events, status};
pub(super) use self::keep::{Keep, KeepCell, is_shared};
use self::rules::{Asker, Instead};
use self::scope::Scope;
pub(super) use self::shared::{ask, saved};
pub(super) use self::step::{After, GoUp, Step};
pub(super) use self::stop::{STOP_PATH, stop_by_cursor};
use super::deliver::RequestContext;
use super::route::Route;
use crate::body::Incoming;
use crate::client::Downstream;
use crate::config::{self, Dedupe, Ids, KeySource};
use crate::exchange::Exchange;
use crate::metrics::Resumed as Outcome;
use crate::reason::Reason;
use crate::resume::{
    Began, Cursor, Found, KeptStream, LocalStreams, Origin, Reader, Settings, Start,
};
use crate::sse::Gap;
use crate::upstream::Error;

/// How a route keeps its streams.
#[derive(Debug)]
pub(super) struct Resuming {
    settings: Arc<Settings>,
    dedupe: Option<Dedupe>,
    local: Rc<LocalStreams>,
}

/// A request that a route looks at before it goes up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) route: &'a Route,
    pub(super) context: &'a RequestContext,
    pub(super) client: &'a Rc<dyn Downstream>,
    pub(super) exchange: &'a Exchange,
}

/// As much of a body is read for the sake of a key.
const MOST_FOR_KEY: usize = 256 * 1024;
/// As much of a body is read to find requests that are the same.
const MOST_FOR_DEDUPE: usize = 1024 * 1024;

/// From this revision on MCP has no cursors, and closing a response stream cancels its request.
const MCP_WITHOUT_RESUME: &str = "2026-07-28";

impl Resuming {
    pub(super) fn new(config: &config::Route, local: &Rc<LocalStreams>) -> Option<Rc<Self>> {
        let is_proxied = config.action.proxied().is_some();
        if !config.resume.is_on() || !is_proxied {
            return None;
        }
        Some(Rc::new(Self {
            settings: Arc::new(Settings {
                resume: config.resume.clone(),
                timeouts: config.timeouts.clone(),
                drain_streams: config.drain_streams,
            }),
            dedupe: config
                .dedupe
                .second
                .is_some()
                .then(|| config.dedupe.clone()),
            local: local.clone(),
        }))
    }

    /// What becomes of `request`. The body of one that does not go to the backend has been read then.
    pub(super) async fn look(
        &self,
        request: &mut Request<Incoming>,
        call: Call<'_>,
    ) -> Result<Step, Error> {
        let step = self.step(request, call).await?;
        if !matches!(step, Step::GoUp(_)) {
            let config = &call.route.config;
            let (most, patience) = (config.limits.request_body, config.timeouts.request_body);
            body::discard(request, most, patience).await;
        }
        Ok(step)
    }

    async fn step(&self, request: &mut Request<Incoming>, call: Call<'_>) -> Result<Step, Error> {
        let mut after = After {
            mends_preflight: preflight::ask(request),
            ..After::default()
        };
        let scope = Scope::of(self, request, call);
        if let Some(next) = self.by_path(request, &scope, call, &mut after) {
            return Ok(next);
        }
        let takes_none = matches!(*request.method(), Method::HEAD | Method::OPTIONS);
        if takes_none {
            // Who asks for no stream is not to take somebody's.
        } else if let Some(cursor) = cursor::of(request) {
            if request.method() == Method::DELETE {
                self.stop(&cursor, &scope);
                return Ok(Step::Status(StatusCode::NO_CONTENT));
            }
            let asker = scope.asker(request);
            match self.by_cursor(cursor, &scope, asker, call) {
                Some(next) => return Ok(next),
                None => after.is_restart = true,
            }
        } else if let Some(found) = self.by_own_id(request, &scope) {
            let (stream, sequence) = found;
            let asker = scope.asker(request);
            let start = Start {
                sequence,
                only: stream.origin().key.is_none(),
                ids: false,
            };
            if let Some(next) = self.resume(&stream, start, asker, call) {
                return Ok(next);
            }
        }
        self.stop_session(request, &scope);
        let mut go_up = GoUp {
            had_cursor_in_target: cursor::remove(request),
            after,
            keep: None,
        };
        if !may_begin(request) {
            return Ok(Step::GoUp(go_up));
        }
        let body = self.body(request, call).await?;
        let same = match self.sameness(request, &scope, body.as_ref(), call).await? {
            Sameness::Other(waiting) => waiting,
            Sameness::Same(stream) => {
                let start = Start {
                    sequence: 0,
                    only: false,
                    ids: self.gives_ids(call.context),
                };
                let asker = scope.asker(request);
                let next = self.resume(&stream, start, asker, call);
                return Ok(next.unwrap_or(Step::GoUp(go_up)));
            }
        };
        let origin = self.origin(request, &scope, body.as_deref(), same.is_by_key, call);
        let began = began(request.method());
        let keep = Keep::new(origin, began, &self.local, same.waiting);
        go_up.keep = Some(Rc::new(RefCell::new(Some(Box::new(keep)))));
        Ok(Step::GoUp(go_up))
    }

    /// A path at which streams are joined or stopped by their key.
    fn by_path(
        &self,
        request: &Request<Incoming>,
        scope: &Scope,
        call: Call<'_>,
        after: &mut After,
    ) -> Option<Step> {
        let resume = &self.settings.resume;
        let streams = self.local.streams();
        let find = |key: &[u8]| {
            let tag = streams.tag(&scope.identity, "key", &[key]);
            streams.find_by_key(&tag)
        };
        if let Some((method, path)) = &resume.stop
            && request.method() == method
            && let Some(key) = key::in_path(path, request)
        {
            after.stops = find(&key);
        }
        let key = key::in_path(resume.at.as_ref()?, request)?;
        let nothing = Step::Status(StatusCode::NO_CONTENT);
        match (find(&key), request.method()) {
            (Some(stream), &Method::DELETE) => {
                stream.stop(crate::sse::EndReason::Stopped);
                Some(nothing)
            }
            (Some(stream), &Method::GET) => {
                let own = cursor::of(request).filter(|own| own.token == *stream.token());
                if own.is_none() && stream.has_ended() && resume.after_end == config::AfterEnd::Stop
                {
                    return Some(nothing);
                }
                let start = Start {
                    sequence: own.map_or(0, |own| own.sequence),
                    only: false,
                    ids: self.gives_ids(call.context),
                };
                let asker = scope.asker(request);
                Some(self.resume(&stream, start, asker, call).unwrap_or(nothing))
            }
            (None, &Method::DELETE | &Method::GET) => Some(nothing),
            _ => None,
        }
    }

    /// A stream that is named by its cursor; `None` if the backend is to be asked anew.
    fn by_cursor(
        &self,
        cursor: Cursor,
        scope: &Scope,
        asker: Asker,
        call: Call<'_>,
    ) -> Option<Step> {
        let streams = self.local.streams();
        match streams.find(&cursor.token, &scope.identity) {
            Found::Own(stream) => {
                let start = Start {
                    sequence: cursor.sequence,
                    only: stream.origin().key.is_none(),
                    ids: stream.origin().ids,
                };
                self.resume(&stream, start, asker, call)
            }
            found => {
                if matches!(found, Found::Foreign) {
                    tracing::info!(
                        route = &*call.route.info.route,
                        client = call
                            .exchange
                            .client_address()
                            .ip()
                            .map(tracing::field::display),
                        "cursor of somebody else's stream"
                    );
                    streams.count(Outcome::Foreign);
                } else {
                    streams.count(Outcome::Unknown);
                }
                instead(self.on_gap(cursor.token.began(), asker), call)
            }
        }
    }

    /// A stream that is named by an id of the backend's, of a client that has shown who it is.
    fn by_own_id(
        &self,
        request: &Request<Incoming>,
        scope: &Scope,
    ) -> Option<(Arc<KeptStream>, u64)> {
        let id = cursor::foreign(request)?;
        self.local.streams().find_by_id(scope.owner.as_ref()?, id)
    }

    /// Goes on with `stream`; `None` if the backend is to be asked anew.
    fn resume(
        &self,
        stream: &Arc<KeptStream>,
        start: Start,
        asker: Asker,
        call: Call<'_>,
    ) -> Option<Step> {
        let streams = self.local.streams();
        if let Some(ended) = stream.ended_for(start.sequence) {
            streams.count(Outcome::AfterEnd);
            let rule = self.settings.resume.after_end;
            return instead(rules::after_end(rule, ended, asker), call);
        }
        let reader = |start| {
            let progress = call.exchange.progress();
            Reader::later(stream, start, &self.local, call.client, progress)
        };
        match reader(start) {
            Ok(reader) => Some(Step::Resume(Box::new(Resumed::new(
                stream,
                reader,
                start.sequence,
            )))),
            Err(Gap::Ahead) => {
                streams.count(Outcome::Unknown);
                instead(self.on_gap(stream.token().began(), asker), call)
            }
            Err(Gap::Missed(_)) => {
                streams.count(Outcome::Gap);
                let what = self.on_gap(stream.token().began(), asker);
                if what != Instead::Continue {
                    return instead(what, call);
                }
                // Between the two looks more may have gone.
                let oldest = stream.oldest();
                let missed = oldest.saturating_sub(start.sequence);
                let reader = reader(Start {
                    sequence: oldest,
                    ..start
                })
                .ok()?;
                let resumed = Resumed::new(stream, reader, oldest);
                Some(Step::Resume(Box::new(resumed.after_gap(missed))))
            }
        }
    }

    fn on_gap(&self, began: Began, asker: Asker) -> Instead {
        rules::on_gap(self.settings.resume.on_gap, began, asker)
    }

    fn stop(&self, cursor: &Cursor, scope: &Scope) {
        let found = self.local.streams().find(&cursor.token, &scope.identity);
        if let Found::Own(stream) = found {
            stream.stop(crate::sse::EndReason::Stopped);
        }
    }

    /// A client of MCP ends its session: nobody will ask for its streams.
    fn stop_session(&self, request: &Request<Incoming>, scope: &Scope) {
        if request.method() != Method::DELETE {
            return;
        }
        let Some(session) = &scope.session else {
            return;
        };
        for stream in self.local.streams().of_session(session) {
            stream.stop(crate::sse::EndReason::Stopped);
        }
    }

    /// The body of `request`, if something is to be found in it.
    async fn body(
        &self,
        request: &mut Request<Incoming>,
        call: Call<'_>,
    ) -> Result<Option<Bytes>, Error> {
        let is_json = |source: &KeySource| matches!(source, KeySource::Json(_));
        let has_key = self.settings.resume.key.as_ref().is_some_and(is_json);
        let most = match &self.dedupe {
            Some(_) if *request.method() != Method::GET => MOST_FOR_DEDUPE,
            _ if has_key => MOST_FOR_KEY,
            _ => return Ok(None),
        };
        let config = &call.route.config;
        let limit = config.limits.request_body.map(usize::try_from);
        let most = limit.map_or(most, |limit| most.min(limit.unwrap_or(usize::MAX)));
        body::read(request, most, config.timeouts.request_body, &**call.client).await
    }

    fn origin(
        &self,
        request: &Request<Incoming>,
        scope: &Scope,
        body: Option<&[u8]>,
        is_by_key: bool,
        call: Call<'_>,
    ) -> Origin {
        let streams = self.local.streams();
        let key = self.settings.resume.key.as_ref();
        let key = key.and_then(|source| key::of(source, request, body));
        let tag = |key: Cow<'_, [u8]>| streams.tag(&scope.identity, "key", &[&key]);
        Origin {
            route_info: call.route.info.clone(),
            identity: scope.identity,
            owner: scope.owner,
            key: key.map(tag),
            claim: None,
            is_by_key,
            share: scope.share,
            session: scope.session,
            method: request.method().clone(),
            path: request.uri().path().into(),
            ids: self.gives_ids(call.context),
            settings: self.settings.clone(),
        }
    }

    /// Whether the events of this client get ids.
    fn gives_ids(&self, context: &RequestContext) -> bool {
        match self.settings.resume.ids {
            Ids::Always => true,
            Ids::Never => false,
            Ids::Auto => context.takes_ids(),
        }
    }
}

/// What a client gets instead of its stream; `None` if the backend is to be asked anew.
fn instead(instead: Instead, call: Call<'_>) -> Option<Step> {
    Some(match instead {
        Instead::Restart => return None,
        Instead::Gone | Instead::Continue => deliver::gone(call.context),
        Instead::Unknown => Step::Refuse(Reason::ResumeUnknown),
        Instead::NoContent => Step::Status(StatusCode::NO_CONTENT),
        Instead::Empty => Step::Events(Vec::new()),
        Instead::Broken => Step::Broken,
    })
}

fn began(method: &Method) -> Began {
    if *method == Method::GET {
        Began::Get
    } else {
        Began::Other
    }
}

/// Whether a stream that answers `request` may be kept.
fn may_begin<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let version = headers.get("mcp-protocol-version");
    let version = version.and_then(|version| version.to_str().ok());
    // Revisions are dates.
    let has_resume = version.is_none_or(|version| version < MCP_WITHOUT_RESUME);
    let is_bodied = !matches!(*request.method(), Method::HEAD | Method::OPTIONS);
    has_resume && is_bodied && !headers.contains_key(UPGRADE)
}
