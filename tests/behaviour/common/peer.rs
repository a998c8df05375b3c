//! One end of a connection, with what it has read.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// How the other side ended a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// In order: over TLS with `close_notify`.
    Fin,
    Reset,
    /// Over TLS without `close_notify`.
    Cut,
}

/// One end of a connection, read as the test wants it.
pub(crate) struct Peer<S = TcpStream> {
    pub(crate) stream: S,
    /// Read, and not yet asked for.
    rest: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// Closes with RST.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream,
            rest: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next bytes up to and with `end`.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            let found = self
                .rest
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let taken: Vec<u8> = self.rest.drain(..at + end.len()).collect();
                return String::from_utf8(taken).unwrap();
            }
            let read = self.stream.read_buf(&mut self.rest).await;
            assert!(
                read.is_ok_and(|length| length > 0),
                "the connection ended before {end:?}; it said {:?}",
                self.rest.escape_ascii().to_string()
            );
        }
    }

    /// The same for bytes that are no text.
    pub(crate) async fn bytes_until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            bytes.extend(self.bytes(1).await);
        }
        bytes
    }

    /// So many bytes.
    pub(crate) async fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.rest.len() < length {
            let read = self.stream.read_buf(&mut self.rest).await;
            assert!(
                read.is_ok_and(|length| length > 0),
                "the connection ended; it said {:?}",
                self.rest.escape_ascii().to_string()
            );
        }
        self.rest.drain(..length).collect()
    }

    /// As many of the bytes that come, until so many have or the connection ends.
    pub(crate) async fn at_most(&mut self, length: usize) -> Vec<u8> {
        while self.rest.len() < length
            && self
                .stream
                .read_buf(&mut self.rest)
                .await
                .is_ok_and(|length| length > 0)
        {}
        self.rest.drain(..length.min(self.rest.len())).collect()
    }

    /// A head.
    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// A head; `None` if the connection ends before it.
    pub(crate) async fn try_head(&mut self) -> Option<String> {
        while !self.rest.windows(4).any(|window| window == b"\r\n\r\n") {
            let read = self.stream.read_buf(&mut self.rest).await;
            if read.is_err() || read.is_ok_and(|length| length == 0) {
                return None;
            }
        }
        Some(self.head().await)
    }

    /// The data of the next chunk; empty for the last one.
    pub(crate) async fn chunk(&mut self) -> String {
        let chunk = self.try_chunk().await;
        chunk.expect("the connection ended before the last chunk")
    }

    /// The same; `None` if the connection ended before it.
    pub(crate) async fn try_chunk(&mut self) -> Option<String> {
        loop {
            let line = self.rest.windows(2).position(|end| end == b"\r\n");
            if let Some(line) = line {
                let size = str::from_utf8(&self.rest[..line]).unwrap();
                let end = line + 2 + usize::from_str_radix(size, 16).unwrap();
                if self.rest.len() >= end + 2 {
                    assert_eq!(&self.rest[end..end + 2], b"\r\n");
                    let chunk: Vec<u8> = self.rest.drain(..end + 2).collect();
                    return Some(String::from_utf8(chunk[line + 2..end].to_vec()).unwrap());
                }
            }
            let read = self.stream.read_buf(&mut self.rest).await;
            if read.is_err() || read.is_ok_and(|length| length == 0) {
                return None;
            }
        }
    }

    /// The data of all chunks, and whether there was a last one.
    pub(crate) async fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut chunked = sse_sidecar::wire::Chunked::new();
        let mut data = Vec::new();
        loop {
            let mut raw = std::mem::take(&mut self.rest);
            let (kept, read) = chunked.decode_in_place(&mut raw, |_| {}).unwrap();
            data.extend_from_slice(&raw[..kept]);
            assert_eq!(chunked.failure(), None);
            self.rest = raw.split_off(read);
            if chunked.is_done() {
                return (data, true);
            }
            if !self
                .stream
                .read_buf(&mut self.rest)
                .await
                .is_ok_and(|length| length > 0)
            {
                return (data, false);
            }
        }
    }

    /// What was read and not asked for.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }

    /// Everything up to the end, and how it ended.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, Closed) {
        let closed = loop {
            match self.stream.read_buf(&mut self.rest).await {
                Ok(0) => break Closed::Fin,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break Closed::Cut,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                    break Closed::Reset;
                }
            }
        };
        (std::mem::take(&mut self.rest), closed)
    }

    /// Waits until the other side is gone, whatever it says before.
    pub(crate) async fn closed(&mut self) -> Closed {
        self.rest().await.1
    }

    /// What comes within `time`; nothing if nothing does.
    pub(crate) async fn within(&mut self, time: Duration) -> String {
        let _ = tokio::time::timeout(time, async {
            while self
                .stream
                .read_buf(&mut self.rest)
                .await
                .is_ok_and(|n| n > 0)
            {}
        })
        .await;
        String::from_utf8(std::mem::take(&mut self.rest)).unwrap()
    }
}
