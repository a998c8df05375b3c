//! What the sidecar is compared with: a model of nginx with `proxy_pass` and `proxy_ignore_client_abort on`, up to nginx 1.29.6.
//!
//! Such an nginx uses HTTP/1.0 to its backend, where the response ends with the connection, and forwards that response in pages of
//! 4 KiB; the head waits for the first page. It notices that a client has left when it has a page to write.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::response::Parts;
use http::{HeaderValue, Request, Response, Uri, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;

use super::BoxError;

/// What nginx collects before it passes anything on: its `proxy_buffer_size`, a page of memory, in bytes.
const PAGE: usize = 4096;

/// A response body that arrives page by page.
#[derive(Debug)]
pub(super) struct Pages {
    first: Option<Bytes>,
    rest: UnboundedReceiver<hyper::Result<Bytes>>,
}

/// Forwards the client's request to `backend`, and responds when a page is full. The demo's page has another origin.
pub(super) async fn pass(
    backend: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Pages>, BoxError> {
    // The client's leaving drops the handle, which does not end the task.
    let asking = spawn_local(ask(backend, request.uri().clone()));
    let (head, pages) = asking.await??;

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

/// The backend's answer, when its first page is full.
async fn ask(backend: SocketAddr, target: Uri) -> Result<(Parts, Pages), BoxError> {
    let socket = TcpStream::connect(backend).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    spawn_local(connection);
    let asked = Request::get(target)
        .version(Version::HTTP_10)
        .header(HOST, backend.to_string())
        .body(Empty::<Bytes>::new())?;
    let (head, upstream) = sender.send_request(asked).await?.into_parts();
    let (pages, mut rest) = unbounded_channel();
    spawn_local(collect(upstream, pages));
    let first = rest.recv().await.transpose()?;
    Ok((head, Pages { first, rest }))
}

/// Reads the backend to its end, or until a full page is no longer wanted.
async fn collect(mut upstream: Incoming, pages: UnboundedSender<hyper::Result<Bytes>>) {
    let mut held = BytesMut::new();
    while let Some(frame) = upstream.frame().await {
        match frame {
            Ok(frame) => held.extend(frame.into_data().ok()),
            Err(error) => {
                let _ = pages.send(Err(error));
                return;
            }
        }
        while held.len() >= PAGE {
            if pages.send(Ok(held.split_to(PAGE).freeze())).is_err() {
                return;
            }
        }
    }
    if !held.is_empty() {
        let _ = pages.send(Ok(held.freeze()));
    }
}

impl Body for Pages {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        if let Some(page) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(page))));
        }
        let page = self.rest.poll_recv(cx);
        page.map(|page| page.map(|page| page.map(Frame::data)))
    }
}
