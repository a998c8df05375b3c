//! An event stream, or a change of protocol, to an HTTP/1 client past hyper: the head is written here, and what follows it by
//! whoever gets the connection.

use http::{Version, response};
use hyper::ext::ReasonPhrase;

use super::deliver::Asked;
use crate::body::{EventFlow, Framing, Relay};
use crate::client::{ClientStream, Fate, Heir, Reader};
use crate::wire::Spelling;

/// A head, with the events that leave together with it, is seldom longer, in bytes.
const ROOM: usize = 4 * 1024;

/// Answers `asked` with the event stream `flow`, after `head`.
pub(super) fn begin(
    client: &dyn Reader,
    asked: &Asked,
    head: response::Parts,
    spelling: Spelling,
    flow: EventFlow,
) {
    let version = asked.version;
    let wants_close = asked.wants_close;
    let relay = move |near: ClientStream| {
        let (framing, fate, fields) = if version == Version::HTTP_10 {
            (Framing::Close, Fate::Ends, &b""[..])
        } else if wants_close || near.client().is_last_response() {
            let fields = &b"connection: close\r\ntransfer-encoding: chunked\r\n"[..];
            (Framing::Chunked, Fate::Ends, fields)
        } else {
            let fields = &b"transfer-encoding: chunked\r\n"[..];
            (Framing::Chunked, Fate::GoesOn, fields)
        };
        let head = write_head(&head, version, &spelling, fields);
        Relay::new(flow, near, head, framing, fate)
    };
    client.hand_over(Heir::Relay(Box::new(|near| Box::pin(relay(near)))));
}

/// The bytes of a response's head, with `fields` after its own.
pub(super) fn write_head(
    head: &response::Parts,
    version: Version,
    spelling: &Spelling,
    fields: &[u8],
) -> Vec<u8> {
    let version: &[u8] = match version {
        Version::HTTP_10 => b"HTTP/1.0",
        _ => b"HTTP/1.1",
    };
    let own = head.extensions.get::<ReasonPhrase>();
    let phrase = own.map_or_else(
        || {
            head.status
                .canonical_reason()
                .unwrap_or_default()
                .as_bytes()
        },
        ReasonPhrase::as_bytes,
    );
    let mut bytes = Vec::with_capacity(ROOM);
    for part in [version, head.status.as_str().as_bytes()] {
        bytes.extend_from_slice(part);
        bytes.push(b' ');
    }
    bytes.extend_from_slice(phrase);
    bytes.extend_from_slice(b"\r\n");
    for (name, value) in &head.headers {
        bytes.extend_from_slice(spelling.spell(name.as_str()));
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(fields);
    bytes.extend_from_slice(b"\r\n");
    bytes
}
