//! The chunked transfer coding (RFC 9112, section 7.1), read incrementally.

use std::ops::Range;

/// Whether a request's `Transfer-Encoding` lines name `chunked`, once, and nothing else, or there are none. A proxy removes only
/// the chunks: a body in another coding must not be forwarded without its name.
pub fn is_only_chunked<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let mut lines = lines.into_iter();
    let first = lines.next();
    first.is_none_or(|line| line.trim_ascii().eq_ignore_ascii_case(b"chunked"))
        && lines.next().is_none()
}

/// Reads a chunked body, however it is cut.
#[derive(Debug, Clone)]
pub struct Chunked {
    state: State,
    /// Lines may end in a bare LF.
    lenient: bool,
    /// Of the chunk's size while it is read, then of its data: bytes still to come.
    remaining: u64,
    /// Bytes of extensions and trailers so far, at most [`Chunked::LIMIT`].
    overhead: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size {
        digits: u8,
    },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
    /// What comes next is no part of a chunked body.
    Bad(BadChunk),
}

/// What the front of the input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// This many bytes of sizes, extensions and line ends.
    Framing(usize),
    /// This many bytes of the trailer section, its empty line included.
    Trailers(usize),
    /// This many bytes of the body.
    Data(usize),
    /// The body ended before this byte: the rest belongs to the next message.
    End,
}

/// The bytes are not a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadChunk {
    /// A chunk size that is not a hexadecimal number of 64 bits.
    #[error("the size of a chunk is not a hexadecimal number")]
    Size,
    /// A line that does not end in CRLF.
    #[error("a line of the chunked coding does not end in CRLF")]
    LineEnd,
    /// More extension and trailer bytes than are ever used.
    #[error("the chunk extensions and trailers are too long")]
    TooLong,
}

const CRLF: &[u8] = b"\r\n";

impl Chunked {
    /// The most bytes of extensions and trailers that a body may have, against peers that send nothing else.
    const LIMIT: usize = 16 * 1024;
    /// A 64-bit size.
    const MAX_DIGITS: u8 = 16;

    /// At the start of a body.
    pub fn new() -> Self {
        Self {
            state: State::Size { digits: 0 },
            lenient: false,
            remaining: 0,
            overhead: 0,
        }
    }

    /// At the start of a response's body, read as browsers read it: its lines may end in a bare LF.
    pub fn lenient() -> Self {
        Self {
            lenient: true,
            ..Self::new()
        }
    }

    /// Whether the last chunk and the trailers have been read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The failure of the bytes to come, once that is known. It is final.
    pub fn failure(&self) -> Option<BadChunk> {
        match self.state {
            State::Bad(error) => Some(error),
            _ => None,
        }
    }

    /// What the front of `bytes` is, which is then behind us. `bytes` must not be empty.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, BadChunk> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let piece = self.piece(bytes);
        if let Err(error) = piece {
            self.state = State::Bad(error);
        }
        piece
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<Piece, BadChunk> {
        if self.state == State::Data {
            let length =
                usize::try_from(self.remaining).map_or(bytes.len(), |left| left.min(bytes.len()));
            self.remaining -= length as u64;
            if self.remaining == 0 {
                self.state = State::DataCr;
            }
            return Ok(Piece::Data(length));
        }
        let piece = if self.is_in_trailers() {
            Piece::Trailers
        } else {
            Piece::Framing
        };
        for (index, &byte) in bytes.iter().enumerate() {
            match self.state {
                State::Done if index == 0 => return Ok(Piece::End),
                State::Size { digits: 0 } | State::TrailerStart if index == 0 => self.step(byte)?,
                State::Size { digits: 0 } | State::Data | State::Done => return Ok(piece(index)),
                State::TrailerStart if piece(0) == Piece::Framing(0) => return Ok(piece(index)),
                _ => self.step(byte)?,
            }
        }
        Ok(piece(bytes.len()))
    }

    fn is_in_trailers(&self) -> bool {
        matches!(
            self.state,
            State::TrailerStart | State::Trailer | State::TrailerLf | State::EndLf
        )
    }

