//! The names of kept streams, and places in them, as clients send them back.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

/// The name of a kept stream: `_`, `g` or `p` for how it began, and 96 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token([u8; Self::LENGTH]);

/// How a stream began. A cursor of a stream that nobody remembers still has to get the right answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Began {
    /// With GET, so that it may begin again.
    Get,
    /// With another method, which is not to be repeated.
    Other,
}

/// A place in a kept stream: behind its event `sequence`, or at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The stream.
    pub token: Token,
    /// The last event seen.
    pub sequence: u64,
}

impl Token {
    const LENGTH: usize = 18;

    /// A new one; `None` if the system has no random bits to give.
    pub fn new(began: Began) -> Option<Self> {
        let mut random = [0; 12];
        SystemRandom::new().fill(&mut random).ok()?;
        let mut token = [b'_'; Self::LENGTH];
        token[1] = match began {
            Began::Get => b'g',
            Began::Other => b'p',
        };
        let encoded = BASE64_URL_SAFE_NO_PAD.encode_slice(random, &mut token[2..]);
        encoded.ok().map(|_| Self(token))
    }

    /// As it is written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default() // it is ASCII
    }

    /// How its stream began.
    pub fn began(&self) -> Began {
        if self.0[1] == b'g' {
            Began::Get
        } else {
            Began::Other
        }
    }
}

impl Cursor {
    /// The longest that one can be.
    pub const LONGEST: usize = Token::LENGTH + 1 + 13;

    /// What `text` says, if it is of this form to the letter. Whatever else it is is somebody else's.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (token, rest) = text.split_first_chunk()?;
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        if token[0] != b'_' || !matches!(token[1], b'g' | b'p') || !token.iter().all(is_token) {
            return None;
        }
        let sequence = match rest {
            [] => 0,
            [b'.', digits @ ..] => number(digits)?,
            _ => return None,
        };
        let token = Token(*token);
        Some(Self { token, sequence })
    }
}

/// A number in base 36, written in the one way in which it is written here.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'z' => byte - b'a' + 10,
            _ => return None,
        };
        number.checked_mul(36)?.checked_add(digit.into())
    })
}

/// The whole of it would let whoever reads a log take the stream.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}…)", &self.as_str()[..4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::base36;

    #[test]
    fn what_is_written_is_read() {
        for began in [Began::Get, Began::Other] {
            let token = Token::new(began).unwrap();
            assert_eq!(token.began(), began);
            let bare = Cursor::parse(token.as_bytes());
            assert_eq!(bare, Some(Cursor { token, sequence: 0 }));
            for sequence in [0, 1, 35, 36, 1_000_000, u64::MAX] {
                let mut digits = [0; 13];
                let text = [token.as_bytes(), b".", base36(sequence, &mut digits)].concat();
                assert_eq!(Cursor::parse(&text), Some(Cursor { token, sequence }));
                assert!(text.len() <= Cursor::LONGEST);
            }
        }
        assert_ne!(Token::new(Began::Get), Token::new(Began::Get));
    }

    #[test]
    fn anything_else_is_foreign() {
        for text in [
            "",
            "7",
            "_g",
            "_gAAAAAAAAAAAAAAA",
            "_xAAAAAAAAAAAAAAAA",
            "_gAAAAAAAAAAAAAAAA.",
            "_gAAAAAAAAAAAAAAAA.01",
            "_gAAAAAAAAAAAAAAAA.A",
            "_gAAAAAAAAAAAAAAAA.-1",
            "_gAAAAAAAAAAAAAAAA.zzzzzzzzzzzzzz",
            "_gAAAAAAAAAAAAAAAA.1.1",
            "_gAAAAAAAAAAAAAAAAA",
            "_gAAAAAAAAAAAAAAA/",
            "_gAAAAAAAAAAAAAAA\u{e9}",
        ] {
            assert_eq!(Cursor::parse(text.as_bytes()), None, "{text}");
        }
    }
}
