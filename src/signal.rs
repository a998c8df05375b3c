//! The signals that stop the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What says that it is time to stop.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Which way the process was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: by whoever runs it, and others may not know yet.
    Terminate,
    /// SIGINT: by a person at the terminal.
    Interrupt,
}

impl Signals {
    /// From now on the signals no longer kill the process.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub async fn stop(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }
}

impl Stop {
    /// Whether connections may still be on their way here, because load balancers learn of it late.
    pub fn waits_for_withdrawal(self) -> bool {
        match self {
            Self::Terminate => true,
            Self::Interrupt => false,
        }
    }
}
