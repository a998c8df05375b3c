//! A client, the sidecar and a scripted backend on one thread and one paused clock.
//!
//! All three talk over real sockets. Nobody else runs on the thread, so what one has written is there for the next before the
//! clock moves: fifteen seconds of silence take no time, and arrive to the millisecond.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use sse_sidecar::config::{self, ListenAddress, Override, Overrides};
use sse_sidecar::metrics::Metrics;
use sse_sidecar::proxy::Proxy;
use sse_sidecar::reload::InForce;
use sse_sidecar::resume::Streams;
use sse_sidecar::server::{Listener, ShutdownWatch, Stage, Workers};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::leftovers;

/// How long a test may take on a real clock.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the kernel may need to take bytes from one socket to another.
const MOMENT: Duration = Duration::from_micros(50);

/// The sidecar under test.
pub(crate) struct Sidecar {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    /// The lines of its access log.
    pub(crate) access: Rc<RefCell<Vec<String>>>,
    pub(crate) proxy: Rc<Proxy>,
    workers: Rc<Workers>,
}

/// Runs `test` on a thread of its own with a paused clock, and fails if it hangs.
pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut builder = Builder::new_current_thread();
        let runtime = builder
            .enable_all()
            // Before the clock runs ahead the kernel gets a moment, which it needs on a busy machine to deliver what was sent.
            .on_thread_park(|| std::thread::sleep(MOMENT))
            .start_paused(true)
            .build_local(LocalOptions::default());
        runtime.unwrap().block_on(async {
            test().await;
            leftovers::none().await;
        });
        let _ = done.send(());
    });
    match finished.recv_timeout(DEADLINE) {
        Ok(()) => {}
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the test hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("it ended without saying so"))
        }
    }
}

/// Waits until the sockets to the clients of `sidecar`, who do not read, are as full as they get. Returns how many they are.
///
/// The kernel of such a client takes the last bytes late: an acknowledgement may be delayed by 40 ms, and what is left of a window is
/// filled when the timer of the zero-window probe first expires, after 200 ms or more. A paused clock would count either as any time.
pub(crate) async fn full_sockets(sidecar: &Sidecar) -> usize {
    const LOOKS_WITHOUT_CHANGE: u32 = 12;
    let mut unchanged = 0;
    let mut before = Vec::new();
    // The runner's deadline bounds this.
    while unchanged < LOOKS_WITHOUT_CHANGE {
        tokio::time::sleep(Duration::from_millis(1)).await;
        std::thread::sleep(Duration::from_millis(50));
        let queues = send_queues(sidecar.address.port());
        let is_unchanged = !queues.is_empty() && queues == before;
        unchanged = if is_unchanged { unchanged + 1 } else { 0 };
        before = queues;
    }
    before.len()
}

/// What the kernel holds of each connection at `port` that waits for its peer's window to open (`proc_pid_net(5)`, timer 4).
fn send_queues(port: u16) -> Vec<String> {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{port:04X}");
    let columns = sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    columns
        .filter(|columns| columns[1].ends_with(&port) && columns[5].starts_with("04:"))
        .map(|columns| columns[4].to_owned())
        .collect()
}

impl Sidecar {
    /// In front of `backend`, with the rest of its configuration as TOML.
    pub(crate) async fn start(backend: SocketAddr, toml: &str) -> Self {
        Self::in_front_of(&format!("http://{backend}"), toml).await
    }

    /// In front of the backend at `url`.
    pub(crate) async fn in_front_of(url: &str, toml: &str) -> Self {
        let upstream = Override {
            source: "--upstream".to_owned(),
            value: url.to_owned(),
        };
        let overrides = Overrides {
            upstream: Some(upstream),
            ..Overrides::default()
        };
        let (config, _) = config::parse(toml, "test.toml", &overrides)
            .unwrap_or_else(|problems| panic!("{problems}"));
        Self::with_config(&config).await
    }

    /// With a worker on this thread, on which everything else is that of the program.
    pub(crate) async fn with_config(config: &config::Config) -> Self {
        let metrics = Arc::new(Metrics::new());
        let access = Rc::new(RefCell::new(Vec::new()));
        let lines = access.clone();
        let sink = Rc::new(move |line: &[u8]| {
            let line = String::from_utf8(line.to_vec()).unwrap();
            lines.borrow_mut().push(line);
        });
        let streams = Streams::new(&metrics).unwrap();
        let in_force = InForce::new(config, 1, &streams, &metrics).unwrap();
        let settings = in_force.listener_settings(&config.listeners[0]).unwrap();
        let proxy = in_force.proxy(sink);
        let (workers, work) = Workers::on_this_thread(&metrics, proxy.clone());
        spawn_local(work);
        let any_port = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
        let listeners = Listener::bind_for(&any_port, 0, 1).await.unwrap();
        let ListenAddress::Tcp(address) = listeners[0].address().unwrap() else {
            unreachable!()
        };
        workers.listen(listeners, &settings, &in_force.admission);
        let workers = Rc::new(workers);
        leftovers::watch(config, address, workers.clone(), in_force, &proxy);
        Self {
            address,
            metrics,
            access,
            proxy,
            workers,
        }
    }

