//! Backends of which each has a name, and does from one request to the next what the test says.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{Response, StatusCode};
use sse_sidecar::config::{self, Overrides};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::common::{EVENTS, Peer, Sidecar, chunk};

/// What a backend does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Answers with its name.
    Answer,
    /// The same with this status.
    Status(u16),
    /// Opens an event stream with the given data.
    Stream,
    /// Answers after a second.
    Slow,
    /// Says nothing.
    Hang,
    /// Closes the connection.
    Close,
    /// Closes it after the first bytes of a head.
    Begin,
    /// Closes it after an interim response.
    Interim,
    /// Over HTTP/2, refuses the request unseen.
    Refuse,
}

/// A backend, and its port for as long as it lives.
pub(crate) struct Backend {
    pub(crate) url: String,
    shared: Rc<Shared>,
    address: SocketAddr,
    is_http2: bool,
    /// Reserves the port without listening.
    _port: TcpSocket,
    running: Rc<RefCell<JoinSet<()>>>,
}

struct Shared {
    name: &'static str,
    mode: Cell<Mode>,
    requests: Cell<usize>,
    at_once: Cell<usize>,
    most_at_once: Cell<usize>,
    /// The status of its health check; none comes for 0.
    health: Cell<u16>,
    checks: Cell<usize>,
    said: broadcast::Sender<&'static str>,
}

impl Backend {
    /// Three of them.
    pub(crate) fn three() -> [Self; 3] {
        ["a", "b", "c"].map(|name| Self::new(name, "127.0.0.1", false))
    }

    /// Three that speak HTTP/2.
    pub(crate) fn three_with_http2() -> [Self; 3] {
        ["a", "b", "c"].map(|name| Self::new(name, "127.0.0.1", true))
    }

    pub(crate) fn new(name: &'static str, ip: &str, is_http2: bool) -> Self {
        Self::at(name, SocketAddr::new(ip.parse().unwrap(), 0), is_http2)
    }

    pub(crate) fn at(name: &'static str, address: SocketAddr, is_http2: bool) -> Self {
        let port = bound(address);
        let address = port.local_addr().unwrap();
        let scheme = if is_http2 { "h2c" } else { "http" };
        let backend = Self {
            url: format!("{scheme}://{address}"),
            shared: Rc::new(Shared {
                name,
                mode: Cell::new(Mode::Answer),
                requests: Cell::new(0),
                at_once: Cell::new(0),
                most_at_once: Cell::new(0),
                health: Cell::new(200),
                checks: Cell::new(0),
                said: broadcast::channel(16).0,
            }),
            address,
            is_http2,
            _port: port,
            running: Rc::default(),
        };
        backend.start();
        backend
    }

    /// What it does from now on.
    pub(crate) fn set(&self, mode: Mode) {
        self.shared.mode.set(mode);
    }

    /// How many requests it has read.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.get()
    }

    /// How many it has read at most at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.most_at_once.get()
    }

    /// What it answers when it is asked for `/up`; nothing, if this is 0.
    pub(crate) fn set_health(&self, status: u16) {
        self.shared.health.set(status);
    }

    /// How often it was asked for that.
    pub(crate) fn checks(&self) -> usize {
        self.shared.checks.get()
    }

    /// Says this in all of its event streams.
    pub(crate) fn say(&self, data: &'static str) {
        let _ = self.shared.said.send(data);
    }

    /// Closes everything, and refuses connections from now on.
    pub(crate) fn stop(&self) {
        self.running.replace(JoinSet::new());
    }

    /// Listens again.
    pub(crate) fn start(&self) {
        let listener = bound(self.address).listen(128).unwrap();
        let (shared, is_http2) = (self.shared.clone(), self.is_http2);
        let running = self.running.clone();
        self.running.borrow_mut().spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = shared.clone();
                let mut running = running.borrow_mut();
                if is_http2 {
                    running.spawn_local(serve_http2(stream, shared));
                } else {
                    running.spawn_local(serve(Peer::new(stream), shared));
                }
            }
        });
    }
}

/// A socket at `address`, which others may bind too, to listen one after the other.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// A request that is being answered.
struct Answering(Rc<Shared>);

