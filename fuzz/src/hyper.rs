//! hyper on a connection in memory, polled by hand: its parsers are not public, so they are asked through its two ends.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;

/// A connection whose peer has sent all that it ever sends, and has closed its side.
struct Memory<'a> {
    input: &'a [u8],
    /// The most that one read gives, so that the input comes at any split.
    most: usize,
    /// What is said before the request is no answer to hyper.
    waits_for_request: bool,
}

/// More fields than any input of the fuzzer has.
const MOST_FIELDS: usize = 1000;
/// More polls than any input of the fuzzer needs: a connection that is not done by then never will be.
const MOST_POLLS: usize = 100_000;

impl Read for Memory<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.waits_for_request {
            return Poll::Pending;
        }
        let length = self.most.max(1).min(self.input.len()).min(buf.remaining());
        let (now, later) = self.input.split_at(length);
        buf.put_slice(now);
        self.input = later;
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.waits_for_request = false;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A body as hyper gave it out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub bytes: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    /// hyper said that this was all, not that it was cut.
    pub is_whole: bool,
}

/// A request as hyper's server read it.
#[derive(Debug)]
pub struct Served {
    pub method: Method,
    pub target: String,
    pub version: Version,
    pub headers: HeaderMap,
    /// The body's length as the head says it; `None` is chunked.
    pub length: Option<u64>,
    pub content: Content,
}

/// A response as hyper's client read it.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub content: Content,
}

/// The requests that hyper's server reads in `input`, at most `most` bytes at a time.
pub fn serve(input: &[u8], most: usize) -> Vec<Served> {
    let served = RefCell::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        served.borrow_mut().push(Served {
            method: head.method,
            target: head.uri.to_string(),
            version: head.version,
            headers: head.headers,
            length: body.size_hint().exact(),
            content: Content::default(),
        });
        // hyper drops this future where a body breaks off.
        let served = &served;
        async move {
            let content = collect(body).await;
            if let Some(request) = served.borrow_mut().last_mut() {
                request.content = content;
            }
            Ok::<_, std::convert::Infallible>(Response::new(Nothing))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true) // or a request that ends with the input is not even looked at
        .header_read_timeout(None)
        .auto_date_header(false)
        .max_headers(MOST_FIELDS)
        .serve_connection(memory(input, most, false), service);
    // Whether the connection ends well says nothing of the requests.
    let _ = finish(connection);
    served.into_inner()
}

/// How hyper's client reads `input`, the answer to a request with `method`.
pub fn answer(input: &[u8], most: usize, method: Method) -> Option<Answer> {
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .max_headers(MOST_FIELDS);
    let (mut sender, connection) = finish(builder.handshake(memory(input, most, true))).ok()?;
    let mut request = Request::new(Nothing);
    *request.method_mut() = method;
    let mut connection = pin!(connection);
    let mut is_over = false;
    let mut exchange = pin!(async move {
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        Some(Answer {
            status: head.status,
            headers: head.headers,
            content: collect(body).await,
        })
    });
    finish(std::future::poll_fn(|cx| {
        if !is_over {
            is_over = connection.as_mut().poll(cx).is_ready();
        }
        exchange.as_mut().poll(cx)
    }))
}

fn memory(input: &[u8], most: usize, waits_for_request: bool) -> Memory<'_> {
    Memory {
        input,
        most,
        waits_for_request,
    }
}

async fn collect(body: Incoming) -> Content {
    let mut body = pin!(body);
    let mut content = Content::default();
    loop {
        let frame = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
        match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => content.bytes.extend_from_slice(&data),
            Some(Ok(Err(frame))) => content.trailers = frame.into_trailers().ok(),
            Some(Err(_)) => return content,
            None => {
                content.is_whole = true;
                return content;
            }
        }
    }
}

/// Polls until it is done. Nothing here waits for anybody outside, so it is polled again whether or not it was woken.
fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..MOST_POLLS {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
    panic!("hyper waits for something, and nothing more will come");
}

/// A message without a body.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}
