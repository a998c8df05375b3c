//! The event stream itself, as a sans-IO state machine: bytes and instants in, bytes and an ending out.
//!
//! The grammar, from the HTML standard (section 9.2.5, "Parsing an event stream"):
//!
//! ```text
//! stream  = [ BOM ] *event
//! event   = *( comment / field ) end-of-line
//! comment = ":" *any-char end-of-line
//! field   = name [ ":" [ SPACE ] *any-char ] end-of-line
//! end-of-line = CR LF / LF / CR        ; may be split over two reads
//! ```
//!
//! The promise: what comes out is what went in, in order, with comments inserted only at a [position](Position) where no parser
//! can tell the difference. Take the insertions away and the input is back, byte for byte. How the input was cut into reads
//! never changes the output.
//!
//! Three words are used in one sense only. A *position* is the place between two bytes. A *boundary* is a position at the start
//! of a line with no field of an unfinished event before it. A *heartbeat* is the comment that keeps a silent stream alive.
//!
//! Nothing here does I/O, reads a clock or allocates for a chunk: a driver moves the bytes and owns the timer. There is one for
//! hyper's bodies (`body::EventStreamBody`), and this module knows neither it nor any other.

mod end;
mod failure;
mod heartbeat;
mod history;
pub mod parse;
mod position;
mod stream;
#[cfg(test)]
mod tests;
mod timeouts;

pub use self::end::{End, EndReason, Manner, UpstreamEnd};
pub use self::failure::{Failure, FailureEvent};
pub use self::heartbeat::{FrameChoice, Heartbeat};
pub use self::history::{Gap, History, LONGEST_ID, Place, base36};
pub use self::position::{Insertion, Position};
pub use self::stream::{Client, Counts, EventStream, Output};
pub use self::timeouts::Timeouts;
