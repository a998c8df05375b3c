//! One client connection over HTTP/2: each of its streams is answered by a task of its own, beside the connection's.

mod connection;
mod deadlines;
mod downstream;
mod stream;

use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use h2::Reason as Code;
use h2::server::{Builder, Connection as Http};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::connection::ConnectionState;
use self::deadlines::{Deadlines, Due};
use super::{Handler, ShutdownWatch, Stage};
use crate::client::{Client, ClientParts, ConnectionSettings};
use crate::http2::{Io, Payload, PingMonitor, STREAM_WINDOW, Wire};
use crate::metrics::Metrics;
use crate::reason::Reason;

/// The receive window of a whole connection, in bytes.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// The budget against which h2 counts unread small DATA frames. Its default closes a connection, and all its streams, for a few
/// uploads of small messages to a slow backend; this one limits their bookkeeping to some 18 MB (65,793 frames of one byte).
const SMALL_FRAMES: usize = 16 * 1024 * 1024;
/// How long the client has to answer a GOAWAY: until then, a request that crosses with it is still served.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a connection has ended.
enum ConnectionEnd {
    /// It was closed in order.
    Done,
    /// It failed, or the client does not speak HTTP/2.
    Failed(h2::Error),
    /// Writing failed, or the client disconnected.
    Left,
    /// A timeout expired.
    Expired(Reason),
}

/// Serves `client`, which speaks HTTP/2, until the connection ends.
pub(super) async fn serve<H: Handler>(
    client: Client,
    handler: Rc<H>,
    shutdown: Rc<ShutdownWatch>,
    metrics: &Metrics,
) {
    let retires_at = client.retires_at();
    let ClientParts {
        socket,
        peer,
        listener,
        settings: connection_settings,
        unread,
    } = client.into_parts();
    let wire = Wire::new(socket, unread);
    let state = Rc::new(ConnectionState::new(
        wire.clone(),
        peer,
        listener,
        connection_settings,
        shutdown.clone(),
    ));
    let Some(mut http) = shake_hands(&wire, connection_settings, &shutdown).await else {
        return;
    };
    let mut tasks = JoinSet::new();
    let end = {
        let mut deadlines = Deadlines::new(&state, &shutdown, retires_at);
        let mut registration = shutdown.register();
        let mut closed = pin!(wire.socket().closed());
        let mut pings = PingMonitor::new(http.ping_pong());
        poll_fn(|cx| {
            registration.update(cx);
            if deadlines.stage_changed() && shutdown.stage() != Stage::Running {
                http.graceful_shutdown();
                deadlines.leaves_at = Some(Instant::now() + FAREWELL);
            }
            while let Poll::Ready(Some(_)) = tasks.poll_join_next(cx) {}
            loop {
                match http.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        let stream = state.open(respond);
                        tasks.spawn_local(stream.answer(
                            request,
                            handler.clone(),
                            shutdown.clone(),
                        ));
                    }
                    Poll::Ready(Some(Err(error))) => {
                        return Poll::Ready(ConnectionEnd::Failed(error));
                    }
                    Poll::Ready(None) => return Poll::Ready(ConnectionEnd::Done),
                    Poll::Pending => break,
                }
            }
            if let Poll::Ready(Err(_)) = wire.poll_send(cx) {
                return Poll::Ready(ConnectionEnd::Left);
            }
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(ConnectionEnd::Left);
            }
            if state.resets_rapidly() {
                metrics.refused(Reason::RapidReset);
                http.abrupt_shutdown(Code::ENHANCE_YOUR_CALM);
                state.premature_resets.set(0);
                cx.waker().wake_by_ref();
            }
            if state.open.get() > 0 && pings.poll(cx, wire.last_read()).is_ready() {
                return Poll::Ready(ConnectionEnd::Expired(Reason::ClientGone));
            }
            match ready!(deadlines.poll_due(cx)) {
                Due::End(reason) => return Poll::Ready(ConnectionEnd::Expired(reason)),
                Due::Idle => {
                    // No stream is open, so nothing is aborted; a request in flight may be sent again on another connection.
                    http.abrupt_shutdown(Code::NO_ERROR);
                    state.idle_since.set(Instant::now());
                    deadlines.leaves_at = None;
                }
                Due::Retirement => {
                    http.graceful_shutdown();
                    deadlines.retires_at = None;
                    deadlines.leaves_at = Some(Instant::now() + FAREWELL);
                }
            }
            cx.waker().wake_by_ref(); // to write the GOAWAY
            Poll::Pending
        })
        .await
    };
    let is_orderly = state.is_orderly(&end);
    drop(http);
    tasks.shutdown().await; // drops its requests
    if is_orderly {
        wire.finish().await; // sends the GOAWAY
    }
}

/// Exchanges SETTINGS, under the `request_head` timeout; `None` also if the shutdown begins meanwhile.
async fn shake_hands(
    wire: &Rc<Wire>,
    connection_settings: ConnectionSettings,
    shutdown: &ShutdownWatch,
) -> Option<Http<Io, Payload>> {
    let limits = connection_settings.limits;
    let mut handshake = pin!(
        Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.request_head).unwrap_or(u32::MAX))
            .data_frame_budget(SMALL_FRAMES)
            .enable_connect_protocol() // RFC 8441
            .handshake(wire.io())
    );
    let mut registration = shutdown.register();
    let shaken = poll_fn(|cx| {
        registration.update(cx);
        let shaken = handshake.as_mut().poll(cx);
        let _ = wire.poll_send(cx); // h2 sees a failure when it reads
        if shaken.is_pending() && shutdown.stage() != Stage::Running {
            return Poll::Ready(None);
        }
        shaken.map(Some)
    });
    let shaken = match connection_settings.request_head {
        Some(timeout) => tokio::time::timeout(timeout, shaken).await.ok()?,
        None => shaken.await,
    };
    shaken?
        .inspect_err(|error| {
            tracing::debug!(error = error as &dyn Error, "HTTP/2 handshake failed");
        })
        .ok()
}
