//! The timeouts of one connection, and what the shutdown asks of it.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::ConnectionState;
use crate::alarm::Alarm;
use crate::reason::Reason;
use crate::server::{LAST_WORDS, ShutdownWatch, Stage};

/// What ends a connection, or retires it, while h2 serves it.
pub(super) struct Deadlines<'a> {
    state: &'a ConnectionState,
    shutdown: &'a ShutdownWatch,
    seen: Stage,
    cut_at: Option<Instant>,
    /// When the connection is to accept no more streams.
    pub(super) retires_at: Option<Instant>,
    /// When it is closed unless a stream is open, because a GOAWAY was sent.
    pub(super) leaves_at: Option<Instant>,
    alarm: Alarm,
}

/// What is due on a connection.
pub(super) enum Due {
    /// The connection is to accept no more streams.
    Retirement,
    /// It has had no stream for too long.
    Idle,
    /// It is to end now.
    End(Reason),
}

impl<'a> Deadlines<'a> {
    pub(super) fn new(
        state: &'a ConnectionState,
        shutdown: &'a ShutdownWatch,
        retires_at: Option<Instant>,
    ) -> Self {
        Self {
            state,
            shutdown,
            seen: Stage::Running,
            cut_at: None,
            retires_at,
            leaves_at: None,
            alarm: Alarm::default(),
        }
    }

    /// Whether the shutdown has entered another stage since the last call.
    pub(super) fn stage_changed(&mut self) -> bool {
        let stage = self.shutdown.stage();
        let changed = self.seen != stage;
        self.seen = stage;
        if changed && stage == Stage::Cutting {
            self.cut_at = Some(Instant::now() + LAST_WORDS);
        }
        changed
    }

    /// Waits for what is due first.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        let state = self.state;
        let after = |since: Instant, timeout: Option<Duration>| since.checked_add(timeout?);
        let connection_settings = state.connection_settings;
        let stalled = state.wire.stall().due(state.patience());
        let idle = after(state.idle_since.get(), connection_settings.keep_alive);
        let idle = idle.into_iter().chain(self.leaves_at).min();
        let due = [
            stalled.map(|at| (at, Due::End(Reason::ClientStalled))),
            self.cut_at.map(|at| (at, Due::End(Reason::Shutdown))),
            idle.filter(|_| state.open.get() == 0)
                .map(|at| (at, Due::Idle)),
            self.retires_at.map(|at| (at, Due::Retirement)),
        ];
        let Some((at, due)) = due.into_iter().flatten().min_by_key(|&(at, _)| at) else {
            return Poll::Pending;
        };
        ready!(self.alarm.poll(cx, at));
        let wire = &state.wire;
        let is_slow = matches!(due, Due::End(Reason::ClientStalled))
            && !wire.stall().has_lasted(wire.socket(), state.patience());
        if is_slow {
            return self.poll_due(cx); // the client is slow, not stalled
        }
        Poll::Ready(due)
    }
}