impl Answering {
    fn begin(shared: &Rc<Shared>) -> Self {
        shared.requests.set(shared.requests.get() + 1);
        shared.at_once.set(shared.at_once.get() + 1);
        let most = shared.most_at_once.get().max(shared.at_once.get());
        shared.most_at_once.set(most);
        Self(shared.clone())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.at_once.set(self.0.at_once.get() - 1);
    }
}

async fn serve(mut peer: Peer, shared: Rc<Shared>) {
    while let Some(head) = peer.try_head().await {
        if head.starts_with("GET /up ") {
            shared.checks.set(shared.checks.get() + 1);
            match shared.health.get() {
                0 => drop(peer.try_head().await),
                204 => peer.send("HTTP/1.1 204 Well\r\n\r\n").await,
                status => {
                    let head = format!("HTTP/1.1 {status} So\r\nContent-Length: 2\r\n\r\n");
                    peer.send(format!("{head}so")).await;
                }
            }
            continue;
        }
        let _answering = Answering::begin(&shared);
        if head.to_lowercase().contains("content-length: 5") {
            peer.bytes(5).await;
        }
        let name = shared.name;
        match shared.mode.get() {
            Mode::Answer | Mode::Slow => {
                if shared.mode.get() == Mode::Slow {
                    sleep(Duration::from_secs(1)).await;
                }
                let length = name.len();
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}"
                ))
                .await;
            }
            Mode::Status(status) => {
                let length = name.len();
                let head = format!("HTTP/1.1 {status} No\r\nContent-Length: {length}\r\n\r\n");
                peer.send(format!("{head}{name}")).await;
            }
            Mode::Stream if !head.contains("event-stream") => {
                let length = name.len();
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}"
                ))
                .await;
            }
            Mode::Stream => {
                let mut said = shared.said.subscribe();
                peer.send(EVENTS).await;
                while let Ok(data) = said.recv().await {
                    peer.send(chunk(data)).await;
                }
            }
            Mode::Hang => {
                peer.closed().await;
            }
            Mode::Close | Mode::Refuse => return,
            Mode::Begin => return peer.send("HTTP/1.1 2").await,
            Mode::Interim => {
                return peer.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
            }
        }
    }
}

async fn serve_http2(stream: TcpStream, shared: Rc<Shared>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    let mut hanging = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        if request.uri().path() == "/up" {
            shared.checks.set(shared.checks.get() + 1);
            let head = Response::builder().status(shared.health.get());
            respond.send_response(head.body(()).unwrap(), true).unwrap();
            continue;
        }
        shared.requests.set(shared.requests.get() + 1);
        let status = match shared.mode.get() {
            Mode::Answer | Mode::Stream | Mode::Slow => StatusCode::OK,
            Mode::Status(status) => StatusCode::from_u16(status).unwrap(),
            Mode::Hang => {
                hanging.push(respond);
                continue;
            }
            Mode::Refuse => {
                respond.send_reset(Reason::REFUSED_STREAM);
                continue;
            }
            Mode::Close | Mode::Begin | Mode::Interim => return,
        };
        let length = shared.name.len();
        let head = Response::builder()
            .status(status)
            .header("content-length", length);
        let mut body = respond
            .send_response(head.body(()).unwrap(), false)
            .unwrap();
        body.send_data(Bytes::from_static(shared.name.as_bytes()), true)
            .unwrap();
    }
}

/// A sidecar with this configuration, which names its backends itself.
pub(crate) async fn balanced(toml: &str) -> Sidecar {
    let (config, _) = config::parse(toml, "test.toml", &Overrides::default())
        .unwrap_or_else(|problems| panic!("{problems}"));
    Sidecar::with_config(&config).await
}

/// A sidecar in front of `backends`, with the rest of its configuration.
pub(crate) async fn in_front_of<B: std::borrow::Borrow<Backend>>(
    backends: &[B],
    toml: &str,
) -> Sidecar {
    let urls = backends.iter().map(|backend| &backend.borrow().url);
    let urls: Vec<_> = urls.map(|url| format!("'{url}'")).collect();
    balanced(&format!("upstream.urls = [{}]\n{toml}", urls.join(", "))).await
}
