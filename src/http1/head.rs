//! Reading the heads of responses.

use std::io;
use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{StatusCode, Version};

use crate::socket::Socket;
use crate::wire::{BadHead, BodyLength, Framing, ResponseHead, elements, has_no_body};

/// How much a head may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes, of all interim responses before it too.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
}

/// Reads the heads of a response: those of interim responses, and its own.
#[derive(Debug)]
pub struct HeadReader {
    limits: Limits,
    buffer: Vec<u8>,
    /// How many bytes of `buffer` were searched for the end of a head.
    seen: usize,
    /// How many bytes interim responses took.
    interim: usize,
}

/// A head that was read.
#[derive(Debug)]
pub enum Head {
    /// An interim response (1xx other than 101).
    Interim(StatusCode, HeaderMap),
    /// The response.
    Final(Response),
}

/// A response's head.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its fields; those about framing agree with it.
    pub headers: HeaderMap,
    /// The version of its sender.
    pub version: Version,
    /// Its bytes, in which each field is as its sender spelled it.
    pub raw: Bytes,
    /// The reason phrase.
    pub reason: Bytes,
    /// The framing of its body, and whether the connection persists.
    pub framing: Framing,
    /// It is an event stream by its label.
    pub is_event_stream: bool,
    /// Bytes that were read after it.
    pub rest: Bytes,
}

/// Why there is no head.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The connection failed, or was closed (`UnexpectedEof`).
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no head that can be passed on.
    #[error(transparent)]
    Bad(#[from] BadHead),
}

const READ_SIZE: usize = 8 * 1024;

impl HeadReader {
    /// Reads heads that keep to `limits`.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: Vec::new(),
            seen: 0,
            interim: 0,
        }
    }

    /// Whether a byte has come.
    pub fn has_begun(&self) -> bool {
        self.interim > 0 || !self.buffer.is_empty()
    }

    /// The next head of the response to a request with HEAD, if it is `to_head`.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        socket: &Socket,
        to_head: bool,
    ) -> Poll<Result<Head, HeadError>> {
        loop {
            if let Some(end) = ResponseHead::end(&self.buffer, self.seen) {
                return Poll::Ready(self.take(end, to_head));
            }
            self.seen = self.buffer.len();
            self.check_length(self.seen)?;
            if !ResponseHead::may_begin(&self.buffer) {
                return Poll::Ready(Err(BadHead::StatusLine.into()));
            }
            let mut space = [MaybeUninit::uninit(); READ_SIZE];
            let mut buf = tokio::io::ReadBuf::uninit(&mut space);
            ready!(socket.poll_read_shared(cx, &mut buf))?;
            if buf.filled().is_empty() {
                let closed = io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the connection was closed before a whole head had come",
                );
                return Poll::Ready(Err(closed.into()));
            }
            self.buffer.extend_from_slice(buf.filled());
        }
    }

    fn check_length(&self, length: usize) -> Result<(), BadHead> {
        if self.interim + length > self.limits.bytes {
            return Err(BadHead::TooLong(self.limits.bytes));
        }
        Ok(())
    }

    fn take(&mut self, end: usize, to_head: bool) -> Result<Head, HeadError> {
        self.check_length(end)?;
        let head = ResponseHead::parse(&mut self.buffer[..end], self.limits.fields)?;
        let status = StatusCode::from_u16(head.status).map_err(|_| BadHead::StatusLine)?;
        if !head.dropped.is_empty() {
            let lines = head.dropped.iter().map(|line| &self.buffer[line.clone()]);
            let lines: Vec<_> = lines.map(|line| line.escape_ascii().to_string()).collect();
            tracing::warn!(
                lines = lines.join(" | "),
                "lines of a response head are not header fields and are not passed on"
            );
        }
        let read = Bytes::from(std::mem::take(&mut self.buffer));
        let (raw, rest) = (read.slice(..end), read.slice(end..));
        let mut headers = HeaderMap::with_capacity(head.fields.len());
        for field in &head.fields {
            let name = HeaderName::from_bytes(&raw[field.name.clone()]);
            let value = HeaderValue::from_maybe_shared(raw.slice(field.value.clone()));
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            self.interim += end;
            self.buffer = rest.into();
            self.seen = 0;
            return Ok(Head::Interim(status, headers));
        }
        let is_event_stream = head.is_event_stream(&raw);
        let framing = head.framing(&raw, to_head, is_event_stream)?;
        tell_framing(&mut headers, framing, status);
        Ok(Head::Final(Response {
            status,
            version: if head.is_http10 {
                Version::HTTP_10
            } else {
                Version::HTTP_11
            },
            reason: raw.slice(head.reason.clone()),
            headers,
            raw,
            framing,
            is_event_stream,
            rest,
        }))
    }
}

/// The length that all the fields of a head state, if it is one.
fn stated_length(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(CONTENT_LENGTH).iter();
    let mut lengths = elements(lines.map(HeaderValue::as_bytes));
    let first = lengths.next()?;
    let is_one = first.iter().all(u8::is_ascii_digit) && lengths.all(|other| other == first);
    HeaderValue::from_bytes(first).ok().filter(|_| is_one)
}

/// Makes the fields agree with the actual framing, so that the next recipient finds the same end.
fn tell_framing(headers: &mut HeaderMap, framing: Framing, status: StatusCode) {
    headers.remove(TRANSFER_ENCODING);
    match framing.length {
        // The length of what HEAD and 304 are about may stay, if it is one.
        BodyLength::None if !has_no_body(status.as_u16()) || status == StatusCode::NOT_MODIFIED => {
            match stated_length(headers) {
                Some(length) => drop(headers.insert(CONTENT_LENGTH, length)),
                None => drop(headers.remove(CONTENT_LENGTH)),
            }
        }
        BodyLength::Bytes(length) => {
            let mut lines = headers.get_all(CONTENT_LENGTH).iter();
            let is_plain = lines
                .next()
                .is_some_and(|value| !value.as_bytes().contains(&b','));
            if !is_plain || lines.next().is_some() {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
        }
        BodyLength::None | BodyLength::Chunked | BodyLength::UntilClose => {
            headers.remove(CONTENT_LENGTH);
        }
    }
}
