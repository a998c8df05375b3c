//! The little HTTP/1 that the proxy must read for itself, and the PROXY protocol before it, sans-IO.
//!
//! hyper parses heads and frames ordinary bodies. This module sees what hyper does not show: what a load balancer says of its
//! client before the first request, where a request ends on the connection (so that a pipelined byte never hides a client's
//! leaving), what a parser would be lenient about (so that no two parsers read a request differently), and the body of an event
//! stream, which is read straight from the upstream's socket.

mod chunked;
mod proxy_protocol;
mod request_head;
mod response_head;

pub use self::chunked::{BadChunk, Chunked, Piece, is_only_chunked};
pub use self::proxy_protocol::{BadProxyHeader, ProxyHeader};
pub use self::request_head::{Malformed, RequestHead};
pub use self::response_head::{Length, ResponseHead, Spelling, is_event_stream};
