//! The threads that carry connections: one runtime each, and nothing handed between them after a connection has been taken.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout, timeout_at};

use super::accept::{Accepted, Detached, Shortage};
use super::acceptor::Acceptor;
use super::handshake::admit;
use super::listener::Listener;
use super::panic_guard::PanicGuard;
use super::slots::{ConnectionSlots, Slot};
use super::{Admission, Handler, ListenerSettings, ShutdownWatch, Stage, connection};
use crate::client::ConnectionSettings;
use crate::metrics::Metrics;

/// How long is waited for a worker to close its listeners: one that is stuck closes them when it can.
const PATIENCE: Duration = Duration::from_millis(500);

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    orders: Arc<[UnboundedSender<Order>]>,
    slots: Arc<ConnectionSlots>,
    /// True as long as they accept; closed when none does any more.
    open: watch::Sender<bool>,
    /// Closed when the last worker has ended.
    ended: watch::Sender<()>,
    failed: Arc<AtomicBool>,
}

#[derive(Debug)]
pub(super) enum Order {
    Listen {
        listener: Listener,
        shortage: Arc<Shortage>,
        acceptor: Acceptor,
        open: watch::Receiver<bool>,
    },
    Serve(Detached, PendingConnection),
    Enter(Stage),
    Answer(Query),
}

/// Something that a thread is asked, with the way back for its answer.
pub(super) struct Query(Box<dyn FnOnce(&ShutdownWatch) + Send>);

/// What a connection was let in with, and its place.
#[derive(Debug)]
pub(super) struct PendingConnection {
    pub(super) settings: ListenerSettings,
    pub(super) connection_settings: ConnectionSettings,
    pub(super) slot: Slot,
}

/// A worker, as its own tasks see it.
#[derive(Debug)]
pub(super) struct WorkerContext<H> {
    handler: Rc<H>,
    shutdown: Rc<ShutdownWatch>,
    pub(super) metrics: Arc<Metrics>,
    /// A connection has ended.
    parted: Rc<Notify>,
}

/// A connection that is served. When it is dropped, the worker may be idle.
#[derive(Debug)]
struct ConnectionGuard {
    slot: Option<Slot>,
    parted: Rc<Notify>,
}

impl Workers {
    /// Starts `count` threads; each makes its own handler with `handler`.
    pub fn start<H: Handler>(
        count: usize,
        metrics: &Arc<Metrics>,
        handler: impl Fn() -> Rc<H> + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let (ended, running) = watch::channel(());
        let slots = Arc::new(ConnectionSlots::new(count));
        let failed = Arc::default();
        let start = |index| {
            let panic_guard = PanicGuard::new(&failed);
            let running = running.clone();
            let (orders, received) = unbounded_channel();
            let (handler, metrics, slots) = (handler.clone(), metrics.clone(), slots.clone());
            let runtime = || {
                Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default())
            };
            let (started, outcome) = std::sync::mpsc::channel();
            std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || {
                    match runtime() {
                        Ok(runtime) => {
                            let _ = started.send(Ok(()));
                            let is_idle = move || slots.is_idle(index);
                            let work = async move {
                                work(received, handler(), metrics, is_idle, panic_guard).await;
                            };
                            // A task, since what wakes the future of `block_on` goes through the kernel.
                            let _ = runtime.block_on(runtime.spawn_local(work));
                        }
                        Err(error) => drop(started.send(Err(error))),
                    }
                    drop(running);
                })?;
            // A connection must not be given to a worker that will never be.
            outcome.recv().map_err(io::Error::other)??;
            Ok(orders)
        };
        let orders = (0..count).map(start).collect::<io::Result<_>>()?;
        Ok(Self::with(orders, slots, ended, failed))
    }

    /// A single worker whose `handler` is here, and its work, which is to be run on this thread: a tokio `LocalRuntime`, whose clock
    /// may be a test's. It ends like any other, and when the workers are dropped.
    pub fn on_this_thread<H: Handler>(
        metrics: &Arc<Metrics>,
        handler: Rc<H>,
    ) -> (Self, impl Future<Output = ()> + use<H>) {
        let (ended, running) = watch::channel(());
        let slots = Arc::new(ConnectionSlots::new(1));
        let failed = Arc::default();
        let (orders, received) = unbounded_channel();
        let (counted, metrics) = (slots.clone(), metrics.clone());
        let panic_guard = PanicGuard::new(&failed);
        let work = async move {
            let is_idle = move || counted.is_idle(0);
            work(received, handler, metrics, is_idle, panic_guard).await;
            drop(running);
        };
        (Self::with([orders].into(), slots, ended, failed), work)
    }

    fn with(
        orders: Arc<[UnboundedSender<Order>]>,
        slots: Arc<ConnectionSlots>,
        ended: watch::Sender<()>,
        failed: Arc<AtomicBool>,
    ) -> Self {
        Self {
            orders,
            slots,
            open: watch::Sender::new(true),
            ended,
            failed,
        }
    }

    /// Whether a worker has ended by a panic, or accepts no more because of one. It does not come back.
    pub fn have_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.slots.connections()
    }

    /// Has the connections of `listeners`, which are one address, accepted: each by the next worker.
    pub fn listen(
        &self,
        listeners: Vec<Listener>,
        settings: &ListenerSettings,
        admission: &watch::Sender<Admission>,
    ) {
        let shortage = Arc::new(Shortage::default());
        for (here, (listener, worker)) in listeners.into_iter().zip(&*self.orders).enumerate() {
            let acceptor = Acceptor {
                settings: settings.clone(),
                admission: admission.subscribe(),
                slots: self.slots.clone(),
                workers: self.orders.clone(),
                here,
            };
            let _ = worker.send(Order::Listen {
                listener,
                shortage: shortage.clone(),
                acceptor,
                open: self.open.subscribe(),
            });
        }
    }

    /// Closes what they listen on. When it returns, whatever was accepted is with the worker that serves it.
    pub async fn close(&self) {
        self.open.send_replace(false);
        let _ = timeout(PATIENCE, self.open.closed()).await;
    }

    /// Tells every worker how far the shutdown has come.
    pub fn enter(&self, stage: Stage) {
        for worker in &*self.orders {
            let _ = worker.send(Order::Enter(stage));
        }
    }

    /// Asks all workers at once; each answers on its own thread, between what it does for its connections. `None` is in the place
    /// of one that has not answered after `patience`.
    pub async fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        question: impl FnOnce(&ShutdownWatch) -> T + Clone + Send + 'static,
    ) -> Vec<Option<T>> {
        let deadline = Instant::now() + patience;
        let ask = |worker: &UnboundedSender<Order>| {
            let (sender, answer) = oneshot::channel();
            let question = question.clone();
            let answer_to = move |shutdown: &ShutdownWatch| {
                // By now there may be nobody left to tell.
                if !sender.is_closed() {
                    let _ = sender.send(question(shutdown));
                }
            };
            let question = Query(Box::new(answer_to));
            let _ = worker.send(Order::Answer(question));
            answer
        };
        let asked: Vec<_> = self.orders.iter().map(ask).collect();
        let mut answers = Vec::new();
        for answer in asked {
            let answer = timeout_at(deadline, answer).await;
            answers.push(answer.ok().and_then(Result::ok));
        }
        answers
    }

    /// Waits until every worker has ended, as each does once it drains and has no connection left.
    pub async fn done(&self) {
        self.ended.closed().await;
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Query")
    }
}

