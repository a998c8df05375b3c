//! A request over HTTP/1.1.
//!
//! Each connection is driven by a small task of its own, which is aborted with the [`Lease`] that its request holds: whoever drops
//! the request closes the connection, in every phase. An event stream is read from the socket itself ([`TakenBody`]).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use http::header::{CONNECTION, TE, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::{JoinHandle, spawn_local};

use super::gate::{Gate, Latch};
use super::{
    Answer, AnswerBody, Error, Failed, HttpBody, Share, Source, TakenBody, Terms, Tunnel,
    wait_for_head,
};
use crate::alarm::Alarm;
use crate::body::{self, Upload};
use crate::metrics::Phase;
use crate::reason::Reason;
use crate::socket::Socket;
use crate::tls;
use crate::wire::{Spelling, is_only_chunked};

/// What hyper may hold of an ordinary response that the client does not take yet.
const BUFFER: usize = 64 * 1024;

/// A connection that belongs to one request. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Lease {
    sender: http1::SendRequest<Upload>,
    driver: JoinHandle<Option<Gate>>,
    latch: Rc<Latch>,
    /// Of the `response_head` clock: kept, since the next request's only has to be moved.
    alarm: Alarm,
    pub(super) reused: bool,
}

/// A connection over `socket`.
pub(super) async fn handshake(socket: Socket) -> Result<Lease, Error> {
    let (gate, latch) = Gate::new(socket);
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(gate))
        .await
        .map_err(|error| Error::new(Reason::UpstreamUnreachable, Some(error.to_string())))?;
    let driver = spawn_local(drive(connection, latch.clone()));
    Ok(Lease {
        sender,
        driver,
        latch,
        alarm: Alarm::default(),
        reused: false,
    })
}

/// Drives hyper's side of a connection until it is over or to be set aside.
async fn drive(
    mut connection: http1::Connection<TokioIo<Gate>, Upload>,
    latch: Rc<Latch>,
) -> Option<Gate> {
    let taken = poll_fn(|cx| {
        if latch.is_taken() {
            return Poll::Ready(true);
        }
        Pin::new(&mut connection).poll(cx).map(|result| {
            if let Err(error) = result {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "upstream connection failed"
                );
            }
            latch.is_shut() // hyper leaves a connection by itself that changes its protocol
        })
    });
    taken.await.then(|| connection.into_parts().io.into_inner())
}

impl Lease {
    /// Whether the upstream has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether it takes another request.
    pub(super) async fn is_ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Sends `request` and waits for its response's head.
    pub(super) async fn send(
        mut self,
        mut request: Box<Request<Upload>>,
        terms: &Terms<'_>,
    ) -> Result<Answer, Failed> {
        terms.phase.set(Phase::WaitingForHead);
        *request.version_mut() = Version::HTTP_11;
        if request.headers().contains_key(TE) && !terms.upgrades {
            let headers = request.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
        self.latch.expect_head(terms.detect, terms.upgrades);
        let latch = self.latch.clone();
        let mut response = pin!(self.sender.try_send_request(*request));
        let head = wait_for_head(terms, &mut self.alarm, |cx| {
            if let Some((status, headers)) = latch.take_interim(cx) {
                (terms.interim)(status, headers);
                // Whoever waited for it has its turn before the response, which may have come with it.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            response.as_mut().poll(cx)
        });
        let response = match head.await? {
            Ok(response) => response,
            Err(mut error) => {
                let unsent = error.take_message().filter(|_| self.reused).map(Box::new);
                let stale = self.reused && !self.latch.has_answered();
                let error = before_head(&error.into_error(), terms);
                return Err(Failed {
                    error,
                    unsent,
                    stale,
                    refused: false,
                });
            }
        };
        Ok(self.into_answer(response, terms).await?)
    }

    async fn into_answer(
        mut self,
        response: Response<Incoming>,
        terms: &Terms<'_>,
    ) -> Result<Answer, Error> {
        let (head, incoming) = response.into_parts();
        let invalid =
            |detail: &str| Error::new(Reason::UpstreamInvalidHead, Some(detail.to_owned()));
        let codings = head.headers.get_all(TRANSFER_ENCODING).iter();
        if !is_only_chunked(codings.map(HeaderValue::as_bytes)) {
            return Err(invalid("its Transfer-Encoding is not just `chunked`"));
        }
        let Some((facts, spelling)) = self.latch.held_head() else {
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(invalid(
                    "it changes the protocol, and nobody has asked for that",
                ));
            }
            let body = AnswerBody::Plain(
                body::Incoming::Http1(incoming),
                super::Lease(Share::Whole(self)),
            );
            return Ok(Answer {
                head,
                spelling: Spelling::default(),
                body,
            });
        };
        let upgraded = facts.status == StatusCode::SWITCHING_PROTOCOLS.as_u16();
        if !terms.upload.is_done() && !upgraded {
            // The request's body is still on its way, and hyper has it.
            self.latch.open();
            let source = Source::Http1(HttpBody::new(incoming, self, &facts));
            return Ok(Answer {
                head,
                spelling,
                body: AnswerBody::Events(source),
            });
        }
        self.latch.take();
        let gate = (&mut self.driver).await.ok().flatten();
        let (socket, rest) = gate
            .ok_or_else(|| Error::new(Reason::UpstreamClosedBeforeHead, None))?
            .into_parts();
        let body = if upgraded {
            AnswerBody::Upgraded(Tunnel::new(socket, rest))
        } else {
            AnswerBody::Events(Source::Taken(TakenBody::new(socket, rest, &facts)))
        };
        Ok(Answer {
            head,
            spelling,
            body,
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why hyper failed before there was a response's head.
fn before_head(error: &hyper::Error, terms: &Terms<'_>) -> Error {
    let source = std::error::Error::source(error);
    // Such as a client certificate that is not accepted, of which TLS 1.3 tells only after the handshake.
    let failed = source.and_then(|source| source.downcast_ref());
    if let Some(failed) = failed.filter(|failed| tls::is_tls_error(failed)) {
        return Error::new(Reason::UpstreamTlsFailed, Some(tls::explain(failed)));
    }
    let reason = match terms.upload.failure() {
        Some(reason) => reason,
        None if error.is_parse() => Reason::UpstreamInvalidHead,
        None => Reason::UpstreamClosedBeforeHead,
    };
    let detail = source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    Error::new(reason, Some(detail))
}
