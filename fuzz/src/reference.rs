//! HTTP/1 as its grammar has it, read as simply as can be: whole, with no state and no leniency.

/// A request's head that keeps to every rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub method: &'a [u8],
    pub target: &'a [u8],
    pub minor: u8,
    pub fields: Vec<(&'a [u8], &'a [u8])>,
    /// Where it ends.
    pub end: usize,
}

/// What a head says of the body after it (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Nothing,
    Bytes(u64),
    Chunked,
    /// Not said, or said so that recipients may differ.
    Doubtful,
}

/// The head that `bytes` begin with, if it is one of HTTP/1.0 or HTTP/1.1 (RFC 9112, sections 2 to 5).
pub fn request(bytes: &[u8]) -> Option<Request<'_>> {
    let mut rest = bytes;
    let mut line = next_line(&mut rest)?;
    while line.is_empty() {
        line = next_line(&mut rest)?;
    }
    let mut words = line.split(|&byte| byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let minor = match version {
        b"HTTP/1.0" => 0,
        b"HTTP/1.1" => 1,
        _ => return None,
    };
    let is_target = |byte: &u8| *byte > b' ' && *byte != 0x7F && *byte != b'#';
    if words.next().is_some() || !is_token(method) || target.is_empty() {
        return None;
    }
    if !target.iter().all(is_target) {
        return None;
    }
    let fields = fields(&mut rest)?;
    Some(Request {
        method,
        target,
        minor,
        fields,
        end: bytes.len() - rest.len(),
    })
}

/// The fields up to an empty line, which is taken too.
fn fields<'a>(rest: &mut &'a [u8]) -> Option<Vec<(&'a [u8], &'a [u8])>> {
    let mut fields = Vec::new();
    loop {
        let line = next_line(rest)?;
        if line.is_empty() {
            return Some(fields);
        }
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        let is_value = value
            .iter()
            .all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7F));
        if !is_token(name) || !is_value {
            return None;
        }
        fields.push((name, value));
    }
}

/// A line that ends in CRLF and has neither of them before that.
fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let line = &rest[..end];
    *rest = rest[end..].strip_prefix(b"\r\n")?;
    Some(line)
}

/// The length of a request's body by its fields.
pub fn request_length(request: &Request<'_>) -> Length {
    match length(&request.fields) {
        Length::Chunked if request.minor == 0 => Length::Doubtful,
        length => length,
    }
}

/// What `fields` say of the length, where all recipients agree.
pub fn length(fields: &[(&[u8], &[u8])]) -> Length {
    let values = |wanted: &str| {
        let wanted = wanted.as_bytes();
        fields
            .iter()
            .filter(move |(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|&(_, value)| value)
            .collect::<Vec<_>>()
    };
    match (
        &values("content-length")[..],
        &values("transfer-encoding")[..],
    ) {
        ([], []) => Length::Nothing,
        ([], codings) if is_chunked(codings) => Length::Chunked,
        ([first, others @ ..], []) if others.iter().all(|other| other == first) => {
            number(first).map_or(Length::Doubtful, Length::Bytes)
        }
        _ => Length::Doubtful,
    }
}

/// Whether the list that the lines make is `chunked`; "empty elements do not contribute to the count" (RFC 9110, section 5.6.1.2).
fn is_chunked(lines: &[&[u8]]) -> bool {
    let elements = lines
        .iter()
        .flat_map(|line| line.split(|&byte| byte == b','));
    let mut elements = elements.map(trim).filter(|element| !element.is_empty());
    elements
        .next()
        .is_some_and(|first| first.eq_ignore_ascii_case(b"chunked"))
        && elements.next().is_none()
}

fn number(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}

/// Without the spaces and tabs at its ends.
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// RFC 9110, section 5.6.2.
pub fn is_token(text: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_token)
}
