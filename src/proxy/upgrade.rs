//! Connections that change their protocol (WebSocket and others): after a 101 the bytes pass both ways until both sides are done.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONNECTION, HeaderMap, UPGRADE};
use http::{HeaderValue, Request, Version};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes};

use super::request::names;
use crate::body::Activity;
use crate::client::{ClientStream, Disposition, Downstream, Takeover};
use crate::exchange::Exchange;
use crate::reason::Reason;
use crate::upstream::Tunnel;
use crate::wire::elements;

/// How many bytes wait for each side at the most.
const BUFFER: usize = 8 * 1024;

/// The protocols that a request offers to switch to, from all lines of the field. Over HTTP/2 only one that was `translated` does.
///
/// Other versions of HTTP and TLS are left out, for both would end at the sidecar: `h2c` would be HTTP/2 to the upstream behind its
/// back, and RFC 9113, section 3.1, has obsoleted it; Apache's `HttpClient` offers `TLS/1.2` with every request.
pub(super) fn offered<B>(request: &Request<B>, translated: bool) -> Option<HeaderValue> {
    let headers = request.headers();
    let lines = headers.get_all(UPGRADE).iter().map(HeaderValue::as_bytes);
    let protocols: Vec<&[u8]> = elements(lines)
        .filter(|protocol| may_pass(protocol))
        .collect();
    let is_offer = !protocols.is_empty()
        && (request.version() == Version::HTTP_11 || translated)
        && names(headers, CONNECTION, "upgrade");
    HeaderValue::from_bytes(&protocols.join(&b", "[..]))
        .ok()
        .filter(|_| is_offer)
}

fn may_pass(protocol: &[u8]) -> bool {
    let name = protocol
        .split(|&byte| byte == b'/')
        .next()
        .unwrap_or_default();
    !["h2c", "h2", "http", "tls"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
}

/// Announces in a head without hop-by-hop fields that the connection switches to `protocols`.
pub(super) fn announce(headers: &mut HeaderMap, protocols: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocols);
}

/// Writes the 101's `head`, and joins the client's connection with the upstream's. Half-closed, they may be silent for `timeout`.
pub(super) fn join(
    client: &dyn Downstream,
    head: Vec<u8>,
    tunnel: Tunnel,
    mut exchange: Exchange,
    timeout: Option<Duration>,
) {
    let join = async move |mut near: ClientStream| {
        let mut tunnel = tunnel;
        let activity = Activity::default();
        let passing = async {
            near.write_all(&head).await?;
            near.flush().await?; // over TLS it would wait for the upstream's first byte
            let mut near = Watched::new(&mut near, &activity, Some(&exchange));
            let mut far = Watched::new(&mut tunnel, &activity, None);
            copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER).await
        };
        let passed = tokio::select! {
            passed = passing => Some(passed),
            () = activity.silence(timeout) => None,
        };
        exchange.end(match passed {
            Some(Ok(_)) => Reason::Complete,
            Some(Err(_)) if near.has_failed() => Reason::ClientGone,
            Some(Err(_)) => Reason::UpstreamFailed,
            None => Reason::UpstreamReadTimeout,
        });
        Disposition::Close
    };
    client.hand_over(Takeover::Tunnel(Box::new(move |near| Box::pin(join(near)))));
}

/// One side of a tunnel, whose every move is noted.
struct Watched<'a, S> {
    stream: &'a mut S,
    activity: &'a Activity,
    /// Whose bytes are counted that are written to it.
    exchange: Option<&'a Exchange>,
}

impl<'a, S> Watched<'a, S> {
    fn new(stream: &'a mut S, activity: &'a Activity, exchange: Option<&'a Exchange>) -> Self {
        Self {
            stream,
            activity,
            exchange,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.stream).poll_read(cx, buf))?;
        if buf.filled().len() == before {
            self.activity.half_closed();
        } else {
            self.activity.moved();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.stream).poll_write(cx, buf))?;
        self.activity.moved();
        if let Some(exchange) = self.exchange {
            exchange.sent(written as u64);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_not_end_here_is_offered() {
        for (lines, offer) in [
            (&[][..], None),
            (&["websocket"], Some("websocket")),
            (&["h2c"], None),
            (&["H2C, TLS/1.2", "HTTP/2.0"], None),
            (&["x, h2c"], Some("x")),
            (&["h2c, websocket"], Some("websocket")),
            (&["h2c", "WebSocket, x/1"], Some("WebSocket, x/1")),
        ] {
            let mut request = Request::builder().header("connection", "Upgrade, HTTP2-Settings");
            for line in lines {
                request = request.header("upgrade", *line);
            }
            let offered = offered(&request.body(()).unwrap(), false);
            assert_eq!(offered, offer.map(HeaderValue::from_static), "{lines:?}");
        }
    }
}
