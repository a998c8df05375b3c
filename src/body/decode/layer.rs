//! One coding: its decoder's life from the first byte to the end of the last member.

use super::brotli::Brotli;
use super::inflate::Inflate;
use super::zstd::Zstd;
use super::{Coding, DecodeError, Fault};

/// Undoes one coding.
#[derive(Debug)]
pub(super) struct Layer {
    coding: Coding,
    state: State,
}

#[derive(Debug)]
enum State {
    /// At the start or between two members: no decoder and its window are held.
    Between,
    /// Behind a member of gzip, which may be padded with zero bytes.
    Padding,
    /// Inside a member.
    Member(Codec),
    /// Behind the end of a coding that has but one member.
    Ended,
    /// Nothing can be decoded any more.
    Failed(Fault),
}

#[derive(Debug)]
enum Codec {
    Inflate(Inflate),
    Brotli(Brotli),
    Zstd(Zstd),
}

/// What one call of a codec did.
pub(super) struct Step {
    pub(super) read: usize,
    pub(super) written: usize,
    pub(super) state: MemberState,
}

/// The state of a member after a [`Step`].
pub(super) enum MemberState {
    /// It needs more input or more room.
    Continues,
    /// It is complete: its last byte was read, its checksum is right and all of its output is written.
    Ended,
    Failed(Fault),
}

impl Layer {
    pub(super) fn new(coding: Coding) -> Self {
        Self {
            coding,
            state: State::Between,
        }
    }

    #[cfg(test)]
    pub(super) fn coding(&self) -> Coding {
        self.coding
    }

    /// See [`Decoder::decode`](super::Decoder::decode), whose promises this keeps.
    pub(super) fn decode(
        &mut self,
        input: &mut &[u8],
        output: &mut [u8],
    ) -> Result<usize, DecodeError> {
        let mut written = 0;
        while written < output.len() {
            match &mut self.state {
                State::Padding => match input.first() {
                    Some(0) => *input = &input[1..],
                    Some(_) => self.state = State::Between,
                    None => break,
                },
                State::Between => {
                    let Some(&first) = input.first() else { break };
                    self.state = match Codec::new(self.coding, first) {
                        Ok(codec) => State::Member(codec),
                        Err(fault) => State::Failed(fault),
                    };
                }
                State::Member(codec) => {
                    let step = codec.step(input, &mut output[written..]);
                    let stuck = step.read == 0 && step.written == 0;
                    *input = &input[step.read..];
                    written += step.written;
                    match step.state {
                        MemberState::Continues if stuck && input.is_empty() => break,
                        // No codec does this. If one did, the caller would offer the same bytes for ever.
                        MemberState::Continues if stuck => {
                            self.state = State::Failed(Fault::Corrupt);
                        }
                        MemberState::Continues => {}
                        MemberState::Ended => self.state = State::after_member(self.coding),
                        MemberState::Failed(fault) => self.state = State::Failed(fault),
                    }
                }
                State::Ended if input.is_empty() => break,
                State::Ended => self.state = State::Failed(Fault::Corrupt),
                State::Failed(_) if written > 0 => break,
                State::Failed(fault) => return Err(self.coding.error(*fault)),
            }
        }
        Ok(written)
    }

    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        match self.state {
            State::Between | State::Padding | State::Ended => Ok(()),
            State::Member(_) => Err(self.coding.error(Fault::Truncated)),
            State::Failed(fault) => Err(self.coding.error(fault)),
        }
    }
}

impl State {
    /// RFC 1952, section 2.2: "A gzip file consists of a series of "members"". RFC 8878, section 3: "Zstandard
    /// compressed data is made up of one or more frames". The others have no such sentence.
    fn after_member(coding: Coding) -> Self {
        match coding {
            Coding::Gzip => Self::Padding,
            Coding::Zstd => Self::Between,
            Coding::Deflate | Coding::Brotli => Self::Ended,
        }
    }
}

impl Codec {
    /// A decoder for a member that begins with the byte `first`.
    fn new(coding: Coding, first: u8) -> Result<Self, Fault> {
        Ok(match coding {
            Coding::Gzip => Self::Inflate(Inflate::gzip()),
            Coding::Deflate => Self::Inflate(Inflate::deflate(first)),
            Coding::Brotli => Self::Brotli(Brotli::new()),
            Coding::Zstd => Self::Zstd(Zstd::new()?),
        })
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        match self {
            Self::Inflate(inflate) => inflate.step(input, output),
            Self::Brotli(brotli) => brotli.step(input, output),
            Self::Zstd(zstd) => zstd.step(input, output),
        }
    }
}

impl Coding {
    fn error(self, fault: Fault) -> DecodeError {
        DecodeError {
            coding: self,
            fault,
        }
    }
}
