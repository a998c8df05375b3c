//! One request over HTTP/1.1 on an upstream's socket: its head and body out, the response's in.
//!
//! Both ways go on at once, as HTTP/1.1 allows: a response may begin, and end, while the request's body is still on its way. What
//! is on its way then has a task of its own ([`Sending`](crate::sending::Sending)), since nobody polls a response whose client takes nothing.

mod connection;
mod head;
mod inflow;
mod outflow;
mod trailers;

pub use self::connection::{Connection, Keeper};
pub use self::head::{Head, HeadError, HeadReader, Limits, Response};
pub use self::inflow::Inflow;
pub use self::outflow::Outflow;
