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
    /// So many bytes of sizes, extensions and line ends.
    Framing(usize),
    /// So many bytes of the trailer section, its empty line included.
    Trailers(usize),
    /// So many bytes of the body.
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
mod tests {
    use super::*;

    /// The body in `input` fed in pieces cut at `cuts`, and what follows it.
    fn decode(input: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, bool, usize), BadChunk> {
        decode_with(Chunked::new(), input, cuts)
    }

    fn decode_with(
        mut chunked: Chunked,
        input: &[u8],
        cuts: &[usize],
    ) -> Result<(Vec<u8>, bool, usize), BadChunk> {
        let (mut body, mut from, mut rest) = (Vec::new(), 0, 0);
        for &to in cuts.iter().chain([&input.len()]) {
            let mut piece = input[from..to].to_vec();
            let (kept, read) = chunked.decode_in_place(&mut piece, |_| {})?;
            body.extend_from_slice(&piece[..kept]);
            if let Some(error) = chunked.failure() {
                return Err(error);
            }
            rest += piece.len() - read;
            from = to;
        }
        Ok((body, chunked.is_done(), rest))
    }

    #[test]
    fn bodies_at_every_split() {
        for (input, body, done, rest) in [
            (&b"5\r\nhello\r\n0\r\n\r\n"[..], &b"hello"[..], true, 0),
            (
                b"1;ext=1\r\na\r\n00A \r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET",
                b"a0123456789",
                true,
                3,
            ),
            (b"3\r\nabc\r\n", b"abc", false, 0),
            (
                b"1\r\na\r\nA\r\n0123456789\r\n2\r\nbc\r\n",
                b"a0123456789bc",
                false,
                0,
            ),
            (b"5\r\nhe", b"he", false, 0),
            (b"0\r\n\r\n", b"", true, 0),
            (
                b"0000000000000000000000001\r\na\r\n000\r\n\r\n",
                b"a",
                true,
                0,
            ),
            (b"FFFFFFFFFFFFFFFF\r\na", b"a", false, 0),
        ] {
            for split in 0..=input.len() {
                let seen = decode(input, &[split]);
                assert_eq!(seen, Ok((body.to_vec(), done, rest)), "split at {split}");
            }
            let every: Vec<usize> = (0..input.len()).collect();
            assert_eq!(decode(input, &every), Ok((body.to_vec(), done, rest)));
        }
    }

    #[test]
    fn lines_of_responses_may_end_in_lf() {
        let input = b"2\nab\n3;x=y\r\ncde\n1 \nf\r\n00\nA: b\nC: d\r\n\nGET";
        for split in 0..=input.len() {
            let seen = decode_with(Chunked::lenient(), input, &[split]);
            assert_eq!(seen, Ok((b"abcdef".to_vec(), true, 3)), "split at {split}");
        }
        for bad in [
            &b"2\r\r\nab"[..],
            b"2\r\nabc",
            b"\n",
            b"1\na\r\r",
            b"0\n\rx",
        ] {
            assert!(decode_with(Chunked::lenient(), bad, &[]).is_err());
        }
    }

    #[test]
    fn what_comes_before_a_failure_is_the_same_at_every_split() {
        for (input, body, error) in [
            (&b"3\r\nabc\r\nno size\r\n"[..], &b"abc"[..], BadChunk::Size),
            (b"1\r\na\r\n3\r\nbcde\r\n", b"abcd", BadChunk::LineEnd),
            (b"2\r\nab\r\n0\r\nA: b\rc", b"ab", BadChunk::LineEnd),
            (b"x", b"", BadChunk::Size),
        ] {
            for split in 0..=input.len() {
                let (mut chunked, mut seen) = (Chunked::lenient(), Vec::new());
                let mut failure = None;
                for part in [&input[..split], &input[split..]] {
                    let mut part = part.to_vec();
                    match chunked.decode_in_place(&mut part, |_| {}) {
                        Ok((kept, _)) => seen.extend_from_slice(&part[..kept]),
                        Err(error) => failure = Some(error),
                    }
                }
                assert_eq!(seen, body, "split at {split}");
                assert_eq!(chunked.failure(), Some(error), "split at {split}");
                assert!(failure.is_none_or(|failure| failure == error));
            }
        }
    }

    #[test]
    fn trailers_are_told_from_framing_at_every_split() {
        let input = b"1\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\nGET";
        for split in 0..=input.len() {
            let (mut chunked, mut trailers) = (Chunked::new(), Vec::new());
            for mut part in [&input[..split], &input[split..]] {
                while !part.is_empty() {
                    let taken = match chunked.next(part).unwrap() {
                        Piece::Framing(length) | Piece::Data(length) => length,
                        Piece::Trailers(length) => {
                            trailers.extend_from_slice(&part[..length]);
                            length
                        }
                        Piece::End => break,
                    };
                    part = &part[taken..];
                }
            }
            assert_eq!(trailers, b"A: b\r\nC: d\r\n\r\n", "split at {split}");
        }
    }

    #[test]
    fn chunked_is_named_once_and_alone() {
        let lines =
            |lines: &[&'static str]| is_only_chunked(lines.iter().map(|line| line.as_bytes()));
        assert!(lines(&[]) && lines(&["chunked"]) && lines(&[" Chunked "]));
        for no in [
            &["gzip, chunked"][..],
            &["chunked, chunked"],
            &["chunked", "chunked"],
            &["gzip", "chunked"],
            &[""],
        ] {
            assert!(!lines(no), "{no:?}");
        }
    }

    #[test]
    fn what_is_not_chunked_is_refused() {
        for (input, error) in [
            (&b"\r\n"[..], BadChunk::Size),
            (b"x\r\n", BadChunk::Size),
            (b"-1\r\n", BadChunk::Size),
            (b" 1\r\n", BadChunk::Size),
            (b"0x1\r\n", BadChunk::Size),
            (b"11111111111111111\r\n", BadChunk::Size),
            (b"1\na", BadChunk::Size),
            (b"1;a\nb", BadChunk::LineEnd),
            (b"1\r\rab", BadChunk::LineEnd),
            (b"1\r\nab\r\n", BadChunk::LineEnd),
            (b"1\r\na\n", BadChunk::LineEnd),
            (b"0\r\n\n", BadChunk::LineEnd),
            (b"0\r\nA: b\n\r\n", BadChunk::LineEnd),
        ] {
            assert_eq!(
                decode(input, &[]),
                Err(error),
                "{:?}",
                input.escape_ascii().to_string()
            );
        }
        let long = [&b"1;"[..], &b"x".repeat(Chunked::LIMIT + 1)].concat();
        assert_eq!(decode(&long, &[]), Err(BadChunk::TooLong));
    }
}
