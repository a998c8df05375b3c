//! A client, the sidecar and a scripted backend on one thread and one paused clock.
//!
//! All three talk over real sockets. Nothing else runs on the thread, so what one has written is there for the next before the
//! clock moves: fifteen seconds of silence take no time, and are exact to the millisecond.

mod peer;

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use sse_sidecar::config;
use sse_sidecar::config::{ListenAddress, Override, Overrides};
use sse_sidecar::metrics::Metrics;
use sse_sidecar::proxy::Proxy;
use sse_sidecar::reload::InForce;
use sse_sidecar::resume::Streams;
use sse_sidecar::server::{Listener, ShutdownWatch, Stage, Workers};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use tokio::time::Instant;

pub(crate) use self::peer::{Closed, Peer};
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
            // Before the clock advances, the kernel gets a moment, which it needs on a busy machine to deliver what was sent.
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

/// An address that does not respond as long as the second value lives: the listener's queue is full, and the kernel drops other
/// connection attempts.
pub(crate) fn unanswering() -> (SocketAddr, impl Sized) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = |_| std::net::TcpStream::connect(address).unwrap();
    let queued: Vec<_> = (0..2).map(connect).collect();
    (address, (listener, queued))
}

/// Something that happens on one side of a test and is waited for on the other, with the time at which it happened.
pub(crate) fn moment<T: 'static>() -> (impl Fn(T) + Clone, UnboundedReceiver<(Instant, T)>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    (
        move |what| drop(sender.send((Instant::now(), what))),
        receiver,
    )
}
