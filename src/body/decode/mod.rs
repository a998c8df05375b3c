//! Undoing a `Content-Encoding` as the bytes arrive.
//!
//! An event stream that its upstream compressed all the same must be read to place heartbeats in it, so the proxy
//! decodes it. [`Decoder`] is a sans-IO state machine with two promises:
//!
//! - **Nothing is held back.** Everything that can be decoded from the bytes given so far comes out at once: an event
//!   that the upstream flushed is complete as soon as the last byte of its flush is in.
//! - **Memory is bounded.** Output goes into a buffer of the caller, piece by piece, so a decompression bomb costs time
//!   and never memory. Inside, a stream holds one window for each coding: 32 KiB for gzip and deflate, at most 16 MiB
//!   for br and 8 MiB for zstd, and nothing at all before its first byte.
//!
//! What follows the end of the coded data is never skipped. For gzip and zstd it has to be another member, as their
//! RFCs allow, or, for gzip, zero bytes, with which some writers fill a block; for br and deflate there is nothing that it could be. Skipping would turn a damaged second member into
//! a clean end that lost its events.

mod brotli;
mod inflate;
mod layer;
#[cfg(test)]
mod tests;
mod zstd;

use std::fmt;
use std::ops::Range;

use self::layer::Layer;

/// Decodes the body of one response.
#[derive(Debug)]
pub struct Decoder {
    /// The coding that was applied first and is decoded last.
    inner: Layer,
    /// The coding around it, if there are two.
    outer: Option<Outer>,
}

/// The outer of two layers, and decoded data that the inner one has not read yet.
struct Outer {
    layer: Layer,
    buffer: Box<[u8; BETWEEN_LAYERS]>,
    /// Never reaches beyond the buffer's end.
    unread: Range<usize>,
}

/// Bytes buffered between two layers: several events, and small beside the windows of the layers.
const BETWEEN_LAYERS: usize = 4096;

impl Decoder {
    /// A decoder for the values of a response's `Content-Encoding` fields, each a list, in their order.
    ///
    /// `None` if the body is not coded at all.
    ///
    /// # Errors
    ///
    /// The body must pass as it is if a coding is unknown, or if there are more than two: nobody sends that, and
    /// every layer multiplies what a bomb can do.
    pub fn for_codings<'a>(
        values: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<Self>, Undecodable> {
        let mut layers = Vec::new();
        for name in values.into_iter().flat_map(|value| value.split(',')) {
            match name.trim_matches([' ', '\t']) {
                name if is_identity(name) => {}
                name => layers.push(Layer::new(Coding::from_name(name)?)),
            }
        }
        let mut layers = layers.into_iter();
        let Some(inner) = layers.next() else {
            return Ok(None);
        };
        let outer = layers.next().map(Outer::new);
        if layers.next().is_some() {
            return Err(Undecodable::TooManyLayers);
        }
        Ok(Some(Self { inner, outer }))
    }

    /// Decodes from the front of `input`, which is advanced, into the front of `output`, which must not be empty.
    ///
    /// Returns how many bytes were written. Zero means that `input` is used up and nothing more can be decoded before
    /// the next byte arrives; until then call again, with what is left of `input`, even if that is empty.
    ///
    /// # Errors
    ///
    /// What was flushed before the fault is given out first, except that br drops what came in the same `input`. A
    /// fault is final: every later call returns it again.
    pub fn decode(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<usize, DecodeError> {
        debug_assert!(
            !output.is_empty(),
            "without room zero would not mean `used up`"
        );
        let Some(outer) = &mut self.outer else {
            return self.inner.decode(input, output);
        };
        loop {
            let mut unread = &outer.buffer[outer.unread.clone()];
            let written = self.inner.decode(&mut unread, output)?;
            outer.unread.start = outer.unread.end - unread.len();
            if written > 0 {
                return Ok(written);
            }
            outer.unread = 0..outer.layer.decode(input, &mut outer.buffer[..])?;
            if outer.unread.is_empty() {
                return Ok(0);
            }
        }
    }

    /// Checks that the coded data is complete, once the upstream's body has ended and [`decode`](Self::decode) has
    /// returned zero.
    ///
    /// A body without a single byte is complete: there was nothing to code, and nothing was lost.
    ///
    /// # Errors
    ///
    /// [`Fault::Truncated`] if the end of the coded data has not been seen, even if all events so far are whole: an
    /// upstream that was killed after a flush leaves such a stream behind. After a fault it is always an error.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if let Some(outer) = &self.outer {
            outer.layer.finish()?;
        }
        self.inner.finish()
    }
}

impl Outer {
    fn new(layer: Layer) -> Self {
        Self {
            layer,
            buffer: Box::new([0; BETWEEN_LAYERS]),
            unread: 0..0,
        }
    }
}

impl fmt::Debug for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outer")
            .field("layer", &self.layer)
            .field("unread", &self.unread)
            .finish_non_exhaustive()
    }
}

/// A content coding that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `gzip` or `x-gzip`, RFC 1952.
    Gzip,
    /// `deflate`: RFC 1950 as HTTP has it, or bare RFC 1951 as some servers send it.
    Deflate,
    /// `br`, RFC 7932.
    Brotli,
    /// `zstd`, RFC 8878 with the window of RFC 9659.
    Zstd,
}

impl Coding {
    /// RFC 9110, section 8.4.1: "All content codings are case-insensitive", and "a recipient SHOULD consider "x-gzip"
    /// to be equivalent to "gzip"".
    fn from_name(name: &str) -> Result<Self, Undecodable> {
        const NAMES: [(&str, Coding); 5] = [
            ("gzip", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
            ("deflate", Coding::Deflate),
            ("br", Coding::Brotli),
            ("zstd", Coding::Zstd),
        ];
        NAMES
            .iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known))
            .map(|(_, coding)| *coding)
            .ok_or(Undecodable::UnknownCoding)
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        })
    }
}

/// Whether a list element stands for no coding. `none` is not registered, but backends set it to keep a framework's
/// compression off their event streams; `UTF-8` is a charset in the wrong field, and a frequent mistake. Empty elements are allowed in every list (RFC 9110, section 5.6.1).
fn is_identity(name: &str) -> bool {
    name.is_empty()
        || ["identity", "none", "utf-8", "utf8"]
            .iter()
            .any(|none| name.eq_ignore_ascii_case(none))
}

/// Why a `Content-Encoding` cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// One of the codings is unknown.
    #[error("the content coding is unknown")]
    UnknownCoding,
    /// More codings than any honest upstream applies.
    #[error("there are more than two content codings")]
    TooManyLayers,
}

/// A coded body that cannot be decoded to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {coding} data {fault}")]
pub struct DecodeError {
    /// The layer it was found in.
    pub coding: Coding,
    /// The fault in the data.
    pub fault: Fault,
}

/// A fault in coded data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It breaks its format, fails its checksum, or is followed by something that does not belong to it.
    #[error("is corrupt")]
    Corrupt,
    /// It asks for a larger window than HTTP allows, or than there is memory for.
    #[error("needs too much memory")]
    TooLarge,
    /// It ended before it was complete.
    #[error("is cut off")]
    Truncated,
}
