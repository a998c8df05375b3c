//! A timer for deadlines that mostly move into the future before they come.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::poll_cache::PollCache;

/// Waits for a deadline that may change with each poll.
///
/// A deadline that moves away costs nothing: the timer is reset only when it fires too soon, or when a deadline is sooner than the
/// timer. So a passing event neither sets nor polls a timer.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// The timer, as it is set.
    polled: PollCache,
}

impl Alarm {
    /// Ready once `at` has come.
    #[inline]
    pub fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        // All that an event costs.
        if let Some(sleep) = &self.sleep
            && at >= sleep.deadline()
            && self.polled.has(cx)
            && !sleep.is_elapsed()
        {
            return Poll::Pending;
        }
        self.set(cx, at)
    }

    #[cold]
    fn set(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if at < sleep.deadline() {
            sleep.as_mut().reset(at);
        }
        loop {
            let elapsed = sleep.as_mut().poll(cx);
            self.polled.note(cx, &elapsed);
            ready!(elapsed);
            if at <= sleep.deadline() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}

/// Between 90 % and 100 % of `time`, so that what began together does not end together.
pub fn jittered(time: Duration) -> Duration {
    time.mul_f64(1.0 - 0.1 * fastrand::f64())
}

/// Somewhere between nothing and `time`, every moment as likely as another.
pub fn anywhere_in(time: Duration) -> Duration {
    time.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use tokio::task::coop;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_poller_is_woken() {
        let at = Instant::now() + Duration::from_secs(10);
        let mut alarm = Alarm::default();
        let mut nobody = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            assert!(alarm.poll(&mut nobody, at).is_pending());
        }
        poll_fn(|cx| alarm.poll(cx, at)).await;
        assert_eq!(Instant::now(), at);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_was_put_off_asks_again() {
        let at = Instant::now() + Duration::from_secs(10);
        let mut alarm = Alarm::default();
        let mut polls = 0;
        let fires = poll_fn(|cx| {
            polls += 1;
            while polls == 1 && coop::has_budget_remaining() {
                let _ = coop::poll_proceed(cx).map(|turn| turn.made_progress());
            }
            alarm.poll(cx, at)
        });
        let _ = tokio::time::timeout(Duration::from_secs(60), fires).await;
        assert_eq!(Instant::now(), at);
    }

    #[tokio::test(start_paused = true)]
    async fn deadlines_move_both_ways() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut alarm = Alarm::default();
        for seconds in [10, 60] {
            let pending = poll_fn(|cx| Poll::Ready(alarm.poll(cx, after(seconds)).is_pending()));
            assert!(pending.await);
        }
        // The timer still waits for 10 s.
        poll_fn(|cx| alarm.poll(cx, after(20))).await;
        assert_eq!(start.elapsed().as_secs(), 20);
        poll_fn(|cx| alarm.poll(cx, after(5))).await;
        assert_eq!(
            start.elapsed().as_secs(),
            20,
            "a deadline that is past is ready at once"
        );
        poll_fn(|cx| alarm.poll(cx, after(30))).await;
        assert_eq!(start.elapsed().as_secs(), 30);
    }

    #[test]
    fn a_time_is_never_exceeded_by_its_jitter() {
        let time = Duration::from_secs(100);
        let times: Vec<_> = (0..1000).map(|_| jittered(time)).collect();
        assert!(
            times
                .iter()
                .all(|&jittered| jittered <= time && jittered >= time.mul_f64(0.9))
        );
        assert!(times.iter().max() != times.iter().min());
    }
}
