//! The bodies that pass: requests on their way up, responses on their way down.

mod abort;
pub mod decode;
mod decoded;
mod event_stream;
mod file;
mod flow;
mod incoming;
mod plain;
mod relay;
mod request_body;
mod response;
mod tunnel;

pub use self::abort::Aborted;
pub use self::decoded::DecodedSource;
pub use self::event_stream::EventStreamBody;
pub use self::file::{FileBody, FilePart, read_blocking};
pub use self::flow::{EventFlow, EventSource, Late, LateAnswer, NoEventStream};
pub use self::incoming::{Broken, Incoming};
pub use self::plain::{Inspector, PlainBody};
pub use self::relay::{Relay, RelayFraming};
pub use self::request_body::{Hold, RequestBody, RequestBodyProgress};
pub use self::response::{ForeignBody, ResponseBody};
pub use self::tunnel::{Activity, TunnelBody};
