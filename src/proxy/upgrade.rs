//! Connections that change their protocol (WebSocket and others): after a 101 the bytes pass both ways until both sides are done.

use http::header::{CONNECTION, HeaderMap, UPGRADE};
use http::{HeaderValue, Request, Version};
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};

use super::request::names;
use crate::client::{ClientStream, Fate, Heir, Reader};
use crate::exchange::Exchange;
use crate::reason::Reason;
use crate::upstream::Tunnel;

/// How many bytes wait for each side at the most.
const BUFFER: usize = 8 * 1024;

/// The protocols that a request offers to change to.
///
/// `h2c` is left out: it would be HTTP/2 to the upstream behind the proxy's back, and RFC 9113, section 3.1, has obsoleted it.
pub(super) fn offered<B>(request: &Request<B>) -> Option<HeaderValue> {
    let headers = request.headers();
    let protocols = headers.get(UPGRADE)?;
    let is_h2c = protocols
        .as_bytes()
        .to_ascii_lowercase()
        .starts_with(b"h2c");
    (request.version() == Version::HTTP_11 && names(headers, CONNECTION, "upgrade") && !is_h2c)
        .then(|| protocols.clone())
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
        Fate::Ends
    };
    client.hand_over(Heir::Tunnel(Box::new(move |near| Box::pin(join(near)))));
}
