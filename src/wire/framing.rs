//! The framing of a response's body, and whether its connection persists: the one place that decides it.

use super::fields::{elements, has_element};
use super::response_head::{BadHead, ResponseHead};

/// How the end of a body is found (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body, whatever the head says.
    None,
    /// By its last chunk.
    Chunked,
    /// After this many bytes.
    Bytes(u64),
    /// When the connection closes.
    UntilClose,
}

/// The framing of the body after a head, and whether the connection persists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// How the body's end is found.
    pub length: BodyLength,
    /// The connection may carry another response after this one: the upstream has not announced a close, and the end of this one is
    /// certain.
    pub is_reusable: bool,
}

/// Whether responses with this status have no body, whatever their fields say: "Any response with a 1xx (Informational), 204 (No
/// Content), or 304 (Not Modified) status code is always terminated by the first empty line after the header fields" (RFC 9112,
/// section 6.3), and a server "MUST NOT generate content in a 205 response" (RFC 9110, section 15.3.6).
pub fn has_no_body(status: u16) -> bool {
    matches!(status, 100..200 | 204 | 205 | 304)
}

impl ResponseHead {
    /// How the end of the body is found; `to_head` means that the request was HEAD. An event stream may have a length that cannot
    /// be meant: servers send 2^64 - 1 for "endless".
    pub fn framing(&self, head: &[u8], to_head: bool, is_events: bool) -> Result<Framing, BadHead> {
        let connection = self.values(head, "connection");
        let keeps = if self.is_http10 {
            has_element(connection, "keep-alive")
        } else {
            !has_element(connection, "close")
        };
        let has_no_body_by_status = has_no_body(self.status);
        let has_no_body = to_head || has_no_body_by_status;
        let coding = match coding(|| self.values(head, "transfer-encoding")) {
            Err(_) if has_no_body => TransferCoding::Odd { chunked: false },
            coding => coding?,
        };
        let length = match (
            coding,
            content_length(|| self.values(head, "content-length")),
        ) {
            (TransferCoding::None, Err(_)) if is_events || has_no_body => None,
            (TransferCoding::None, length) => length?,
            (_, length) => length.unwrap_or_default(),
        };
        // RFC 9112, section 6.1: of an HTTP/1.0 message with a Transfer-Encoding the framing is faulty; section 6.3: with a
        // Content-Length beside it, it "might indicate an attempt to perform ... response splitting".
        let is_plain = match coding {
            TransferCoding::None => true,
            TransferCoding::Chunked => {
                !self.is_http10 && self.values(head, "content-length").next().is_none()
            }
            TransferCoding::Odd { .. } => false,
        };
        let is_chunked = matches!(
            coding,
            TransferCoding::Chunked | TransferCoding::Odd { chunked: true }
        );
        if has_no_body {
            // Some servers send the body all the same (busybox after HEAD): it must not be read as the next response.
            let is_empty = match self.status {
                205 => !is_chunked && length == Some(0),
                _ => !to_head || has_no_body_by_status || is_chunked || length.is_some(),
            };
            return Ok(Framing {
                length: BodyLength::None,
                is_reusable: keeps && is_plain && is_empty,
            });
        }
        let length = match length {
            _ if is_chunked => BodyLength::Chunked,
            Some(length) => BodyLength::Bytes(length),
            None => BodyLength::UntilClose,
        };
        Ok(Framing {
            length,
            is_reusable: keeps && is_plain && length != BodyLength::UntilClose,
        })
    }
}

#[derive(Clone, Copy)]
enum TransferCoding {
    None,
    Chunked,
    /// Invalid, but understood.
    Odd {
        chunked: bool,
    },
}

/// `Transfer-Encoding`. A repeated `chunked` nearly always is one layer that two programs have announced, and `identity` was a
/// coding once.
fn coding<'a, I: Iterator<Item = &'a [u8]>>(
    values: impl Fn() -> I,
) -> Result<TransferCoding, BadHead> {
    if values().next().is_none() {
        return Ok(TransferCoding::None);
    }
    let is = |item: &[u8], name: &str| item.eq_ignore_ascii_case(name.as_bytes());
    let mut chunked = 0;
    let mut others = 0;
    for item in elements(values()) {
        if is(item, "chunked") {
            chunked += 1;
        } else if is(item, "identity") {
            others += 1;
        } else {
            return Err(BadHead::TransferEncoding(shown(values())));
        }
    }
    Ok(match (chunked, others) {
        (1, 0) => TransferCoding::Chunked,
        (chunked, _) => TransferCoding::Odd {
            chunked: chunked > 0,
        },
    })
}

