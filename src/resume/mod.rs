//! Streams that outlive their clients: kept with their history, so that a client that returns goes on where it was.
//!
//! A *kept stream* is the answer to one request, shared by all threads: its history, how it ended, and who reads it. Whoever holds the
//! upstream's [`EventSource`](crate::body::EventSource) appends to the history: the first client's own stream as long as that client is
//! there, so that a stream nobody leaves costs one copy and no task, and a task of the same thread afterwards. Everybody else reads the
//! history and is woken. A reader finds its place and is registered in one step under the stream's lock, so nothing that comes in
//! between can be missed.
//!
//! A *cursor* is the stream's name and the number of the last event seen. The name is random, so that nothing has to be configured and
//! nothing collides; it is given only to who shows what the first request has shown, its *identity*.

mod claim;
mod cursor;
mod detached;
mod identity;
mod kept;
mod local;
mod reader;
mod saved;
mod state;
mod streams;

pub use self::claim::{Claim, Waiting};
pub use self::cursor::{Began, Cursor, Token};
pub use self::detached::Left;
pub use self::identity::{Identity, Tag};
pub use self::kept::{Ended, KeptStream, Origin, Settings};
pub use self::local::LocalStreams;
pub use self::reader::{Reader, Start};
pub use self::saved::SavedHead;
pub use self::streams::{Found, Streams};
