//! What becomes of the connections that a worker accepts.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::watch;
use tokio::task::spawn_local;

use super::accept::{Accepted, Accepting};
use super::slots::ConnectionSlots;
use super::worker::{Order, PendingConnection, WorkerContext};
use super::{Admission, Handler, ListenerSettings};
use crate::client::ConnectionSettings;
use crate::metrics::Metrics;
use crate::problem;
use crate::reason::Reason;

/// Gives each connection at one address to a worker: mostly the one that has accepted it.
#[derive(Debug)]
pub(super) struct Acceptor {
    /// What each connection has to pass before it is served.
    pub(super) settings: ListenerSettings,
    /// What holds for those that come next.
    pub(super) admission: watch::Receiver<Admission>,
    pub(super) slots: Arc<ConnectionSlots>,
    /// The way to each worker.
    pub(super) workers: Arc<[UnboundedSender<Order>]>,
    /// The worker that accepts.
    pub(super) here: usize,
}

impl Acceptor {
    /// Accepts until `open` is false. Connections that are waiting by then are accepted as well: they would be reset.
    pub(super) async fn run<H: Handler>(
        &self,
        mut connections: Accepting,
        mut open: watch::Receiver<bool>,
        context: &Rc<WorkerContext<H>>,
    ) {
        let accepting = async {
            loop {
                self.take(connections.next().await, context);
            }
        };
        tokio::select! {
            () = accepting => {}
            _ = open.wait_for(|open| !open) => {}
        }
        for accepted in connections.close() {
            self.take(accepted, context);
        }
    }

    fn take<H: Handler>(&self, accepted: Accepted, context: &Rc<WorkerContext<H>>) {
        let Admission {
            max_connections,
            connection_settings,
        } = *self.admission.borrow();
        let Some(slot) = self.slots.reserve(self.here, max_connections) else {
            return self.reject(accepted, connection_settings, &context.metrics);
        };
        let pending = PendingConnection {
            settings: self.settings.clone(),
            connection_settings,
            slot,
        };
        let worker = pending.slot.worker();
        if worker == self.here {
            context.serve(accepted, pending);
        } else if let Ok(detached) = accepted.detach() {
            let sent = self.workers[worker].send(Order::Serve(detached, pending));
            if let Err(SendError(Order::Serve(detached, mut pending))) = sent {
                // That worker has ended, as each does in the shutdown once it has nothing left.
                pending.slot.move_to(self.here);
                context.serve_detached(detached, pending);
            }
        }
    }

    /// Over TLS it just closes: a handshake costs more than the response is worth under overload.
    fn reject(
        &self,
        accepted: Accepted,
        connection_settings: ConnectionSettings,
        metrics: &Metrics,
    ) {
        metrics.refused(Reason::TooManyConnections);
        if self.settings.tls.is_some() {
            return;
        }
        let client = accepted.into_client(connection_settings);
        spawn_local(async move {
            client
                .send_last(&problem::bytes(Reason::TooManyConnections, None))
                .await;
        });
    }
}
