//! A client and a backend that speak HTTP/1.1 or HTTP/2, so that one test holds for all four ways through the sidecar.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use crate::common::{Closed, LAST_CHUNK, Peer, Sidecar, chunk};

/// Which HTTP a side speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Http {
    One,
    Two,
}

/// The client's and the backend's.
pub(crate) const WAYS: [(Http, Http); 4] = [
    (Http::One, Http::One),
    (Http::One, Http::Two),
    (Http::Two, Http::One),
    (Http::Two, Http::Two),
];

/// A whole response as HTTP/2 carries it.
pub(crate) struct Whole {
    pub(crate) head: http::response::Parts,
    pub(crate) body: Vec<u8>,
    /// Its trailers, or how it broke off.
    pub(crate) end: Result<Option<HeaderMap>, h2::Error>,
}

impl Whole {
    /// The one in flight.
    pub(crate) async fn of(response: ResponseFuture) -> Result<Self, h2::Error> {
        let (head, mut stream) = response.await?.into_parts();
        let mut body = Vec::new();
        let end = loop {
            match stream.data().await {
                Some(Ok(data)) => {
                    body.extend_from_slice(&data);
                    stream.flow_control().release_capacity(data.len()).unwrap();
                }
                Some(Err(error)) => break Err(error),
                None => break stream.trailers().await,
            }
        };
        Ok(Self { head, body, end })
    }

    /// The status, the body as text, and whether it ended in order.
    pub(crate) fn summary(&self) -> (u16, String, bool) {
        let body = String::from_utf8(self.body.clone()).unwrap();
        (self.head.status.as_u16(), body, self.end.is_ok())
    }
}

/// A request with HTTP/2 for `/`.
pub(crate) fn request(method: &str) -> http::request::Builder {
    Request::builder().method(method).uri("http://test/")
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    Cut,
}

/// A client's request and what comes back.
pub(crate) enum Asker {
    One(Peer),
    Two {
        connection: Connection,
        response: Option<ResponseFuture>,
        body: Option<RecvStream>,
        upload: SendStream<Bytes>,
    },
}

/// A client's connection with HTTP/2.
#[derive(Clone)]
pub(crate) struct Connection(SendRequest<Bytes>);

impl Connection {
    /// To `sidecar`, with prior knowledge, and as `settings` say.
    pub(crate) async fn with(
        sidecar: &Sidecar,
        settings: impl FnOnce(&mut h2::client::Builder),
    ) -> Self {
        let stream = TcpStream::connect(sidecar.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, settings).await
    }

    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        settings: impl FnOnce(&mut h2::client::Builder),
    ) -> Self {
        let mut builder = h2::client::Builder::new();
        settings(&mut builder);
        let (send, connection) = builder.handshake(stream).await.unwrap();
        spawn_local(connection);
        Self(send)
    }

    pub(crate) async fn to(sidecar: &Sidecar) -> Self {
        Self::with(sidecar, |_| {}).await
    }

    /// Sends a request, with a body if `uploads`.
    pub(crate) async fn send(
        &self,
        request: Request<()>,
        uploads: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut send = self.0.clone().ready().await?;
        send.send_request(request, !uploads)
    }

    /// Sends a request without a body, and reads the whole response.
    pub(crate) async fn get(&self, request: http::request::Builder) -> Result<Whole, h2::Error> {
        let (response, _) = self.send(request.body(()).unwrap(), false).await?;
        Whole::of(response).await
    }

    /// Asks for an event stream.
    pub(crate) async fn ask(&self, upload: &str) -> Asker {
        let method = if upload.is_empty() { "GET" } else { "POST" };
        let request = Request::builder()
            .method(method)
            .uri("http://test/events")
            .header("accept", "text/event-stream")
            .body(())
            .unwrap();
        let (response, mut sending) = self.send(request, !upload.is_empty()).await.unwrap();
        if !upload.is_empty() {
            sending
                .send_data(Bytes::copy_from_slice(upload.as_bytes()), false)
                .unwrap();
        }
        Asker::Two {
            connection: self.clone(),
            response: Some(response),
            body: None,
            upload: sending,
        }
    }
}

impl Asker {
    /// Asks for an event stream.
    pub(crate) async fn ask(sidecar: &Sidecar, http: Http) -> Self {
        Self::upload(sidecar, http, "").await
    }

    /// The same with the first part of a body, whose rest never comes.
    pub(crate) async fn upload(sidecar: &Sidecar, http: Http, body: &str) -> Self {
        if http == Http::Two {
            return Connection::to(sidecar).await.ask(body).await;
        }
        let (method, framing) = match body {
            "" => ("GET", ""),
            _ => ("POST", "Transfer-Encoding: chunked\r\n"),
        };
        let head = format!(
            "{method} /events HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n{framing}\r\n"
        );
        let mut peer = sidecar.request(&head).await;
        if !body.is_empty() {
            peer.send(chunk(body)).await;
        }
        Self::One(peer)
    }

