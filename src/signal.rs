//! The signals that stop the process, or have it read its configuration again.

use std::io::{self, IsTerminal, stderr, stdin, stdout};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The sources of signals.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// How many of the standard streams were a terminal when it began.
    terminals: usize,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The end.
    Stop(Stop),
    /// A look at the files: SIGHUP.
    Reload,
}

/// How the process was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: from the orchestrator, and others may not know yet.
    Terminate,
    /// SIGINT: by a person at the terminal, who may also just have closed it.
    Interrupt,
}

impl Signals {
    /// From now on the signals no longer kill the process.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            terminals: terminals(),
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop(Stop::Terminate),
            _ = self.interrupt.recv() => Request::Stop(Stop::Interrupt),
            // A terminal that is closed sends the same signal, and is none any more.
            _ = self.hangup.recv() => if terminals() < self.terminals {
                Request::Stop(Stop::Interrupt)
            } else {
                Request::Reload
            },
        }
    }

    /// Waits for the next signal to stop.
    pub async fn stop(&mut self) -> Stop {
        loop {
            if let Request::Stop(stop) = self.next().await {
                return stop;
            }
        }
    }
}

/// How many of the standard streams are a terminal.
fn terminals() -> usize {
    let streams = [
        stdin().is_terminal(),
        stdout().is_terminal(),
        stderr().is_terminal(),
    ];
    streams.into_iter().filter(|is| *is).count()
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
