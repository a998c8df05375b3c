//! A request as it is sent.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::sending::Unsent;
use crate::socket::Socket;

/// Writes a request's head, and its body as it comes.
#[derive(Debug)]
pub struct Outflow {
    /// The head, then the sizes of chunks.
    front: Vec<u8>,
    /// How much of `front` is written.
    front_written: usize,
    data: Bytes,
    back: &'static [u8],
    framing: BodyFraming,
    /// The body has ended: what is buffered is the last of it.
    has_ended: bool,
    /// A frame of the body was read.
    has_taken: bool,
    /// A byte was written.
    has_written: bool,
}

#[derive(Debug)]
enum BodyFraming {
    Chunked,
    /// This many bytes are still to come.
    Length(u64),
}

const CRLF: &[u8] = b"\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const LAST_CHUNK_AFTER_DATA: &[u8] = b"\r\n0\r\n\r\n";

impl Outflow {
    /// Writes `head`, and after it a body of `length` bytes; in chunks, if that is not known.
    pub fn new(head: Vec<u8>, length: Option<u64>) -> Self {
        Self {
            front: head,
            front_written: 0,
            data: Bytes::new(),
            back: b"",
            framing: length.map_or(BodyFraming::Chunked, BodyFraming::Length),
            has_ended: length == Some(0),
            has_taken: false,
            has_written: false,
        }
    }

    /// Whether nothing has gone to the upstream, and nothing was taken from the body.
    pub fn is_untouched(&self) -> bool {
        !self.has_written && !self.has_taken
    }

    /// Ready when all of it has been written. `body` is the same at each call.
    pub fn poll<B: Body<Data = Bytes> + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &Socket,
        body: &mut B,
    ) -> Poll<Result<(), Unsent>> {
        // The part of the body that is ready leaves with the head.
        let mut asked = false;
        if !self.has_written && !self.has_taken && !self.has_ended {
            asked = true;
            if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                asked = false;
                self.take(frame, body.is_end_stream())?;
            }
        }
        loop {
            while self.waits() {
                ready!(self.poll_write(cx, socket)).map_err(|_| Unsent::Refused)?;
            }
            let flushed = socket.poll_flush_shared(cx).map_err(|_| Unsent::Refused)?;
            if self.has_ended {
                return flushed.map(Ok);
            }
            if asked {
                return Poll::Pending;
            }
            let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
            self.take(frame, body.is_end_stream())?;
        }
    }

    fn waits(&self) -> bool {
        self.front_written < self.front.len() || !self.data.is_empty() || !self.back.is_empty()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, socket: &Socket) -> Poll<io::Result<()>> {
        let front = &self.front[self.front_written..];
        let parts = [front, &self.data, self.back];
        let mut bufs = [IoSlice::new(&[]); 3];
        let mut count = 0;
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            bufs[count] = IoSlice::new(part);
            count += 1;
        }
        let mut written = ready!(socket.poll_write_shared(cx, &bufs[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.has_written = true;
        let of_front = written.min(front.len());
        self.front_written += of_front;
        written -= of_front;
        let of_data = written.min(self.data.len());
        self.data.advance(of_data);
        self.back = &self.back[written - of_data..];
        if self.front_written == self.front.len() {
            self.front = Vec::new();
            self.front_written = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn take<E>(
        &mut self,
        frame: Option<Result<Frame<Bytes>, E>>,
        is_last: bool,
    ) -> Result<(), Unsent> {
        match frame {
            Some(Ok(frame)) => {
                self.has_taken = true;
                match frame.into_data() {
                    Ok(data) => self.put(data, is_last),
                    Err(frame) => {
                        self.end(frame.trailers_ref());
                        Ok(())
                    }
                }
            }
            Some(Err(_)) => Err(Unsent::Body),
            None if matches!(self.framing, BodyFraming::Length(1..)) => Err(Unsent::Body),
            None => {
                self.end(None);
                Ok(())
            }
        }
    }

    fn put(&mut self, data: Bytes, is_last: bool) -> Result<(), Unsent> {
        let length = data.len();
        match &mut self.framing {
            BodyFraming::Length(left) => {
                *left = left.checked_sub(length as u64).ok_or(Unsent::Body)?;
                self.has_ended = *left == 0;
                if is_last && !self.has_ended {
                    return Err(Unsent::Body);
                }
            }
            BodyFraming::Chunked if length == 0 => {}
            BodyFraming::Chunked => {
                self.front
                    .extend_from_slice(format!("{length:x}\r\n").as_bytes());
                self.back = if is_last { LAST_CHUNK_AFTER_DATA } else { CRLF };
                self.has_ended = is_last;
            }
        }
        self.data = data;
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) {
        self.has_ended = true;
        match (&self.framing, trailers) {
            (BodyFraming::Length(_), _) => {}
            (BodyFraming::Chunked, None) => self.back = LAST_CHUNK,
            (BodyFraming::Chunked, Some(trailers)) => {
                self.front.extend_from_slice(b"0\r\n");
                for (name, value) in trailers {
                    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), CRLF] {
                        self.front.extend_from_slice(part);
                    }
                }
                self.back = CRLF;
            }
        }
    }
}
