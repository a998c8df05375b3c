//! gzip and deflate. The library reads gzip's header and trailer and checks its sums.

use flate2::{Decompress, FlushDecompress, Status};

use super::Fault;
use super::layer::{MemberState, Step};

/// The largest window deflate knows, 32 KiB, as a power of two. The format of RFC 1951 does not say which it needs.
const WINDOW_BITS: u8 = 15;

/// One gzip member, or one deflate stream.
#[derive(Debug)]
pub(super) struct Inflate(Decompress);

impl Inflate {
    pub(super) fn gzip() -> Self {
        Self(Decompress::new_gzip(WINDOW_BITS))
    }

    /// RFC 9110, section 8.4.1.2: "Some non-conformant implementations send the "deflate" compressed data without the
    /// zlib wrapper."
    ///
    /// The first byte tells them apart: with the wrapper its low four bits are 8 (RFC 1950, section 2.2). Without, that
    /// would be a stored block with a padding bit set, which no encoder writes.
    pub(super) fn deflate(first: u8) -> Self {
        let is_wrapped = first & 0x0f == 8;
        Self(Decompress::new(is_wrapped))
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let Self(inflate) = self;
        let (read, written) = (inflate.total_in(), inflate.total_out());
        let state = match inflate.decompress(input, output, FlushDecompress::None) {
            Ok(Status::Ok | Status::BufError) => MemberState::Continues,
            Ok(Status::StreamEnd) => MemberState::Ended,
            Err(_) => MemberState::Failed(Fault::Corrupt),
        };
        Step {
            read: difference(inflate.total_in(), read),
            written: difference(inflate.total_out(), written),
            state,
        }
    }
}

/// How far a total has moved in one call, which is at most the length of a slice.
fn difference(now: u64, before: u64) -> usize {
    usize::try_from(now - before).expect("a slice's length fits a usize")
}