impl<H: Handler> WorkerContext<H> {
    /// Serves a connection that another worker has accepted.
    pub(super) fn serve_detached(self: &Rc<Self>, detached: Detached, pending: PendingConnection) {
        if let Ok(accepted) = detached.arrive() {
            self.serve(accepted, pending);
        }
    }

    /// Serves a connection.
    pub(super) fn serve(self: &Rc<Self>, accepted: Accepted, pending: PendingConnection) {
        let PendingConnection {
            settings,
            connection_settings,
            slot,
        } = pending;
        let (shutdown, metrics) = (self.shutdown.clone(), self.metrics.clone());
        // In a box of its own, with all that it needs: it is soon over.
        let admitted = Box::pin(admit(
            accepted,
            settings,
            connection_settings,
            shutdown,
            metrics,
        ));
        let context = self.clone();
        spawn_local(async move {
            let presence = ConnectionGuard {
                slot: Some(slot),
                parted: context.parted.clone(),
            };
            if let Some(client) = admitted.await {
                let (handler, shutdown) = (context.handler.clone(), context.shutdown.clone());
                connection::serve(client, handler, shutdown, &context.metrics).await;
            }
            drop(presence);
        });
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.slot = None;
        self.parted.notify_one();
    }
}

async fn work<H: Handler>(
    mut orders: UnboundedReceiver<Order>,
    handler: Rc<H>,
    metrics: Arc<Metrics>,
    is_idle: impl Fn() -> bool,
    panic_guard: PanicGuard,
) {
    let shutdown = Rc::new(ShutdownWatch::new());
    let parted = Rc::new(Notify::new());
    let context = Rc::new(WorkerContext {
        handler: handler.clone(),
        shutdown: shutdown.clone(),
        metrics,
        parted: parted.clone(),
    });
    loop {
        let ends = shutdown.stage() != Stage::Running;
        if ends && is_idle() && handler.is_idle() {
            return;
        }
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Listen { listener, shortage, acceptor, open }) => {
                    let (context, panic_guard) = (context.clone(), panic_guard.clone());
                    match listener.accepting("connections", shortage) {
                        Ok(connections) => drop(spawn_local(async move {
                            acceptor.run(connections, open, &context).await;
                            drop(panic_guard);
                        })),
                        Err(error) => tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "a worker cannot accept connections"
                        ),
                    }
                }
                Some(Order::Serve(detached, pending)) => context.serve_detached(detached, pending),
                Some(Order::Enter(stage)) => {
                    shutdown.enter(stage);
                    handler.enter(stage);
                }
                Some(Order::Answer(Query(answer))) => answer(&shutdown),
                None => return,
            },
            () = parted.notified(), if ends => {}
            () = handler.idle(), if ends && !handler.is_idle() => {}
        }
    }
}

