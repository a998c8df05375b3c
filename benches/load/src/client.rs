//! Clients: one response after or beside another, over HTTP/1.1 or HTTP/2.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::{fs, io};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::Result;
use crate::events::Counter;
use crate::options::{Options, Via};

/// Streams on one HTTP/2 connection, where they stay open.
const STREAMS: usize = 100;

/// How to get at responses.
pub struct Door {
    to: SocketAddr,
    via: Via,
    tls: TlsConnector,
    /// Streams that an HTTP/2 connection has in its life.
    most: usize,
    /// The HTTP/2 connection that is not full yet, and the streams that it has had.
    shared: RefCell<Option<(SendRequest<Bytes>, usize)>>,
}

impl Door {
    pub fn new(options: &Options) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        if let Some(file) = &options.certificate {
            roots.add(CertificateDer::from_pem_slice(&fs::read(file)?)?)?;
        }
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled(); // each connection costs a whole handshake
        config.alpn_protocols = vec![match options.via {
            Via::Plain | Via::Tls => b"http/1.1".into(),
            Via::Http2 => b"h2".into(),
        }];
        Ok(Self {
            to: options.to,
            via: options.via,
            tls: TlsConnector::from(Arc::new(config)),
            most: STREAMS,
            shared: RefCell::default(),
        })
    }

    /// With one HTTP/2 connection for streams without end.
    pub fn kept(options: &Options) -> Result<Self> {
        let most = usize::MAX;
        Ok(Self {
            most,
            ..Self::new(options)?
        })
    }

    /// Asks for `path`, on a connection of its own or on a stream of a shared one.
    pub async fn open(&self, path: &str) -> Result<Response> {
        if self.via == Via::Http2 {
            return self.open_stream(path).await;
        }
        let mut response = Response::new(match self.via {
            Via::Plain => Transport::Plain(self.connect().await?),
            Via::Tls | Via::Http2 => Transport::Tls(self.connect_tls().await?),
        });
        response.ask(path).await?;
        Ok(response)
    }

    async fn open_stream(&self, path: &str) -> Result<Response> {
        let kept = self.shared.take().filter(|(_, opened)| *opened < self.most);
        let (sender, opened) = match kept {
            Some(kept) => kept,
            None => {
                let mut builder = h2::client::Builder::new();
                builder.initial_connection_window_size(1 << 24);
                let (sender, connection) = builder.handshake(self.connect_tls().await?).await?;
                // A connection that fails shows in its streams.
                tokio::task::spawn_local(async move { _ = connection.await });
                (sender, 0)
            }
        };
        let mut sender = sender.ready().await?;
        let request = http::Request::get(format!("https://localhost{path}")).body(())?;
        let (response, _) = sender.send_request(request, true)?;
        self.shared.replace(Some((sender, opened + 1)));
        let response = response.await?;
        if response.status() != 200 {
            return Err(format!("answered {}", response.status()).into());
        }
        Ok(Response::new(Transport::Http2(response.into_body())))
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let socket = TcpStream::connect(self.to).await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    async fn connect_tls(&self) -> io::Result<Box<TlsStream<TcpStream>>> {
        let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
        let connected = self.tls.connect(name, self.connect().await?).await;
        connected.map(Box::new)
    }
}

/// A response while it arrives.
pub struct Response {
    transport: Transport,
    /// Whether the status has been seen to be good.
    answered: bool,
    pub events: Counter,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Http2(RecvStream),
}

thread_local! {
    /// Checked before the next read.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 * 1024].into());
}

impl Response {
    fn new(transport: Transport) -> Self {
        let answered = matches!(transport, Transport::Http2(_));
        Self {
            transport,
            answered,
            events: Counter::default(),
        }
    }

    /// Asks for another response over HTTP/1.1, when the one before has been read.
    pub async fn ask(&mut self, path: &str) -> Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.answered = false;
        match &mut self.transport {
            Transport::Plain(socket) => socket.write_all(request.as_bytes()).await?,
            Transport::Tls(socket) => {
                socket.write_all(request.as_bytes()).await?;
                socket.flush().await?;
            }
            Transport::Http2(_) => return Err("HTTP/2 opens a stream for each request".into()),
        }
        Ok(())
    }

    /// What came together, head and framing included; none of it at the connection's or stream's end.
    pub async fn read(&mut self, mut look: impl FnMut(&[u8])) -> Result<usize> {
        poll_fn(|cx| self.poll_read(cx, &mut look)).await
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        look: &mut impl FnMut(&[u8]),
    ) -> Poll<Result<usize>> {
        let socket: &mut (dyn AsyncRead + Unpin) = match &mut self.transport {
            Transport::Plain(socket) => socket,
            Transport::Tls(socket) => socket,
            Transport::Http2(stream) => {
                while let Some(data) = ready!(stream.poll_data(cx)).transpose()? {
                    if data.is_empty() {
                        continue; // a frame that has nothing but the end of the stream
                    }
                    stream.flow_control().release_capacity(data.len())?;
                    self.events.feed(&data);
                    look(&data);
                    return Poll::Ready(Ok(data.len()));
                }
                self.events.ended = true;
                return Poll::Ready(Ok(0));
            }
        };
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(socket).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            if !self.answered && !bytes.is_empty() {
                if !bytes.starts_with(b"HTTP/1.1 200") {
                    let line = bytes
                        .split(|&byte| byte == b'\r')
                        .next()
                        .unwrap_or_default();
                    return Poll::Ready(Err(String::from_utf8_lossy(line).into()));
                }
                self.answered = true;
            }
            self.events.feed(bytes);
            look(bytes);
            Poll::Ready(Ok(bytes.len()))
        })
    }

    /// Reads until `count` events have come.
    pub async fn until(&mut self, count: u64) -> Result<()> {
        while self.events.count < count {
            if self.read(|_| ()).await? == 0 {
                return Err("the stream ended early".into());
            }
        }
        Ok(())
    }

    /// Reads a stream to its end.
    pub async fn until_end(&mut self) -> Result<()> {
        while !self.events.ended {
            if self.read(|_| ()).await? == 0 && !self.events.ended {
                return Err("the stream was cut".into());
            }
        }
        Ok(())
    }
}