/// `Content-Length`: `None` without one, or if it exceeds any real length.
fn content_length<'a, I: Iterator<Item = &'a [u8]>>(
    values: impl Fn() -> I,
) -> Result<Option<u64>, BadHead> {
    let mut seen: Option<&[u8]> = None;
    for value in values() {
        for item in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            let is_number = !item.is_empty() && item.iter().all(u8::is_ascii_digit);
            let is_same = seen.is_none_or(|seen| significant(seen) == significant(item));
            if !is_number || !is_same {
                return Err(BadHead::ContentLength(shown(values())));
            }
            seen = Some(item);
        }
    }
    let length = seen.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    Ok(length.filter(|&length: &u64| i64::try_from(length).is_ok()))
}

fn significant(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    &digits[zeros..]
}

/// The values of a field, for a person.
fn shown<'a>(values: impl Iterator<Item = &'a [u8]>) -> String {
    let values: Vec<_> = values
        .map(|value| value.escape_ascii().to_string())
        .collect();
    let mut text = values.join(", ");
    text.truncate(text.floor_char_boundary(80));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(fields: &str) -> Result<Framing, BadHead> {
        framing_of(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), false, false)
    }

    fn framing_of(head: &str, to_head: bool, is_events: bool) -> Result<Framing, BadHead> {
        let mut head = head.as_bytes().to_vec();
        ResponseHead::parse(&mut head, 10)?.framing(&head, to_head, is_events)
    }

    #[test]
    fn the_length_of_a_body() {
        use BodyLength::{Bytes, Chunked, UntilClose};
        for (fields, length, is_reusable) in [
            ("", UntilClose, false),
            ("Content-Length: 5\r\n", Bytes(5), true),
            (
                "Content-Length: 5, 05\r\nContent-Length: 5\r\n",
                Bytes(5),
                true,
            ),
            (
                "Content-Length: 5\r\nConnection: x, Close\r\n",
                Bytes(5),
                false,
            ),
            (
                "Content-Length: 18446744073709551615\r\n",
                UntilClose,
                false,
            ),
            (
                "Content-Length: 99999999999999999999999\r\n",
                UntilClose,
                false,
            ),
            ("Transfer-Encoding: Chunked\r\n", Chunked, true),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
                Chunked,
                false,
            ),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
                Chunked,
                false,
            ),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                Chunked,
                false,
            ),
            ("Transfer-Encoding: chunked, chunked\r\n", Chunked, false),
            (
                "Transfer-Encoding: identity\r\nContent-Length: 3\r\n",
                Bytes(3),
                false,
            ),
            ("Transfer-Encoding: identity\r\n", UntilClose, false),
            (
                "Transfer-Encoding:\r\nContent-Length: 3\r\n",
                Bytes(3),
                false,
            ),
        ] {
            let expected = Framing {
                length,
                is_reusable,
            };
            assert_eq!(framing(fields), Ok(expected), "{fields}");
        }
        for fields in [
            "Content-Length: x\r\n",
            "Content-Length:\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 5, 6\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n",
        ] {
            let error = framing(fields).unwrap_err().to_string();
            assert!(error.contains(fields.split(':').next().unwrap()), "{error}");
        }
        let odd = framing_of("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", false, true);
        assert_eq!(
            odd.unwrap().length,
            UntilClose,
            "of an event stream it is healed"
        );
    }

    #[test]
    fn who_keeps_the_connection() {
        for (head, is_reusable) in [
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", false),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\n",
                true,
            ),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
                false,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", true),
        ] {
            assert_eq!(
                framing_of(head, false, false).unwrap().is_reusable,
                is_reusable,
                "{head}"
            );
        }
    }

    #[test]
    fn responses_without_a_body() {
        for (status, fields, is_reusable) in [
            (204, "Content-Type: text/event-stream\r\n", true),
            (204, "Content-Length: 5\r\n", true),
            (304, "Content-Length: 5\r\n", true),
            (
                304,
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                false,
            ),
            (205, "Content-Length: 0\r\n", true),
            (205, "Content-Length: 5\r\n", false),
            (205, "Transfer-Encoding: chunked\r\n", false),
            (205, "", false),
            (103, "", true),
        ] {
            let head = format!("HTTP/1.1 {status} X\r\n{fields}\r\n");
            let expected = Framing {
                length: BodyLength::None,
                is_reusable,
            };
            assert_eq!(framing_of(&head, false, true), Ok(expected), "{head}");
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        let silent = framing_of("HTTP/1.1 200 OK\r\n\r\n", true, false).unwrap();
        assert!(!silent.is_reusable, "a body may come after all");
        let odd = "HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: gzip\r\n\r\n";
        let length = framing_of(odd, true, false).unwrap().length;
        assert_eq!(length, BodyLength::None, "whatever it says");
        let to_head = framing_of(head, true, false).unwrap();
        assert_eq!(
            to_head,
            Framing {
                length: BodyLength::None,
                is_reusable: true
            }
        );
    }
}