    /// Moves the body's bytes in `buffer` to its front, over the framing. Returns how many there are, and how many bytes of
    /// `buffer` were read: fewer than it holds only if the body ended, or if what comes next is a [`failure`](Self::failure). What
    /// belongs to the trailer section goes to `trailers`.
    ///
    /// # Errors
    ///
    /// Only if no byte of the body comes before the failure: what was sent before it is as good as it would be in a read of its own.
    pub fn decode_in_place(
        &mut self,
        buffer: &mut [u8],
        mut trailers: impl FnMut(&[u8]),
    ) -> Result<(usize, usize), BadChunk> {
        let (mut kept, mut read) = (0, 0);
        while read < buffer.len() {
            if let Some(data) = self.whole_chunk(&buffer[read..]) {
                buffer.copy_within(read + data.start..read + data.end, kept);
                kept += data.len();
                read += data.end + CRLF.len();
                continue;
            }
            let piece = match self.next(&buffer[read..]) {
                Err(_) if kept > 0 => break,
                piece => piece?,
            };
            match piece {
                Piece::Framing(length) => read += length,
                Piece::Trailers(length) => {
                    trailers(&buffer[read..read + length]);
                    read += length;
                }
                Piece::Data(length) => {
                    buffer.copy_within(read..read + length, kept);
                    kept += length;
                    read += length;
                }
                Piece::End => break,
            }
        }
        Ok((kept, read))
    }

    /// Where the data is in the chunk that `bytes` begins with, if one begins there, without extensions, and all of it is here.
    /// A burst of tiny events is little else.
    fn whole_chunk(&self, bytes: &[u8]) -> Option<Range<usize>> {
        if self.state != (State::Size { digits: 0 }) {
            return None;
        }
        let mut size = 0;
        for (digits, &byte) in bytes.iter().enumerate().take(7) {
            let Some(digit) = hex_value(byte) else {
                let start = digits + CRLF.len();
                let end = start + size;
                let is_whole = size > 0
                    && bytes[digits..].starts_with(CRLF)
                    && bytes.get(end..end + CRLF.len()) == Some(CRLF);
                return is_whole.then_some(start..end);
            };
            size = size << 4 | usize::from(digit);
        }
        None
    }

    fn step(&mut self, byte: u8) -> Result<(), BadChunk> {
        let state = match (self.state, byte) {
            // Where a line may end without CR, as if there had been one.
            (State::Size { digits: 1.. } | State::Extension, b'\n') if self.lenient => {
                State::SizeLf
            }
            (State::DataCr, b'\n') if self.lenient => State::DataLf,
            (State::TrailerStart, b'\n') if self.lenient => State::EndLf,
            (State::Trailer, b'\n') if self.lenient => State::TrailerLf,
            (state, _) => state,
        };
        self.state = match (state, byte) {
            (State::Size { digits: 1 }, b'0') if self.remaining == 0 => self.count(state)?,
            (State::Size { digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == Self::MAX_DIGITS {
                    return Err(BadChunk::Size);
                }
                let digit = hex_value(byte).unwrap_or_default();
                let is_leading_zero = digits == 1 && self.remaining == 0;
                self.remaining = self.remaining << 4 | u64::from(digit);
                State::Size {
                    digits: digits + u8::from(!is_leading_zero),
                }
            }
            (State::Size { digits: 1.. } | State::Extension, b'\r') => State::SizeLf,
            // "BWS" before an extension's semicolon.
            (State::Size { digits: 1.. }, b';' | b' ' | b'\t') => State::Extension,
            (State::Size { .. }, _) => return Err(BadChunk::Size),
            (State::SizeLf, b'\n') if self.remaining == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0 },
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::Done,
            (State::Extension, _) if byte != b'\n' => self.count(State::Extension)?,
            (State::TrailerStart | State::Trailer, _) if byte != b'\n' => {
                self.count(State::Trailer)?
            }
            _ => return Err(BadChunk::LineEnd),
        };
        Ok(())
    }

    fn count(&mut self, state: State) -> Result<State, BadChunk> {
        self.overhead += 1;
        if self.overhead > Self::LIMIT {
            return Err(BadChunk::TooLong);
        }
        Ok(state)
    }
}

fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

impl Default for Chunked {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