    /// The status and the fields of the head, in lower case.
    pub(crate) async fn head(&mut self) -> String {
        match self {
            Self::One(peer) => peer.head().await.to_lowercase(),
            Self::Two { response, body, .. } => {
                let response = response.take().unwrap().await.unwrap();
                let (head, stream) = response.into_parts();
                *body = Some(stream);
                let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                    format!("{name}: {}\r\n", value.to_str().unwrap())
                };
                let fields: String = head.headers.iter().map(line).collect();
                format!("http/2 {}\r\n{fields}\r\n", head.status).to_lowercase()
            }
        }
    }

    /// What comes next of the body; `None` if it has ended.
    pub(crate) async fn data(&mut self) -> Result<Option<String>, End> {
        match self {
            Self::One(peer) => {
                let data = peer.try_chunk().await.ok_or(End::Cut)?;
                Ok(Some(data).filter(|data| !data.is_empty()))
            }
            Self::Two { body, .. } => {
                let body = body.as_mut().expect("the head comes first");
                let Some(data) = body.data().await else {
                    return Ok(None);
                };
                let data = data.map_err(|_| End::Cut)?;
                body.flow_control().release_capacity(data.len()).unwrap();
                Ok(Some(String::from_utf8(data.to_vec()).unwrap()))
            }
        }
    }

    /// The rest of the body, and how it ended.
    pub(crate) async fn rest(&mut self) -> (String, End) {
        let mut seen = String::new();
        loop {
            match self.data().await {
                Ok(Some(data)) => seen += &data,
                Ok(None) => return (seen, End::Clean),
                Err(end) => return (seen, end),
            }
        }
    }

    /// The body of a response with a declared length, and how it ended.
    pub(crate) async fn rest_of_length(&mut self, head: &str) -> (String, End) {
        let Self::One(peer) = self else {
            return self.rest().await;
        };
        let (_, length) = head.split_once("content-length: ").unwrap();
        let length = length.lines().next().unwrap().parse().unwrap();
        let body = peer.bytes(length).await;
        (String::from_utf8(body).unwrap(), End::Clean)
    }

    /// Leaves: closes the connection, or resets the stream.
    pub(crate) fn leave(self) -> Option<Connection> {
        match self {
            Self::One(_) => None,
            Self::Two {
                connection,
                mut upload,
                ..
            } => {
                upload.send_reset(Reason::CANCEL);
                Some(connection)
            }
        }
    }
}

/// A backend's side of one request.
pub(crate) enum Teller {
    One {
        peer: Peer,
        head: String,
    },
    Two {
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        body: Option<SendStream<Bytes>>,
    },
}

impl Teller {
    /// The request's head, in lower case.
    pub(crate) fn asked(&self) -> String {
        match self {
            Self::One { head, .. } => head.to_lowercase(),
            Self::Two { request, .. } => format!("{request:?}").to_lowercase(),
        }
    }

    /// Sends a head.
    pub(crate) async fn open(&mut self, status: u16, content_type: &str) {
        match self {
            Self::One { peer, .. } => {
                peer.send(format!(
                    "HTTP/1.1 {status} OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
                ))
                .await;
            }
            Self::Two { respond, body, .. } => {
                let head = Response::builder()
                    .status(status)
                    .header("content-type", content_type)
                    .body(())
                    .unwrap();
                *body = Some(respond.send_response(head, false).unwrap());
            }
        }
    }

    /// Opens an event stream.
    pub(crate) async fn open_events(&mut self) {
        self.open(200, "text/event-stream").await;
    }

    pub(crate) async fn say(&mut self, data: &str) {
        match self {
            Self::One { peer, .. } => peer.send(chunk(data)).await,
            Self::Two { body, .. } => {
                let data = Bytes::copy_from_slice(data.as_bytes());
                body.as_mut().unwrap().send_data(data, false).unwrap();
            }
        }
    }

    pub(crate) async fn end(&mut self) {
        match self {
            Self::One { peer, .. } => peer.send(LAST_CHUNK).await,
            Self::Two { body, .. } => {
                body.as_mut()
                    .unwrap()
                    .send_data(Bytes::new(), true)
                    .unwrap();
            }
        }
    }

    /// Breaks off: closes the connection, or resets the stream.
    pub(crate) fn cut(self) {
        if let Self::Two { mut respond, .. } = self {
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    /// Waits until the sidecar has cancelled the request.
    pub(crate) async fn cancelled(mut self) -> Cancelled {
        match &mut self {
            Self::One { peer, .. } => Cancelled::Closed(peer.closed().await),
            Self::Two { respond, body, .. } => {
                let reset = poll_fn(|cx| match body {
                    Some(body) => body.poll_reset(cx),
                    None => respond.poll_reset(cx),
                });
                Cancelled::Reset(reset.await.unwrap())
            }
        }
    }
}

/// How a request was cancelled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    Closed(Closed),
    Reset(Reason),
}

impl Cancelled {
    /// As it should.
    pub(crate) fn is_proper(&self) -> bool {
        !matches!(self, Self::Reset(reason) if *reason != Reason::CANCEL)
    }
}

/// A backend that does with each request what `script` says. Returns its URL.
pub(crate) async fn backend<F: Future<Output = ()> + 'static>(
    http: Http,
    script: impl Fn(Teller) -> F + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = Rc::new(script);
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let script = script.clone();
            spawn_local(async move {
                match http {
                    Http::One => {
                        let mut peer = Peer::new(stream);
                        let head = peer.head().await;
                        script(Teller::One { peer, head }).await;
                    }
                    Http::Two => {
                        stream.set_nodelay(true).unwrap();
                        serve(stream, &*script).await;
                    }
                }
            });
        }
    });
    url(http, address)
}

/// Serves a connection with HTTP/2.
pub(crate) async fn serve<F: Future<Output = ()> + 'static>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &dyn Fn(Teller) -> F,
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        spawn_local(script(Teller::Two {
            request,
            respond,
            body: None,
        }));
    }
}

pub(crate) fn url(http: Http, address: SocketAddr) -> String {
    match http {
        Http::One => format!("http://{address}"),
        Http::Two => format!("h2c://{address}"),
    }
}
