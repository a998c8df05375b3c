//! An event stream that its upstream compressed, decoded as it arrives.

use std::task::{Context, Poll, ready};

use super::EventSource;
use super::decode::Decoder;
use crate::sending::Remainder;
use crate::sse::UpstreamEnd;

/// A source whose bytes are decoded. Each event is passed on as soon as it can be decoded.
#[derive(Debug)]
pub struct DecodedSource {
    source: Box<dyn EventSource>,
    decoder: Decoder,
    /// Read, and not yet decoded.
    coded: Vec<u8>,
}

/// How much coded data is read at once.
const READ_SIZE: usize = 8 * 1024;

impl DecodedSource {
    /// `source`, decoded.
    pub fn new(source: Box<dyn EventSource>, decoder: Decoder) -> Self {
        Self {
            source,
            decoder,
            coded: Vec::new(),
        }
    }

    fn poll_coded(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, UpstreamEnd>> {
        let start = self.coded.len();
        self.coded.resize(start + READ_SIZE, 0);
        let read = self.source.poll_read(cx, &mut self.coded[start..]);
        let length = match read {
            Poll::Ready(Ok(length)) => length,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        self.coded.truncate(start + length);
        if self.coded.is_empty() {
            self.coded = Vec::new(); // a silent stream holds no buffer
        }
        read
    }
}

impl EventSource for DecodedSource {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>> {
        loop {
            let mut input = self.coded.as_slice();
            let decoded = self.decoder.decode(&mut input, buffer);
            let used = self.coded.len() - input.len();
            self.coded.drain(..used);
            match decoded {
                Ok(0) => {}
                Ok(length) => return Poll::Ready(Ok(length)),
                Err(error) => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "event stream cannot be decoded"
                    );
                    return Poll::Ready(Err(UpstreamEnd::Failed));
                }
            }
            if let Err(end) = ready!(self.poll_coded(cx)) {
                let incomplete = end == UpstreamEnd::Finished && self.decoder.finish().is_err();
                return Poll::Ready(Err(if incomplete {
                    UpstreamEnd::WithoutLastChunk
                } else {
                    end
                }));
            }
        }
    }

    fn park(&mut self, cx: &mut Context<'_>) -> Poll<UpstreamEnd> {
        self.source.park(cx)
    }

    fn take_remainder(&mut self) -> Option<Remainder> {
        self.source.take_remainder()
    }
}
