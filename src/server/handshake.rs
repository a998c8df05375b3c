//! From an accepted connection to a client: what comes before the first byte of HTTP.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::{Accepted, ListenerSettings, ShutdownWatch, Stage};
use crate::alarm::Alarm;
use crate::client::{Client, ConnectionSettings};
use crate::metrics::Metrics;
use crate::problem;
use crate::reason::Reason;
use crate::socket::Socket;
use crate::tls;
use crate::wire::{BadProxyHeader, ProxyHeader};

/// Why there is no client on a connection.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Without a byte: a load balancer that looks whether the port is open.
    #[error("it was closed before it said anything")]
    Empty,
    #[error("it was closed inside its PROXY protocol header")]
    Cut,
    #[error(transparent)]
    Bad(#[from] BadProxyHeader),
    #[error("it speaks plain HTTP, and this listener TLS")]
    PlainHttp,
    #[error("TLS failed: {}", tls::explain_client(.0))]
    Tls(io::Error),
    #[error("its PROXY protocol header, or TLS, was not done in time")]
    Late,
    #[error("the sidecar is shutting down")]
    Draining,
}

/// The client on a connection, once it has passed what `settings` require; `None` if it is closed instead.
///
/// A PROXY protocol header and the TLS handshake together have the `request_head` timeout.
pub(super) async fn admit(
    accepted: Accepted,
    settings: ListenerSettings,
    connection_settings: ConnectionSettings,
    shutdown: Rc<ShutdownWatch>,
    metrics: Arc<Metrics>,
) -> Option<Rc<Client>> {
    let peer = accepted.peer();
    let admitted = async {
        let socket = accepted.into_socket();
        if !settings.proxy_protocol && settings.tls.is_none() {
            return Ok((socket, peer));
        }
        let passing = Box::pin(pass(&settings, socket, peer)); // short-lived, and large
        in_time(passing, connection_settings.request_head, &shutdown).await
    };
    match admitted.await {
        Ok((socket, peer)) => {
            let client = Client::new(socket, peer, connection_settings);
            Some(Rc::new(client.at(settings.name)))
        }
        Err(lost) => {
            if matches!(lost, Lost::Tls(_)) || matches!(lost, Lost::Late) && settings.tls.is_some()
            {
                metrics.tls_handshake_failed();
            }
            if let Some(reason) = lost.reason() {
                metrics.refused(reason);
            }
            tracing::debug!(
                error = &lost as &dyn std::error::Error,
                peer = peer.map(tracing::field::display),
                "connection closed before its first request"
            );
            None
        }
    }
}

type Introduced = Result<(Socket, Option<SocketAddr>), Lost>;

/// Identifies the client of a connection from `peer`, and sets up TLS.
async fn pass(
    settings: &ListenerSettings,
    mut socket: Socket,
    peer: Option<SocketAddr>,
) -> Introduced {
    let named = if settings.proxy_protocol {
        read_header(&mut socket).await?
    } else {
        None
    };
    if let Some(tls) = &settings.tls {
        // A record of TLS begins with a number below 32 (RFC 8446, section 5.1), a method with a letter.
        if socket
            .first_byte()
            .await
            .is_some_and(|byte| byte.is_ascii_alphabetic())
        {
            socket.finish(&problem::text(Reason::TlsExpected)).await;
            return Err(Lost::PlainHttp);
        }
        socket = socket.accept_tls(tls.current()).await.map_err(Lost::Tls)?;
    }
    Ok((socket, named.or(peer)))
}

/// Waits until the timeout or the shutdown.
async fn in_time(
    passing: Pin<Box<impl Future<Output = Introduced>>>,
    clock: Option<Duration>,
    shutdown: &ShutdownWatch,
) -> Introduced {
    let deadline = clock.and_then(|clock| Instant::now().checked_add(clock));
    let mut alarm = Alarm::default();
    let mut registration = shutdown.register();
    let mut passing = passing;
    poll_fn(|cx| {
        registration.update(cx);
        if let Poll::Ready(passed) = passing.as_mut().poll(cx) {
            return Poll::Ready(passed);
        }
        if shutdown.stage() != Stage::Running {
            return Poll::Ready(Err(Lost::Draining));
        }
        match deadline {
            Some(at) => alarm.poll(cx, at).map(|()| Err(Lost::Late)),
            None => Poll::Pending,
        }
    })
    .await
}

/// Reads the header and no byte after it: those are for TLS or HTTP.
async fn read_header(socket: &mut Socket) -> Result<Option<SocketAddr>, Lost> {
    let mut bytes = Vec::new();
    loop {
        let needs = match ProxyHeader::parse(&bytes)? {
            ProxyHeader::Needs(needs) => needs,
            ProxyHeader::Whole(client) => return Ok(client),
        };
        let read = (&mut *socket)
            .take(needs as u64)
            .read_buf(&mut bytes)
            .await?;
        match read {
            0 if bytes.is_empty() => return Err(Lost::Empty),
            0 => return Err(Lost::Cut),
            _ => {}
        }
    }
}

impl Lost {
    /// The reason it counts as, if the client caused it.
    fn reason(&self) -> Option<Reason> {
        match self {
            Self::Io(_) | Self::Tls(_) | Self::Empty | Self::Draining => None,
            Self::Cut | Self::Bad(_) => Some(Reason::ProxyHeaderInvalid),
            Self::PlainHttp => Some(Reason::TlsExpected),
            Self::Late => Some(Reason::RequestHeadTimeout),
        }
    }
}