    /// The shutdown has begun, and open requests have so long.
    pub(crate) fn drain(&self, timeout: Duration) {
        let until = Instant::now() + timeout;
        self.workers.enter(Stage::Draining { until });
    }

    /// What is still open ends.
    pub(crate) fn cut(&self) {
        self.workers.enter(Stage::Cutting);
    }

    /// Has every connection look at what has changed.
    pub(crate) async fn wake(&self) {
        let woken = self.workers.ask(DEADLINE, ShutdownWatch::wake).await;
        assert_eq!(woken, [Some(())]);
    }

    /// A connection to it.
    pub(crate) async fn connect(&self) -> Peer {
        Peer::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// A connection on which `request` was sent.
    pub(crate) async fn request(&self, request: &str) -> Peer {
        let mut client = self.connect().await;
        client.send(request).await;
        client
    }

    /// A connection on which an event stream was asked for.
    pub(crate) async fn get_events(&self) -> Peer {
        self.request(GET_EVENTS).await
    }

    /// The sum of the series of a metric that have the given labels.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = String::from_utf8(self.metrics.text()).unwrap();
        let (name, wanted) = series.split_once('{').unwrap_or((series, "}"));
        let wanted = wanted.strip_suffix('}').unwrap().split_terminator(',');
        let value = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (seen, labels) = series.split_once('{').unwrap_or((series, ""));
            let is_it = seen == name && wanted.clone().all(|label| labels.contains(label));
            is_it.then(|| value.parse::<f64>().unwrap())
        };
        let values: Vec<_> = text.lines().filter_map(value).collect();
        assert!(!values.is_empty(), "there is no {series} in\n{text}");
        values.iter().sum()
    }

    /// How many streams ended for `reason`.
    pub(crate) fn ends(&self, reason: &str, side: &str) -> f64 {
        self.metric(&format!(
            "sse_sidecar_stream_ends_total{{reason=\"{reason}\",side=\"{side}\"}}"
        ))
    }
}

/// A request for an event stream.
pub(crate) const GET_EVENTS: &str =
    "GET /events HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n";

/// The head of a chunked event stream.
pub(crate) const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// `data` as one chunk.
pub(crate) fn chunk(data: impl AsRef<[u8]>) -> Vec<u8> {
    let data = data.as_ref();
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// The last chunk.
pub(crate) const LAST_CHUNK: &str = "0\r\n\r\n";

/// A backend that does with each connection what `script` says.
pub(crate) async fn backend<F: Future<Output = ()> + 'static>(
    script: impl Fn(Peer) -> F + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            spawn_local(script(Peer::new(stream)));
        }
    });
    address
}

/// A backend that answers each connection's first request with `response`, and then waits for the other side to close.
pub(crate) async fn backend_that_says(response: impl Into<Vec<u8>>) -> SocketAddr {
    watched(response).await.0
}

/// The same, and the times at which the other side closed.
pub(crate) async fn watched(
    response: impl Into<Vec<u8>>,
) -> (SocketAddr, UnboundedReceiver<(Instant, Closed)>) {
    let (gone, seen) = moment();
    let response = response.into();
    let address = backend(move |mut peer| {
        let (gone, response) = (gone.clone(), response.clone());
        async move {
            peer.head().await;
            peer.send(response).await;
            gone(peer.closed().await);
        }
    })
    .await;
    (address, seen)
}

/// An address at which nobody answers while its second part lives: the listener's queue is full, and the kernel drops what else
/// wants to connect.
pub(crate) fn unanswering() -> (SocketAddr, impl Sized) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = |_| std::net::TcpStream::connect(address).unwrap();
    let queued: Vec<_> = (0..2).map(connect).collect();
    (address, (listener, queued))
}

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

/// Something that happens on one side of a test and is waited for on the other, with the time at which it happened.
pub(crate) fn moment<T: 'static>() -> (impl Fn(T) + Clone, UnboundedReceiver<(Instant, T)>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    (
        move |what| drop(sender.send((Instant::now(), what))),
        receiver,
    )
}
