//! The doctor: which hop breaks an event stream, measured from outside.
//!
//! ```text
//! measure      sends a request by the sidecar's own upstream code, and notes when which bytes arrive
//! observation  what was seen of one response
//! arrivals     the same decoded, and taken apart into events
//! judge        rules: from what was seen to findings; no I/O, no timeout
//! rule, finding, chain, fixes   what can be found, who is in the chain, what to change there
//! plan, origin what a probe sends, and who sends it
//! report       what a person reads, and what a program does
//! ```
//!
//! There are two kinds of stream. Of any stream only the times of arrival are known, and patterns in them. A probe is a stream
//! of the doctor's own at the end of the chain: each event says when it was sent, and every byte is known.

mod arrivals;
mod chain;
mod expect;
mod finding;
mod fixes;
mod judge;
mod measure;
mod observation;
mod origin;
mod plan;
mod probing;
mod report;
mod request;
mod rule;
mod run;
#[cfg(test)]
mod testing;
mod timeline;

pub use self::arrivals::{Arrival, Arrivals, Burst};
pub use self::chain::{Hop, Product, hops};
pub use self::expect::Expectation;
pub use self::finding::{Certainty, Finding, counted, seconds, size};
pub use self::fixes::Fix;
pub use self::judge::{Disconnect, Measured, OriginChecks, Preflight, judge, judge_one};
pub use self::measure::{MeasureError, Progress, watch};
pub use self::observation::{End, Head, Observation, Read};
pub use self::origin::{Answer, Origin, PATH, ProbeStream, SHORTEST_TOKEN, TOKEN, Token};
pub use self::plan::{BadPlan, LONGEST_WATCH, Plan, Step, What};
pub use self::report::Report;
pub use self::request::{Protocol, RequestOptions, Target, UsageError};
pub use self::rule::{Rule, Weight};
pub use self::run::{Examination, OnEvent, PhaseEvent, summary};
pub use self::timeline::Timeline;
