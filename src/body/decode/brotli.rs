//! br.

use std::fmt;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use super::Fault;
use super::layer::{MemberState, Step};

/// One brotli stream.
pub(super) struct Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>);

impl Brotli {
    /// Strict is the format of RFC 7932, with windows up to 16 MiB. `BrotliState::new` would also take the "large
    /// window" extension, where a header of two bytes asks for 1 GiB.
    pub(super) fn new() -> Self {
        let alloc = StandardAlloc::default;
        Self(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let Self(state) = self;
        let (mut read, mut written) = (0, 0);
        let result = BrotliDecompressStream(
            &mut input.len(),
            &mut read,
            input,
            &mut output.len(),
            &mut written,
            output,
            &mut 0,
            state,
        );
        let state = match result {
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => MemberState::Continues,
            BrotliResult::ResultSuccess => MemberState::Ended,
            BrotliResult::ResultFailure => MemberState::Failed(Fault::Corrupt),
        };
        Step {
            read,
            written,
            state,
        }
    }
}

impl fmt::Debug for Brotli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brotli").finish_non_exhaustive()
    }
}
