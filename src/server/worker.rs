//! The threads that carry connections: one runtime each, and nothing handed between them after a connection was given out.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

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
    Answer(Question),
}

/// Something that a thread is asked, with the way back for its answer.
struct Question(Box<dyn FnOnce(&Lobby) + Send>);

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

    /// Asks all workers at once; each answers on its own thread, between what it does for its connections. `None` is in the place
    /// of one that has not answered after `patience`.
    pub async fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        question: impl FnOnce(&Lobby) -> T + Clone + Send + 'static,
    ) -> Vec<Option<T>> {
        let deadline = Instant::now() + patience;
        let ask = |worker: &Worker| {
            let (sender, answer) = oneshot::channel();
            let question = question.clone();
            let answer_to = move |lobby: &Lobby| {
                // By now there may be nobody left to tell.
                if !sender.is_closed() {
                    let _ = sender.send(question(lobby));
                }
            };
            let question = Question(Box::new(answer_to));
            let _ = worker.orders.send(Order::Answer(question));
            answer
        };
        let asked: Vec<_> = self.workers.iter().map(ask).collect();
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

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn work<H: Handler>(
    mut orders: UnboundedReceiver<Order>,
    handler: impl FnOnce() -> Rc<H>,
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
                    // In a box of its own, with all that it needs: it is soon over.
                    let admitted = Box::pin(admit(accepted, entrance, clocks, lobby.clone(), metrics.clone()));
                    open.spawn_local(async move {
                        if let Some(client) = admitted.await {
                            connection::serve(client, handler, lobby, &metrics).await;
                        }
                        drop(permit);
                    });
                }
                Some(Order::Enter(stage)) => lobby.enter(stage),
                Some(Order::Answer(Question(answer))) => answer(&lobby),
                None => return,
            },
            Some(_) = open.join_next() => {}
        }
        if lobby.stage() != Stage::Running && open.is_empty() {
            return;
        }
    }
}

/// How many cores this process may use, its CPU affinity and its cgroup's CPU limit respected.
pub fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::server::testing::Silent;

    #[tokio::test]
    async fn a_stuck_worker_delays_the_answer_of_no_other() {
        let metrics = Arc::new(Metrics::new());
        let workers = Workers::start(2, &metrics, || Rc::new(Silent)).unwrap();
        let name = |_: &Lobby| std::thread::current().name().map(str::to_owned);
        let long = Duration::from_secs(60);
        let answers = workers.ask(long, name).await;
        let names: Vec<_> = answers.into_iter().flatten().flatten().collect();
        assert_eq!(names, ["worker-0", "worker-1"]);

        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let stick = move |_: &Lobby| {
            if name(&Lobby::new()).as_deref() == Some("worker-0") {
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
