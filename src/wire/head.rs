//! Writing heads, each field as its sender spelled it: some peers mind the letter case (RFC 9110, section 5.1, says that none should).

use memchr::memchr;

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

    /// Adds the `fields`, whose names are in lower case, each as it is spelled in the head `raw`.
    pub fn fields<'a>(
        &mut self,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        raw: &[u8],
    ) {
        let mut names = Names::of(raw);
        for (name, value) in fields {
            self.field(names.spell(name), value);
        }
    }

    /// The whole head.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes
    }
}

/// Appends `head`, whose field names are in lower case, to `out`, with the names as they are spelled in the head `raw`.
pub fn respell(head: &[u8], raw: &[u8], out: &mut Vec<u8>) {
    let mut names = Names::of(raw);
    let mut lines = head.split_inclusive(|&byte| byte == b'\n');
    out.reserve(head.len());
    out.extend_from_slice(lines.next().unwrap_or_default());
    for line in lines {
        let end = memchr(b':', line).unwrap_or(0);
        out.extend_from_slice(names.spell(&line[..end]));
        out.extend_from_slice(&line[end..]);
    }
}

/// The field names of a head. They are mostly asked for in the order in which they stand there, so each search begins behind the
/// last one found.
struct Names<'a> {
    raw: &'a [u8],
    /// Where the next search begins: at the start of a line.
    next: usize,
}

impl<'a> Names<'a> {
    fn of(raw: &'a [u8]) -> Self {
        let next = memchr(b'\n', raw).map_or(raw.len(), |end| end + 1);
        Self { raw, next }
    }

    /// How the field `name` is written there; as it is, if it is not there.
    fn spell<'b>(&mut self, name: &'b [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        if let Some(found) = self.find(self.next, name) {
            self.next = found.end;
            return found.name;
        }
        self.find(0, name).map_or(name, |found| found.name)
    }

    fn find(&self, from: usize, name: &[u8]) -> Option<Found<'a>> {
        let mut rest = &self.raw[from..];
        while let Some(end) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end + 1);
            if line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name)
            {
                return Some(Found {
                    name: &line[..name.len()],
                    end: self.raw.len() - after.len(),
                });
            }
            rest = after;
        }
        None
    }
}

struct Found<'a> {
    name: &'a [u8],
    /// Where the next line begins.
    end: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-TYPE: a\r\nX-One: host: 1\nETag: x\r\nx-one: 2\r\n\r\n";

    #[test]
    fn names_are_written_as_they_came() {
        let mut head = HeadWriter::response(b"HTTP/1.1", b"200", b"OK");
        let fields: [(&[u8], &[u8]); 6] = [
            (b"content-type", b"a"),
            (b"x-one", b"1"),
            (b"x-one", b"2"),
            (b"etag", b"x"),
            (b"host", b"none"),
            (b"content-type", b"again"),
        ];
        head.fields(fields, RAW);
        head.field(b"Last", b"");
        assert_eq!(
            head.finish().escape_ascii().to_string(),
            b"HTTP/1.1 200 OK\r\nContent-TYPE: a\r\nX-One: 1\r\nx-one: 2\r\nETag: x\r\nhost: none\r\nContent-TYPE: again\r\nLast: \r\n\r\n"
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
            b"beforeHTTP/1.1 200 etag: OK\r\nETag: x: y\r\nContent-TYPE: a\r\nnew: 1\r\n\r\n"
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
