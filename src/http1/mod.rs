//! One request over HTTP/1.1 on an upstream's socket: its head and body out, the response's in.
//!
//! Both directions run at once, as HTTP/1.1 allows: a response may begin, and end, while the request's body is still being sent.
//! The rest of the request then has a task of its own ([`Sending`](crate::sending::Sending)), since a response is not polled while
//! its client accepts nothing.

mod connection;
mod head;
mod inflow;
mod outflow;
mod trailers;

pub use self::connection::{Connection, Keeper};
pub use self::head::{Head, HeadError, HeadReader, Limits, Response};
pub use self::inflow::Inflow;
pub use self::outflow::Outflow;
