//! Connections that change their protocol (WebSocket and others): after a 101 the bytes pass both ways until both sides are done.

use http::header::{CONNECTION, HeaderMap, UPGRADE};
use http::{HeaderValue, Request, Version};
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};

use super::request::names;
use crate::client::{ClientStream, Disposition, Reader, Takeover};
use crate::exchange::Exchange;
use crate::reason::Reason;
use crate::upstream::Tunnel;
use crate::wire::elements;

/// How many bytes wait for each side at the most.
const BUFFER: usize = 8 * 1024;

/// The protocols that a request offers to change to, of all lines of the field.
///
/// Other versions of HTTP and TLS are left out, for both would end at the sidecar: `h2c` would be HTTP/2 to the upstream behind its
/// back, and RFC 9113, section 3.1, has obsoleted it; `HttpClient` of Apache offers `TLS/1.2` with every request.
pub(super) fn offered<B>(request: &Request<B>) -> Option<HeaderValue> {
    let headers = request.headers();
    let lines = headers.get_all(UPGRADE).iter().map(HeaderValue::as_bytes);
    let protocols: Vec<&[u8]> = elements(lines)
        .filter(|protocol| may_pass(protocol))
        .collect();
    let is_offer = !protocols.is_empty()
        && request.version() == Version::HTTP_11
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

/// Says in a head that was freed of hop-by-hop fields that the connection changes to `protocols`.
pub(super) fn announce(headers: &mut HeaderMap, protocols: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocols);
}

/// Writes the 101's `head`, and joins the client's connection with the upstream's.
pub(super) fn join(client: &dyn Reader, head: Vec<u8>, tunnel: Tunnel, mut exchange: Exchange) {
    let join = async move |mut near: ClientStream| {
        let mut far = tunnel;
        let passed = async {
            near.write_all(&head).await?;
            copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER).await
        };
        let passed = passed.await;
        exchange.end(match passed {
            Ok(_) => Reason::Complete,
            Err(_) if near.has_failed() => Reason::ClientGone,
            Err(_) => Reason::UpstreamFailed,
        });
        Disposition::Close
    };
    client.hand_over(Takeover::Tunnel(Box::new(move |near| Box::pin(join(near)))));
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
            let offered = offered(&request.body(()).unwrap());
            assert_eq!(offered, offer.map(HeaderValue::from_static), "{lines:?}");
        }
    }
}
