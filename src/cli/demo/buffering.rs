//! What the sidecar is compared with: a model of nginx as `proxy_pass` alone configures it, up to nginx 1.29.6.
//!
//! Such an nginx asks its backend with HTTP/1.0, whose response ends with the connection, and passes that response on in
//! pages of 4 KiB; the head waits for the first page. A client that leaves is missed at once here too.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, Version};
use http_body::{Body, Frame};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::BoxError;

/// What nginx collects before it passes anything on: its `proxy_buffer_size`, a page of memory, in bytes.
const PAGE: usize = 4096;

/// A response body that arrives page by page.
#[derive(Debug)]
pub(super) struct Pages {
    upstream: Incoming,
    held: BytesMut,
    ended: bool,
}

/// Asks `backend` what the client asks, and answers when a page is full. The page of the demo is of another origin.
pub(super) async fn pass(
    backend: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Pages>, BoxError> {
    let socket = TcpStream::connect(backend).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    spawn_local(connection);
    let asked = Request::get(request.uri())
        .version(Version::HTTP_10)
        .header(HOST, backend.to_string())
        .body(Empty::<Bytes>::new())?;
    let (head, upstream) = sender.send_request(asked).await?.into_parts();

    let mut pages = Pages {
        upstream,
        held: BytesMut::new(),
        ended: false,
    };
    poll_fn(|cx| pages.poll_page(cx)).await?;

    let mut response = Response::new(pages);
    *response.status_mut() = head.status;
    let headers = response.headers_mut();
    for name in [CONTENT_TYPE, CONTENT_ENCODING] {
        if let Some(value) = head.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Ok(response)
}

impl Pages {
    /// Ready when a page is full or the upstream has ended.
    fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        while !self.ended && self.held.len() < PAGE {
            match ready!(Pin::new(&mut self.upstream).poll_frame(cx)?) {
                Some(frame) => self.held.extend(frame.into_data().ok()),
                None => self.ended = true,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Body for Pages {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        ready!(self.poll_page(cx)?);
        let length = self.held.len().min(PAGE);
        let page = self.held.split_to(length).freeze();
        Poll::Ready((!page.is_empty()).then(|| Ok(Frame::data(page))))
    }
}
