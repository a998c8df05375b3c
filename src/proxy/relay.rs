//! An event stream, or an upgrade, to an HTTP/1 client past hyper: the head is written here, and what follows by the takeover.

use bytes::Bytes;
use http::{Version, response};
use hyper::ext::ReasonPhrase;

use super::deliver::RequestContext;
use crate::body::{EventFlow, Relay, RelayFraming};
use crate::client::{ClientStream, Disposition, Downstream, Takeover};
use crate::wire::HeadWriter;

/// Answers `asked` with the event stream `flow`, after `head`.
pub(super) fn begin(
    client: &dyn Downstream,
    context: &RequestContext,
    head: response::Parts,
    raw: Bytes,
    flow: EventFlow,
) {
    let version = context.version;
    let wants_close = context.wants_close;
    let relay = move |near: ClientStream| {
        let chunked = ("transfer-encoding", "chunked");
        let (framing, disposition, fields) = if version == Version::HTTP_10 {
            (RelayFraming::Close, Disposition::Close, &[][..])
        } else if wants_close || near.client().is_last_response() {
            (
                RelayFraming::Chunked,
                Disposition::Close,
                &[("connection", "close"), chunked][..],
            )
        } else {
            (
                RelayFraming::Chunked,
                Disposition::KeepAlive,
                &[chunked][..],
            )
        };
        let head = write_head(&head, version, &raw, fields);
        Relay::new(flow, near, head, framing, disposition)
    };
    client.hand_over(Takeover::Relay(Box::new(|near| Box::pin(relay(near)))));
}

/// The bytes of a response's head, with `fields` after its own. Those are spelled as in the head `raw`.
pub(super) fn write_head(
    head: &response::Parts,
    version: Version,
    raw: &[u8],
    fields: &[(&str, &str)],
) -> Vec<u8> {
    let version: &[u8] = match version {
        Version::HTTP_10 => b"HTTP/1.0",
        _ => b"HTTP/1.1",
    };
    let own = head
        .extensions
        .get::<ReasonPhrase>()
        .map(ReasonPhrase::as_bytes);
    let canonical = || {
        head.status
            .canonical_reason()
            .unwrap_or_default()
            .as_bytes()
    };
    let reason = own.unwrap_or_else(canonical);
    let mut bytes = HeadWriter::response(version, head.status.as_str().as_bytes(), reason);
    let own = head.headers.iter();
    bytes.fields(
        own.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())),
        raw,
    );
    for (name, value) in fields {
        bytes.field(name.as_bytes(), value.as_bytes());
    }
    bytes.finish()
}
