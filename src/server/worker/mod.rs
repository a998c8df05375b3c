//! The worker threads: one runtime each, and a connection stays with its worker.

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

use crate::client::ConnectionSettings;
use crate::metrics::Metrics;
use crate::server::accept::{Accepted, Detached, Shortage};
use crate::server::acceptor::Acceptor;
use crate::server::handshake::admit;
use crate::server::listener::Listener;
use crate::server::panic_guard::PanicGuard;
use crate::server::slots::{ConnectionSlots, Slot};
use crate::server::{Admission, Handler, ListenerSettings, ShutdownWatch, Stage, connection};

/// How long the shutdown waits for a worker to close its listeners; a stuck one closes them when it can.
const PATIENCE: Duration = Duration::from_millis(500);

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    orders: Arc<[UnboundedSender<Order>]>,
    slots: Arc<ConnectionSlots>,
    /// True as long as they accept; closed when none accepts any more.
    open: watch::Sender<bool>,
    /// Closed when the last worker has ended.
    ended: watch::Sender<()>,
    failed: Arc<AtomicBool>,
}

#[derive(Debug)]
pub(in crate::server) enum Order {
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

/// A query to a worker, which also returns its result.
pub(in crate::server) struct Query(Box<dyn FnOnce(&ShutdownWatch) + Send>);

/// The settings of a connection, and its slot.
#[derive(Debug)]
pub(in crate::server) struct PendingConnection {
    pub(in crate::server) settings: ListenerSettings,
    pub(in crate::server) connection_settings: ConnectionSettings,
    pub(in crate::server) slot: Slot,
}

/// A worker, as its own tasks see it.
#[derive(Debug)]
pub(in crate::server) struct WorkerContext<H> {
    handler: Rc<H>,
    shutdown: Rc<ShutdownWatch>,
    pub(in crate::server) metrics: Arc<Metrics>,
    /// A connection has ended.
    parted: Rc<Notify>,
}

/// A connection that is being served. When it is dropped, the worker may be idle.
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
            // A connection must not go to a worker that does not start.
            outcome.recv().map_err(io::Error::other)??;
            Ok(orders)
        };
        let orders = (0..count).map(start).collect::<io::Result<_>>()?;
        Ok(Self::with(orders, slots, ended, failed))
    }

    /// A single worker, and its work, which is to be run on this thread: on a tokio `LocalRuntime`, whose clock a test may control.
    /// It ends like any other, and when the workers are dropped.
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

    /// Whether a worker has ended by a panic, or no longer accepts because of one. It is not restarted.
    pub fn have_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.slots.connections()
    }

    /// Has the connections of `listeners`, which share one address, accepted: each listener by one worker.
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

    /// Closes the listeners. When it returns, every accepted connection is with the worker that serves it.
    pub async fn close(&self) {
        self.open.send_replace(false);
        let _ = timeout(PATIENCE, self.open.closed()).await;
    }

    /// Tells every worker the stage of the shutdown.
    pub fn enter(&self, stage: Stage) {
        for worker in &*self.orders {
            let _ = worker.send(Order::Enter(stage));
        }
    }

    /// Queries all workers at once; each responds on its own thread, between other work. `None` takes the place of one that has not
    /// responded after `patience`.
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
                // The query may have timed out.
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
    pub(in crate::server) fn serve_detached(
        self: &Rc<Self>,
        detached: Detached,
        pending: PendingConnection,
    ) {
        if let Ok(accepted) = detached.arrive() {
            self.serve(accepted, pending);
        }
    }

    /// Serves a connection.
    pub(in crate::server) fn serve(
        self: &Rc<Self>,
        accepted: Accepted,
        pending: PendingConnection,
    ) {
        let PendingConnection {
            settings,
            connection_settings,
            slot,
        } = pending;
        let (shutdown, metrics) = (self.shutdown.clone(), self.metrics.clone());
        // Boxed with all that it needs: it is soon over.
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
mod tests;
