//! Writing heads, each field as its sender spelled it: some peers mind the letter case (RFC 9110, section 5.1, says that none should).

use memchr::memchr;

use super::fields::lines;

/// A head that is being written.
#[derive(Debug)]
pub struct HeadWriter {
    bytes: Vec<u8>,
}

/// A head is seldom longer, in bytes.
const ROOM: usize = 1024;

impl HeadWriter {
    /// The head of a request for `target`.
    pub fn request(method: &[u8], target: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(ROOM);
        for part in [method, b" ", target, b" HTTP/1.1\r\n"] {
            bytes.extend_from_slice(part);
        }
        Self { bytes }
    }

    /// The head of a response in the `version` that begins it, such as `HTTP/1.1`.
    pub fn response(version: &[u8], status: &[u8], reason: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(ROOM);
        for part in [version, b" ", status, b" ", reason, b"\r\n"] {
            bytes.extend_from_slice(part);
        }
        Self { bytes }
    }

    /// Adds a field.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, b": ", value, b"\r\n"] {
            self.bytes.extend_from_slice(part);
        }
    }

    /// Adds the `fields`, whose names are in lower case: in the order and the spelling of the head `raw`, and those that it does not
    /// have after them.
    pub fn fields<'a>(
        &mut self,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        raw: &[u8],
    ) {
        in_order(
            fields.into_iter().map(Some).collect(),
            raw,
            |name, value| {
                self.field(name, value);
            },
        );
    }

    /// The whole head.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes
    }
}

/// Appends `head`, whose field names are in lower case, to `out`, with its fields in the order and the spelling of the head `raw`, and
/// those that it does not have after them.
pub fn respell(head: &[u8], raw: &[u8], out: &mut Vec<u8>) {
    let mut lines = head.split_inclusive(|&byte| byte == b'\n');
    out.reserve(head.len());
    out.extend_from_slice(lines.next().unwrap_or_default());
    let fields = lines.map(|line| Some(line.split_at(memchr(b':', line).unwrap_or(0))));
    in_order(fields.collect(), raw, |name, rest| {
        out.extend_from_slice(name);
        out.extend_from_slice(rest);
    });
}

/// Yields `fields` as in the head `raw`; a header map keeps neither the order nor the spelling of its sender.
fn in_order<'a>(
    mut fields: Vec<Option<(&'a [u8], &'a [u8])>>,
    raw: &[u8],
    mut write: impl FnMut(&[u8], &[u8]),
) {
    // Mostly the next one in `raw` is the next one here.
    let mut next = 0;
    let names = lines(raw).skip(1).filter_map(|line| {
        let colon = memchr(b':', line)?;
        Some(&line[..colon])
    });
    for raw_name in names {
        let is_it = |field: &Option<(&[u8], &[u8])>| {
            field.is_some_and(|(name, _)| name.eq_ignore_ascii_case(raw_name))
        };
        let found = if fields.get(next).is_some_and(is_it) {
            Some(next)
        } else {
            fields.iter().position(is_it)
        };
        if let Some(index) = found
            && let Some((_, value)) = fields[index].take()
        {
            next = index + 1;
            write(raw_name, value);
        }
    }
    for (name, value) in fields.into_iter().flatten() {
        write(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-TYPE: a\r\nX-One: host: 1\nETag: x\r\nx-one: 2\r\n\r\n";

    #[test]
    fn fields_are_written_as_they_came() {
        let mut head = HeadWriter::response(b"HTTP/1.1", b"200", b"OK");
        let fields: [(&[u8], &[u8]); 6] = [
            (b"etag", b"x"),
            (b"x-one", b"1"),
            (b"x-one", b"2"),
            (b"content-type", b"a"),
            (b"host", b"none"),
            (b"content-type", b"again"),
        ];
        head.fields(fields, RAW);
        head.field(b"Last", b"");
        assert_eq!(
            head.finish().escape_ascii().to_string(),
            b"HTTP/1.1 200 OK\r\nContent-TYPE: a\r\nX-One: 1\r\nETag: x\r\nx-one: 2\r\nhost: none\r\ncontent-type: again\r\nLast: \r\n\r\n"
                .escape_ascii()
                .to_string()
        );
    }

    #[test]
    fn a_whole_head_is_spelled_anew() {
        let mut out = b"before".to_vec();
        let head = b"HTTP/1.1 200 etag: OK\r\netag: x: y\r\ncontent-type: a\r\nnew: 1\r\n\r\n";
        respell(head, RAW, &mut out);
        assert_eq!(
            out.escape_ascii().to_string(),
            b"beforeHTTP/1.1 200 etag: OK\r\nContent-TYPE: a\r\nETag: x: y\r\nnew: 1\r\n\r\n"
                .escape_ascii()
                .to_string()
        );
        for raw in [&b""[..], b"HTTP/1.1 200 OK\r\n\r\n", b"garbage"] {
            let mut out = Vec::new();
            respell(head, raw, &mut out);
            assert_eq!(out, head);
        }
    }
}
