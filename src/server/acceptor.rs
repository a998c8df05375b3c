//! What becomes of the connections that a worker accepts.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::watch;
use tokio::task::spawn_local;

use super::accept::{Accepted, Accepting};
use super::roster::Roster;
use super::worker::{Desk, Guest, Order};
use super::{Admission, Entrance, Handler};
use crate::client::Clocks;
use crate::metrics::Metrics;
use crate::problem;
use crate::reason::Reason;

/// Takes what comes in at one address to one of the workers: to the one that has accepted it, mostly.
#[derive(Debug)]
pub(super) struct Acceptor {
    /// What each connection has to pass before it is served.
    pub(super) entrance: Entrance,
    /// What holds for those that come next.
    pub(super) admission: watch::Receiver<Admission>,
    pub(super) roster: Arc<Roster>,
    /// The way to each worker.
    pub(super) workers: Arc<[UnboundedSender<Order>]>,
    /// The one that accepts.
    pub(super) here: usize,
}

impl Acceptor {
    /// Accepts until `open` is false. What has come until then, and waits to be accepted, is taken as well: it would be reset.
    pub(super) async fn run<H: Handler>(
        &self,
        mut connections: Accepting,
        mut open: watch::Receiver<bool>,
        desk: &Rc<Desk<H>>,
    ) {
        let accepting = async {
            loop {
                self.take(connections.next().await, desk);
            }
        };
        tokio::select! {
            () = accepting => {}
            _ = open.wait_for(|open| !open) => {}
        }
        for accepted in connections.close() {
            self.take(accepted, desk);
        }
    }

    fn take<H: Handler>(&self, accepted: Accepted, desk: &Rc<Desk<H>>) {
        let Admission {
            max_connections,
            clocks,
        } = *self.admission.borrow();
        let Some(permit) = self.roster.place(self.here, max_connections) else {
            return self.turn_away(accepted, clocks, &desk.metrics);
        };
        let guest = Guest {
            entrance: self.entrance.clone(),
            clocks,
            permit,
        };
        let worker = guest.permit.worker();
        if worker == self.here {
            desk.serve(accepted, guest);
        } else if let Ok(departed) = accepted.depart() {
            let sent = self.workers[worker].send(Order::Serve(departed, guest));
            if let Err(SendError(Order::Serve(departed, mut guest))) = sent {
                // That worker has ended, as each does in the shutdown once it has nothing left.
                guest.permit.move_to(self.here);
                desk.welcome(departed, guest);
            }
        }
    }

    /// Over TLS it just closes: a handshake costs more than the answer is worth to who has too much to do already.
    fn turn_away(&self, accepted: Accepted, clocks: Clocks, metrics: &Metrics) {
        metrics.refused(Reason::TooManyConnections);
        if self.entrance.tls.is_some() {
            return;
        }
        let client = accepted.into_client(clocks);
        spawn_local(async move {
            client
                .send_last(&problem::bytes(Reason::TooManyConnections, None))
                .await;
        });
    }
}
