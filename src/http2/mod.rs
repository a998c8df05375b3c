//! HTTP/2 as both sides of the proxy use it, on the `h2` crate: the socket under it, and bodies in and out of its streams.
//!
//! hyper's own HTTP/2 is not used: it hides what a stream's `write` timeout, the reason of a reset, interim responses and gathered
//! writes need.

mod inflow;
mod outflow;
mod ping;
mod wire;

pub use self::inflow::{Inflow, Lease};
pub use self::outflow::{Outflow, Payload, QueuedBytes, Sent};
pub use self::ping::PingMonitor;
pub use self::wire::{Io, Wire};

/// How much of one stream a peer may send before it is read, in bytes.
pub const STREAM_WINDOW: u32 = 128 * 1024;
