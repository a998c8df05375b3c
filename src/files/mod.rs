//! Files of a folder, as the answers of a route.
//!
//! `request` says which file a path names, and refuses every spelling that could name another; `open` is the only place that touches
//! the file system; `conditional`, `range` and `coding` decide, without I/O, what of the file is sent; `respond` writes the head.
//! The bytes are read by [`FileBody`], off the worker's event loop, as everything here that may block.

mod coding;
mod conditional;
mod open;
mod range;
mod request;
mod respond;
#[cfg(test)]
mod tests;
mod weighted;

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, Uri, response};

use self::conditional::Conditions;
use self::open::{Found, Wanted, find};
use self::request::{Target, is_navigation};
use self::respond::{redirect, respond};
use crate::body::{FileBody, Incoming, read_blocking};
use crate::config;
use crate::reason::Reason;

/// The files of one route.
#[derive(Debug, Clone)]
pub struct Files {
    config: Arc<config::Files>,
}

impl Files {
    /// The files that `config` names. Its folder is opened for each request, so that a deployment may put another one in its place.
    pub fn new(config: &config::Files) -> Self {
        Self {
            config: Arc::new(config.clone()),
        }
    }

    /// The response to a request for `uri`, of which `below` is what follows the route's own path, both as the client wrote them.
    pub async fn answer(
        &self,
        method: &Method,
        uri: &Uri,
        below: &str,
        headers: &HeaderMap,
    ) -> Result<(response::Parts, Incoming), Reason> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(Reason::FileMethodRefused);
        }
        let target = Target::parse(uri.path(), below).ok_or(Reason::NoFile)?;
        let wanted = Wanted {
            codings: coding::acceptable(headers),
            falls_back: target.may_fall_back && is_navigation(headers, uri.path()),
            target,
        };
        let conditions = Conditions::of(method, headers);
        let is_head = *method == Method::HEAD;
        let (uri, config) = (uri.clone(), self.config.clone());
        let answer = move || -> io::Result<Option<_>> {
            match find(&config, &wanted)? {
                None => Ok(None),
                Some(Found::Folder) => Ok(Some((redirect(&uri, now()), None))),
                Some(Found::File(opened)) => {
                    let (head, body) = respond(opened, &conditions, now());
                    let body = body.filter(|_| !is_head).map(FileBody::begin);
                    Ok(Some((head, body.transpose()?)))
                }
            }
        };
        match read_blocking(answer).await {
            Ok(Some((head, Some(body)))) => Ok((head, Incoming::File(Box::new(body)))),
            Ok(Some((head, None))) => Ok((head, Incoming::Kept(Bytes::new()))),
            Ok(None) => Err(Reason::NoFile),
            Err(error) => {
                let root = self.config.root.display();
                tracing::warn!(%root, %error, "a file cannot be read");
                Err(Reason::FileFailed)
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "dates in HTTP are the wall clock's, and no deadline depends on them"
)]
fn now() -> SystemTime {
    SystemTime::now()
}
