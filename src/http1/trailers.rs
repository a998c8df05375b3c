//! The trailer section of a chunked body.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::wire::Field;

/// A trailer section, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    bytes: Vec<u8>,
}

/// More fields than are ever used; the section's bytes are bounded where they are read.
const MOST: usize = 100;

impl Trailers {
    /// Takes the next part of the section.
    pub(super) fn put(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
    }

    /// Whether it has no field.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
    }

    /// The fields of the whole section that are allowed in trailers, if any.
    pub(super) fn finish(mut self) -> Option<HeaderMap> {
        if self.is_empty() {
            return None;
        }
        let section = Field::parse_all(&mut self.bytes, 0, MOST).ok()?;
        let mut trailers = HeaderMap::new();
        for field in section.fields {
            let name = HeaderName::from_bytes(&self.bytes[field.name]);
            let value = HeaderValue::from_bytes(&self.bytes[field.value]);
            if let (Ok(name), Ok(value)) = (name, value)
                && !is_forbidden(name.as_str())
            {
                trailers.append(name, value);
            }
        }
        (!trailers.is_empty()).then_some(trailers)
    }
}

/// A sender "MUST NOT generate a trailer field" that is about framing, routing or the connection (RFC 9110, section 6.5.1).
fn is_forbidden(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "host"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_may_be_trailers() {
        let finish = |section: &[u8]| {
            let mut trailers = Trailers::default();
            trailers.put(section);
            trailers.finish()
        };
        assert!(finish(b"\r\n").is_none());
        assert!(finish(b"Content-Length: 5\r\n\r\n").is_none());
        let trailers =
            finish(b"X-Sum: 1\r\nTransfer-Encoding: chunked\r\nno field\r\nx-sum: 2\n\n");
        let trailers = trailers.unwrap();
        let sums: Vec<_> = trailers.get_all("x-sum").iter().collect();
        assert_eq!(sums, ["1", "2"]);
        assert_eq!(trailers.len(), 2);
    }
}