/// How many cores this process may use, its CPU affinity and its cgroup's CPU limit respected.
pub fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::mpsc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::server::testing::{Silent, address_of, any_port};

    const DEADLINE: Duration = Duration::from_secs(20);

    /// An address at which `workers` accept, by so many sockets.
    async fn listen(workers: &Workers, sockets: usize) -> SocketAddr {
        let listeners = Listener::bind_for(&any_port(), 0, sockets).await.unwrap();
        let address = address_of(&listeners[0]);
        let admission = Admission {
            max_connections: usize::MAX,
            connection_settings: ConnectionSettings::off(),
        };
        workers.listen(
            listeners,
            &ListenerSettings::default(),
            &watch::Sender::new(admission),
        );
        address
    }

    async fn is_answered(client: &mut TcpStream) -> bool {
        let request = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let read = timeout(DEADLINE, client.read_buf(&mut answer)).await;
            assert!(read.unwrap().unwrap() > 0);
        }
        answer.starts_with(b"HTTP/1.1 200 ")
    }

    #[tokio::test]
    async fn connections_are_spread_evenly_and_served_whoever_accepts_them() {
        for sockets in [1, 2] {
            let workers = Workers::start(2, &Arc::new(Metrics::new()), || Rc::new(Silent)).unwrap();
            let address = listen(&workers, sockets).await;
            let mut clients = Vec::new();
            for _ in 0..8 {
                let mut client = TcpStream::connect(address).await.unwrap();
                assert!(is_answered(&mut client).await);
                clients.push(client);
            }
            let loads = workers.ask(DEADLINE, ShutdownWatch::connections).await;
            assert_eq!(loads, [Some(4), Some(4)], "{sockets} sockets");

            workers.close().await;
            assert!(TcpStream::connect(address).await.is_err(), "closed");
            assert!(is_answered(&mut clients[0]).await, "and still served");
            let until = Instant::now() + DEADLINE;
            workers.enter(Stage::Draining { until });
            timeout(DEADLINE, workers.done()).await.unwrap();
            assert_eq!(workers.connections(), 0);
        }
    }

    #[tokio::test]
    async fn a_connection_for_a_worker_that_has_ended_is_served_by_the_one_that_accepted_it() {
        let workers = Workers::start(2, &Arc::new(Metrics::new()), || Rc::new(Silent)).unwrap();
        let address = listen(&workers, 1).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        assert!(is_answered(&mut first).await);
        let until = Instant::now() + DEADLINE;
        let _ = workers.orders[1].send(Order::Enter(Stage::Draining { until }));
        timeout(DEADLINE, workers.orders[1].closed()).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        assert!(is_answered(&mut second).await);
    }

    #[tokio::test]
    async fn a_worker_that_panics_is_missed_and_one_that_ends_is_not() {
        for panics in [true, false] {
            let workers = Workers::start(2, &Arc::new(Metrics::new()), || Rc::new(Silent)).unwrap();
            listen(&workers, 2).await;
            let fall = move |_: &ShutdownWatch| {
                let is_first = std::thread::current().name() == Some("worker-0");
                assert!(!(panics && is_first), "a panic that a test has asked for");
            };
            let answers = workers.ask(DEADLINE, fall).await;
            assert_eq!(answers[0].is_none(), panics);
            if panics {
                timeout(DEADLINE, workers.orders[0].closed()).await.unwrap();
            }
            assert_eq!(workers.have_failed(), panics);
            let answers = workers.ask(DEADLINE, |_: &ShutdownWatch| ()).await;
            let first = (!panics).then_some(());
            assert_eq!(answers, [first, Some(())], "the other one goes on");
            workers.close().await;
            let until = Instant::now() + DEADLINE;
            workers.enter(Stage::Draining { until });
            timeout(DEADLINE, workers.done()).await.unwrap();
            assert_eq!(workers.have_failed(), panics);
        }
    }

    #[tokio::test]
    async fn a_stuck_worker_delays_the_answer_of_no_other() {
        let metrics = Arc::new(Metrics::new());
        let workers = Workers::start(2, &metrics, || Rc::new(Silent)).unwrap();
        let name = |_: &ShutdownWatch| std::thread::current().name().map(str::to_owned);
        let long = Duration::from_secs(60);
        let answers = workers.ask(long, name).await;
        let names: Vec<_> = answers.into_iter().flatten().flatten().collect();
        assert_eq!(names, ["worker-0", "worker-1"]);

        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let stick = move |_: &ShutdownWatch| {
            if name(&ShutdownWatch::new()).as_deref() == Some("worker-0") {
                let _ = held.lock().map(|held| held.recv());
            }
        };
        let short = Duration::from_millis(50);
        assert_eq!(workers.ask(short, stick).await, [None, Some(())]);
        let answers = workers.ask(short, name).await;
        assert!(answers[0].is_none() && answers[1].is_some());
        drop(release);
        assert!(
            workers.ask(long, name).await[0].is_some(),
            "it answers again"
        );
    }
}
