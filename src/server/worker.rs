//! The threads that carry connections: one runtime each, and nothing handed between them after a connection was given out.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::accept::{Accepted, Entrance};
use super::admit::admit;
use super::{Handler, Lobby, Stage, connection};
use crate::client::Clocks;
use crate::metrics::Metrics;

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
    /// Closed when the last worker has ended.
    ended: watch::Sender<()>,
}

#[derive(Debug)]
struct Worker {
    orders: UnboundedSender<Order>,
    /// Connections it has, or was given and has not begun.
    load: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Order {
    Serve {
        accepted: Accepted,
        entrance: Entrance,
        clocks: Clocks,
        permit: Permit,
    },
    Enter(Stage),
}

/// One connection's share of a worker's load, given back on drop.
#[derive(Debug)]
struct Permit(Arc<AtomicUsize>);

impl Workers {
    /// Starts `count` threads; each makes its own handler with `handler`.
    pub fn start<H: Handler>(
        count: usize,
        metrics: &Arc<Metrics>,
        handler: impl Fn() -> Rc<H> + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let (ended, running) = watch::channel(());
        let start = |index| {
            let running = running.clone();
            let (orders, received) = unbounded_channel();
            let (handler, metrics) = (handler.clone(), metrics.clone());
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
                            runtime.block_on(work(received, handler, metrics));
                        }
                        Err(error) => drop(started.send(Err(error))),
                    }
                    drop(running);
                })?;
            // A connection must not be given to a worker that will never be.
            outcome.recv().map_err(io::Error::other)??;
            Ok(Worker {
                orders,
                load: Arc::default(),
            })
        };
        Ok(Self {
            workers: (0..count).map(start).collect::<io::Result<_>>()?,
            ended,
        })
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.workers
            .iter()
            .map(|worker| worker.load.load(Ordering::Relaxed))
            .sum()
    }

    /// Gives a connection to the worker that has the fewest: a few long streams are spread as evenly as many short requests.
    pub(super) fn give(&self, accepted: Accepted, entrance: Entrance, clocks: Clocks) {
        let Some(worker) = self
            .workers
            .iter()
            .min_by_key(|worker| worker.load.load(Ordering::Relaxed))
        else {
            return;
        };
        worker.load.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(worker.load.clone());
        // A worker that is gone takes nothing any more: the connection closes with the order.
        let _ = worker.orders.send(Order::Serve {
            accepted,
            entrance,
            clocks,
            permit,
        });
    }

    /// Tells every worker how far the shutdown has come.
    pub fn enter(&self, stage: Stage) {
        for worker in &self.workers {
            let _ = worker.orders.send(Order::Enter(stage));
        }
    }

    /// Waits until every worker has ended, as each does once it drains and has no connection left.
    pub async fn done(&self) {
        self.ended.closed().await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn work<H: Handler>(
    mut orders: UnboundedReceiver<Order>,
    handler: impl Fn() -> Rc<H>,
    metrics: Arc<Metrics>,
) {
    let handler = handler();
    let lobby = Rc::new(Lobby::new());
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Serve { accepted, entrance, clocks, permit }) => {
                    let (handler, lobby, metrics) = (handler.clone(), lobby.clone(), metrics.clone());
                    open.spawn_local(async move {
                        let admitted = Box::pin(admit(accepted, &entrance, clocks, &lobby, &metrics));
                        if let Some(client) = admitted.await {
                            drop(entrance);
                            connection::serve(client, handler, lobby, &metrics).await;
                        }
                        drop(permit);
                    });
                }
                Some(Order::Enter(stage)) => lobby.enter(stage),
                None => return,
            },
            Some(_) = open.join_next() => {}
        }
        if lobby.stage() >= Stage::Draining && open.is_empty() {
            return;
        }
    }
}

/// How many cores this process may use, its CPU affinity and its cgroup's CPU limit respected.
pub fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
