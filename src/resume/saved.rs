//! The head of a response, kept for those that come to it later.

use http::header::{DATE, SET_COOKIE};
use http::response::{self, Response};
use http::{HeaderName, HeaderValue, StatusCode};

/// A head in as little memory as it takes: a `HeaderMap` takes a kilobyte, and holds on to what it was read from.
#[derive(Debug)]
pub struct SavedHead {
    status: StatusCode,
    /// Names and values, each with a line feed after it: neither can have one in it.
    fields: Box<[u8]>,
}

impl SavedHead {
    /// What of `head` is for whoever comes later: cookies are for who asked first.
    pub fn new(head: &response::Parts) -> Self {
        let mut fields = Vec::new();
        let kept = head.headers.iter();
        for (name, value) in kept.filter(|(name, _)| **name != SET_COOKIE && **name != DATE) {
            for part in [name.as_str().as_bytes(), b"\n", value.as_bytes(), b"\n"] {
                fields.extend_from_slice(part);
            }
        }
        Self {
            status: head.status,
            fields: fields.into(),
        }
    }

    /// The head as it was.
    pub fn restore(&self) -> response::Parts {
        let (mut head, ()) = Response::new(()).into_parts();
        head.status = self.status;
        let mut lines = self.fields.split(|byte| *byte == b'\n');
        while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
            let name = HeaderName::from_bytes(name);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                head.headers.append(name, value);
            }
        }
        head
    }

    pub(super) fn memory(&self) -> usize {
        self.fields.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_what_it_was_but_for_cookies() {
        let head = Response::builder()
            .status(201)
            .header("x-a", "1")
            .header("set-cookie", "a=b")
            .header("x-a", "")
            .header("date", "now")
            .header("x-b", HeaderValue::from_bytes(b"\xFF: x").unwrap());
        let (head, ()) = head.body(()).unwrap().into_parts();
        let restored = SavedHead::new(&head).restore();
        assert_eq!(restored.status, 201);
        let fields: Vec<_> = restored.headers.iter().collect();
        assert_eq!(fields.len(), 3);
        assert_eq!(restored.headers.get_all("x-a").iter().count(), 2);
        assert_eq!(restored.headers["x-b"].as_bytes(), b"\xFF: x");
    }
}
