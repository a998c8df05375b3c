//! zstd.

use std::fmt;

use zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd_safe::{DCtx, DParameter, ErrorCode, InBuffer, OutBuffer};

use super::Fault;
use super::layer::{MemberState, Step};

/// RFC 9659, section 3: a zstd frame in HTTP needs no larger window than 8 MB. As a power of two.
const WINDOW_LOG_MAX: u32 = 23;

/// The length of a block's header in bytes, RFC 8878, section 3.1.1.2.
const BLOCK_HEADER: usize = 3;

/// One zstd frame.
pub(super) struct Zstd {
    context: DCtx<'static>,
    /// How many bytes the library would like next: the rest of a block, with the header of the next if there is one.
    /// Never zero.
    hint: usize,
    /// Whether there may be output that the last call had no room for.
    is_output_pending: bool,
}

impl Zstd {
    pub(super) fn new() -> Result<Self, Fault> {
        let mut context = DCtx::try_create().ok_or(Fault::TooLarge)?;
        context
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            .map_err(fault)?;
        Ok(Self {
            context,
            hint: BLOCK_HEADER,
            is_output_pending: false,
        })
    }

    /// Gives the library one block or one header at a time, and none while output is pending: when it finds a fault, it
    /// does not say what it wrote before.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        if self.is_output_pending {
            let step = self.call(&[], output);
            if step.written > 0 {
                return step;
            }
        }
        // The library takes repeated calls that can do nothing for a bug in its caller, and fails.
        if input.is_empty() {
            return Step {
                read: 0,
                written: 0,
                state: MemberState::Continues,
            };
        }
        let wanted = match self.hint.saturating_sub(BLOCK_HEADER) {
            0 => self.hint,
            block => block,
        };
        self.call(&input[..wanted.min(input.len())], output)
    }

    fn call(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let mut source = InBuffer::around(input);
        let mut target = OutBuffer::around(output);
        let state = match self.context.decompress_stream(&mut target, &mut source) {
            Ok(0) => MemberState::Ended,
            Ok(hint) => {
                self.hint = hint;
                MemberState::Continues
            }
            Err(code) => MemberState::Failed(fault(code)),
        };
        self.is_output_pending = target.pos() == target.capacity();
        Step {
            read: source.pos(),
            written: target.pos(),
            state,
        }
    }
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd").finish_non_exhaustive()
    }
}

/// The library's error codes are negative numbers in an unsigned type.
fn fault(code: ErrorCode) -> Fault {
    const TOO_LARGE: [ZSTD_ErrorCode; 2] = [
        ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge,
        ZSTD_ErrorCode::ZSTD_error_memory_allocation,
    ];
    if TOO_LARGE
        .iter()
        .any(|&known| known as usize == code.wrapping_neg())
    {
        Fault::TooLarge
    } else {
        Fault::Corrupt
    }
}
