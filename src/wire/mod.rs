//! HTTP/1 as bytes, and the PROXY protocol before it, sans-IO.
//!
//! hyper serves clients. This module sees what hyper does not show: what a load balancer says of its client before the first
//! request, where a request ends on the connection (so that a pipelined byte never hides a client's leaving), and what a parser
//! would be lenient about (so that no two parsers read a request differently). Everything that upstreams say over HTTP/1 is read
//! here, as leniently as browsers read it, and what goes on is one message that everybody reads alike.

mod chunked;
mod fields;
mod forwarded;
mod framing;
mod head;
mod proxy_protocol;
mod request_head;
mod response_head;

pub use self::chunked::{BadChunk, Chunked, Piece, is_only_chunked};
pub use self::fields::{
    elements, has_element, is_event_stream, is_event_stream_type, is_other_stream,
};
pub use self::forwarded::{ForwardedElement, forwarded_elements, node_address};
pub use self::framing::{BodyLength, Framing, has_no_body};
pub use self::head::{HeadWriter, respell};
pub use self::proxy_protocol::{BadProxyHeader, ProxyHeader};
pub use self::request_head::{
    Malformed, RequestHead, origin_form, request_target, with_valid_target,
};
pub use self::response_head::{BadHead, Field, ResponseHead, Section};
