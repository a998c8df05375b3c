//! One health check: the request, and what its responses lead to.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use http_body::Body;
use tokio::time::timeout;

use crate::body::{Incoming, RequestBody};
use crate::client::{Downstream, NoClient};
use crate::config::{ConnectRetry, Detect, HealthCheck};
use crate::http1::Limits;
use crate::metrics::Phase;
use crate::upstream::{AnswerBody, Terms, Upstream};

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("sse-sidecar-health/", env!("CARGO_PKG_VERSION")));

/// What the head of an answer may hold.
const LIMITS: Limits = Limits {
    bytes: 64 * 1024,
    fields: 250,
};

/// How much of an answer's body is read, in bytes: its connection can then be used again, and the backend sees no client leave.
const READ: usize = 64 * 1024;

/// What the last answers were.
#[derive(Debug)]
pub(super) struct Health {
    is_well: bool,
    /// Answers in a row that speak for the other.
    against: u32,
}

impl Health {
    /// The health of an unchecked upstream: good until proven otherwise.
    pub(super) fn new() -> Self {
        Self {
            is_well: true,
            against: 0,
        }
    }

    /// Counts a response that was `good`, or not. Returns the new health if it has changed.
    pub(super) fn answered(&mut self, good: bool, check: &HealthCheck) -> Option<bool> {
        if good == self.is_well {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let enough = if good {
            check.healthy_after
        } else {
            check.unhealthy_after
        };
        if self.against < enough {
            return None;
        }
        *self = Self {
            is_well: good,
            against: 0,
        };
        Some(good)
    }
}

/// Checks `upstream` once. The failure, if any, is a reason or a status, with details.
pub(super) async fn ask(
    upstream: &Rc<Upstream>,
    check: &HealthCheck,
    host: Option<&HeaderValue>,
) -> Result<(), (String, Option<String>)> {
    let (body, progress) = RequestBody::new(Incoming::Kept(Bytes::new()), None, 0);
    let mut request = Box::new(Request::new(body));
    *request.uri_mut() = check.path.clone().into();
    let authority = || HeaderValue::from_str(&upstream.config().address.authority()).ok();
    let headers = request.headers_mut();
    if let Some(host) = host.cloned().or_else(authority) {
        headers.insert(HOST, host);
    }
    headers.insert(USER_AGENT, AGENT);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    let client: Rc<dyn Downstream> = Rc::new(NoClient);
    let terms = Terms {
        detect: Detect::Auto,
        other_streams: false,
        raw_head: Bytes::new(),
        limits: LIMITS,
        upgrades: false,
        connect: None,
        connect_retry: ConnectRetry::Off,
        wants_events: false,
        client: &client,
        response_head: None,
        request_body: &progress,
        interim: &|_, _| {},
        phase: &Cell::new(Phase::Connecting),
    };
    let asked = async {
        let answer = upstream.send(request, &terms).await;
        let answer = answer.map_err(|error| (error.reason.name().to_owned(), error.detail))?;
        let status = answer.head.status;
        if let AnswerBody::Plain(body) = answer.body {
            read(body).await;
        }
        if status.is_success() || status.is_redirection() {
            Ok(())
        } else {
            Err((status.as_str().to_owned(), None))
        }
    };
    let late = || ("timeout".to_owned(), None);
    timeout(check.timeout, asked).await.map_err(|_| late())?
}

async fn read(mut body: Incoming) {
    let mut length = 0;
    while length < READ
        && let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
    {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_many_in_a_row() {
        let check = HealthCheck {
            path: "/".parse().unwrap(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 3,
        };
        let mut health = Health::new();
        let mut said = String::new();
        // One bad answer after two, and one good one after another, change nothing.
        for answer in "+--+---+-+-++-".chars() {
            said.push(match health.answered(answer == '+', &check) {
                Some(true) => 'w',
                Some(false) => 'u',
                None => '.',
            });
        }
        assert_eq!(said, "......u.....w.");
    }
}
