//! A file that is sent to a client.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::Broken;

/// How much is read at once, and so is in memory for each response.
const PIECE: u64 = 64 * 1024;

/// The most threads, of all workers, that may wait for file systems. A file system that hangs delays files, but not name lookups,
/// which use threads of the same pool.
static READS: Semaphore = Semaphore::const_new(64);

/// Bytes of a file.
#[derive(Debug)]
pub struct FilePart {
    /// The file.
    pub file: File,
    /// Where they begin.
    pub first: u64,
    /// How many they are.
    pub length: u64,
}

/// Bytes of a file, exactly as many as the response's head has said, or a failure. The next ones are read when the client has taken the last.
#[derive(Debug)]
pub struct FileBody {
    file: Arc<File>,
    /// Where the next piece begins, and how much is left from there on.
    at: u64,
    left: u64,
    /// The first piece, read where the file was opened.
    ready: Bytes,
    reading: Option<Reading>,
}

struct Reading(Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>);

/// Runs what may wait for a file system on a thread of its own.
pub async fn read_blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let permit = READS.acquire().await.map_err(io::Error::other)?;
    let work = move || {
        let _permit = permit; // until the read is done, even if its request is gone
        work()
    };
    spawn_blocking(work).await.map_err(io::Error::other)?
}

impl FileBody {
    /// The body with the bytes of `part`, of which it reads the first. It blocks: a caller has a thread for it.
    pub fn begin(part: FilePart) -> io::Result<Self> {
        let FilePart {
            file,
            first,
            length,
        } = part;
        let ready = read_piece(&file, first, length)?;
        Ok(Self {
            file: Arc::new(file),
            at: first + ready.len() as u64,
            left: length - ready.len() as u64,
            ready,
            reading: None,
        })
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if !self.ready.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.ready)))));
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let (file, at, left) = (&self.file, self.at, self.left);
        let reading = self.reading.get_or_insert_with(|| {
            let file = file.clone();
            let read = read_blocking(move || read_piece(&file, at, left));
            Reading(Box::pin(read))
        });
        let read = ready!(reading.0.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(Some(match read {
            Ok(piece) => {
                self.at += piece.len() as u64;
                self.left -= piece.len() as u64;
                Ok(Frame::data(piece))
            }
            Err(error) => {
                tracing::warn!(%error, "a file cannot be read on");
                Err(Broken::File)
            }
        }))
    }

    /// How many bytes are still to come.
    pub(super) fn remaining(&self) -> u64 {
        self.left + self.ready.len() as u64
    }
}

/// Up to a piece of the `left` bytes from `at` on; empty only if none are left.
fn read_piece(file: &File, at: u64, left: u64) -> io::Result<Bytes> {
    let length = usize::try_from(left.min(PIECE)).unwrap_or_default();
    let mut piece = vec![0; length];
    loop {
        match file.read_at(&mut piece, at) {
            Ok(0) if length > 0 => {
                let error = "it has become shorter while it was sent";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, error));
            }
            Ok(read) => {
                piece.truncate(read);
                return Ok(piece.into());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reading")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http_body_util::BodyExt;
    use tempfile::NamedTempFile;

    use super::*;
    use crate::body::Incoming;

    fn body_of(path: &std::path::Path, first: u64, length: u64) -> Incoming {
        let part = FilePart {
            file: File::open(path).unwrap(),
            first,
            length,
        };
        Incoming::File(Box::new(FileBody::begin(part).unwrap()))
    }

    /// The bytes that come, and what follows them.
    async fn read(mut body: Incoming) -> (Vec<u8>, Option<Broken>) {
        let mut sent = Vec::new();
        while let Some(frame) = body.frame().await {
            let left = http_body::Body::size_hint(&body).exact().unwrap();
            match frame {
                Ok(frame) => {
                    let piece = frame.into_data().unwrap();
                    assert!(!piece.is_empty() && piece.len() as u64 <= PIECE);
                    assert_eq!(http_body::Body::is_end_stream(&body), left == 0);
                    sent.extend(piece);
                }
                Err(error) => return (sent, Some(error)),
            }
        }
        (sent, None)
    }

    #[tokio::test]
    async fn a_long_file_comes_in_pieces_as_long_as_the_head_says() {
        let content: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&content).unwrap();
        let (whole, part) = (
            body_of(file.path(), 0, 200_000),
            body_of(file.path(), 7, 100_000),
        );
        file.write_all(b"more").unwrap();
        assert!(read(whole).await == (content.clone(), None));
        assert!(read(part).await == (content[7..100_007].to_vec(), None));
    }

    #[tokio::test]
    async fn a_file_that_becomes_shorter_is_cut_and_not_padded() {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&b"x".repeat(200_000)).unwrap();
        let body = body_of(file.path(), 0, 200_000);
        file.as_file().set_len(100_000).unwrap();
        let (sent, end) = read(body).await;
        assert_eq!((sent.len(), end), (100_000, Some(Broken::File)));
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_stays_what_it_was_for_whoever_has_it() {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&b"x".repeat(200_000)).unwrap();
        let body = body_of(file.path(), 0, 200_000);
        let mut other = NamedTempFile::new().unwrap();
        other.write_all(b"new").unwrap();
        other.persist(file.path()).unwrap();
        assert!(read(body).await == (vec![b'x'; 200_000], None));
    }

    #[tokio::test]
    async fn nothing_is_read_ahead_of_the_client() {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&b"x".repeat(200_000)).unwrap();
        let mut body = body_of(file.path(), 0, 200_000);
        body.frame().await.unwrap().unwrap();
        file.as_file().set_len(0).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap_err(), Broken::File);
    }
}
