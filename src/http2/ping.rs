//! Detects a silent peer that is gone.

use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::Instant;

use crate::alarm::Alarm;

/// How long a peer may be silent before it gets a PING.
const SILENCE: Duration = Duration::from_secs(30);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The PINGs of one connection.
pub struct PingMonitor {
    pings: Option<PingPong>,
    asked: Option<Instant>,
    alarm: Alarm,
}

impl PingMonitor {
    /// Of the connection that gave `pings`.
    pub fn new(pings: Option<PingPong>) -> Self {
        Self {
            pings,
            asked: None,
            alarm: Alarm::default(),
        }
    }

    /// Ready when the peer, which was last heard of at `last_read`, is gone.
    pub fn poll(&mut self, cx: &mut Context<'_>, last_read: Instant) -> Poll<()> {
        let Some(pings) = &mut self.pings else {
            return Poll::Pending;
        };
        loop {
            if let Some(asked) = self.asked {
                if pings.poll_pong(cx).is_pending() {
                    return self.alarm.poll(cx, asked + PATIENCE);
                }
                self.asked = None;
            }
            if self.alarm.poll(cx, last_read + SILENCE).is_pending() {
                return Poll::Pending;
            }
            if pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Pending; // the connection has failed, and says so itself
            }
            self.asked = Some(Instant::now());
        }
    }
}

impl std::fmt::Debug for PingMonitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PingMonitor")
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}
