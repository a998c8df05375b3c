//! The little HTTP/1 that the proxy must read for itself, sans-IO.
//!
//! hyper parses heads and frames ordinary bodies. This module sees what hyper does not show: where a request ends on the
//! connection (so that a pipelined byte never hides a client's leaving), what a parser would be lenient about (so that no two
//! parsers read a request differently), and the body of an event stream, which is read straight from the upstream's socket.

mod chunked;
mod request_head;
mod response_head;

pub use self::chunked::{BadChunk, Chunked, Piece, is_only_chunked};
pub use self::request_head::{Malformed, RequestHead};
pub use self::response_head::{Length, ResponseHead, is_event_stream};
