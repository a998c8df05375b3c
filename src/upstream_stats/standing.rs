//! Whether a backend is used, judged by its requests: one that fails is ejected for a while, and for longer each time. Atomics
//! alone: every thread reads and writes them.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// How long a backend is left alone the first time: about what a process takes to restart.
const FIRST: u64 = 1_000;
/// The longest ejection, in milliseconds: a backend that recovers is used after this at the latest.
const LONGEST: u64 = 60_000;
/// How many responses in a row have to be missing or bad. One may be the request's fault.
const BAD_RESPONSES: u32 = 3;

/// A backend's standing. Times are milliseconds of the clock of its [`Upstreams`](super::Upstreams).
#[derive(Debug, Default)]
pub struct Standing {
    /// Bad responses since the last good one.
    in_a_row: AtomicU32,
    /// How often it has been ejected without proving itself in between: the exponent of the time.
    level: AtomicU32,
    /// The end of its ejection; 0 is none. A time that has passed stays until the next ejection.
    until: AtomicU64,
    ejections: AtomicU64,
    /// Its health check fails.
    is_unwell: AtomicBool,
}

/// What a backend did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No connection to it could be made: it is not there.
    Connection,
    /// No response came, none that is HTTP, or one with a status that its route calls unhealthy.
    Response,
}

impl Standing {
    /// Whether it should get requests, by all that is known.
    pub fn is_good(&self, now: u64) -> bool {
        self.is_well() && self.ejected_until(now).is_none()
    }

    /// Whether its health check passes.
    pub fn is_well(&self) -> bool {
        !self.is_unwell.load(Ordering::Acquire)
    }

    /// Sets the result of its health check. A backend that recovers is used at once, whatever it did before.
    pub fn checked(&self, is_well: bool, now: u64) {
        self.is_unwell.store(!is_well, Ordering::Release);
        if is_well && self.ejected_until(now).is_some() {
            self.until.store(now, Ordering::Release);
        }
    }

    /// The end of its ejection, if it is ejected now.
    pub fn ejected_until(&self, now: u64) -> Option<u64> {
        let until = self.until.load(Ordering::Acquire);
        Some(until).filter(|&until| until > now)
    }

    /// How much longer it is ejected, if it is now.
    pub fn ejected_for(&self, now: u64) -> Option<Duration> {
        let until = self.ejected_until(now)?;
        Some(Duration::from_millis(until - now))
    }

    /// How often it has been ejected.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// Notes a failed request. Returns for how long the backend is ejected from now on, if this was one failure too many and it
    /// `may_go`.
    ///
    /// Requests from before the ejection that fail after it do not count again.
    pub fn failed(
        &self,
        fault: Fault,
        now: u64,
        may_go: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        let before = self.until.load(Ordering::Acquire);
        if before > now {
            return None;
        }
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        let is_enough = match fault {
            Fault::Connection => true,
            Fault::Response => in_a_row >= BAD_RESPONSES,
        };
        if !is_enough || !may_go() {
            return None;
        }
        let level = self.level.load(Ordering::Relaxed);
        let time = time_at(level);
        // Of the threads that see it fail at once, one ejects it.
        self.until
            .compare_exchange(before, now + time, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        self.level.store(level.saturating_add(1), Ordering::Relaxed);
        self.in_a_row.store(0, Ordering::Relaxed);
        self.ejections.fetch_add(1, Ordering::Relaxed);
        Some(Duration::from_millis(time))
    }

    /// Notes a good response. Returns whether that ends its ejection: it may have got the request because no other was left.
    pub fn succeeded(&self, now: u64) -> bool {
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
        let level = self.level.load(Ordering::Relaxed);
        if level == 0 {
            return false;
        }
        let until = self.until.load(Ordering::Acquire);
        if until > now {
            let ended =
                self.until
                    .compare_exchange(until, now, Ordering::AcqRel, Ordering::Relaxed);
            return ended.is_ok();
        }
        // A flapping backend is not forgiven after its first good response: it has to do well for as long as it was out.
        if now - until >= time_at(level - 1) {
            self.level.store(0, Ordering::Relaxed);
        }
        false
    }
}

fn time_at(level: u32) -> u64 {
    let factor = 1_u64.checked_shl(level).unwrap_or(u64::MAX);
    FIRST.saturating_mul(factor).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fails(standing: &Standing, fault: Fault, now: u64) -> Option<u64> {
        let time = standing.failed(fault, now, || true);
        time.map(|time| u64::try_from(time.as_millis()).unwrap())
    }

    #[test]
    fn one_that_is_not_there_is_left_alone_for_longer_each_time() {
        let standing = Standing::default();
        let mut now = 5;
        let mut times = Vec::new();
        for _ in 0..8 {
            let time = fails(&standing, Fault::Connection, now).unwrap();
            assert!(standing.ejected_until(now + time - 1).is_some());
            assert!(standing.ejected_until(now + time).is_none());
            times.push(time);
            now += time;
        }
        assert_eq!(
            times,
            [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
        );
        assert_eq!(standing.ejections(), 8);
    }

    #[test]
    fn three_bad_responses_in_a_row_and_no_fewer() {
        let standing = Standing::default();
        for round in 0..4 {
            assert_eq!(fails(&standing, Fault::Response, round), None);
            assert_eq!(fails(&standing, Fault::Response, round), None);
            assert!(!standing.succeeded(round));
        }
        assert_eq!(fails(&standing, Fault::Response, 9), None);
        assert_eq!(fails(&standing, Fault::Response, 9), None);
        assert_eq!(fails(&standing, Fault::Response, 9), Some(1_000));
        // Those that were on their way fail too, and do not make it worse.
        assert_eq!(fails(&standing, Fault::Response, 10), None);
        assert_eq!(fails(&standing, Fault::Connection, 10), None);
        assert_eq!(standing.ejections(), 1);
    }

    #[test]
    fn one_that_flaps_keeps_its_level_until_it_has_done_well_for_as_long_as_it_was_out() {
        let standing = Standing::default();
        assert_eq!(fails(&standing, Fault::Connection, 0), Some(1_000));
        assert!(!standing.succeeded(1_500));
        assert_eq!(fails(&standing, Fault::Connection, 1_600), Some(2_000));
        assert!(!standing.succeeded(5_000)); // 1.4 s after it has come back
        assert_eq!(fails(&standing, Fault::Connection, 5_000), Some(4_000));
        assert!(!standing.succeeded(13_000));
        assert_eq!(fails(&standing, Fault::Connection, 13_000), Some(1_000));
    }

    #[test]
    fn a_good_answer_while_it_is_out_brings_it_back() {
        let standing = Standing::default();
        assert_eq!(fails(&standing, Fault::Connection, 0), Some(1_000));
        assert!(standing.succeeded(10));
        assert!(standing.ejected_until(10).is_none());
        assert!(!standing.succeeded(10));
    }

    #[test]
    fn a_health_check_takes_it_out_and_brings_it_back() {
        let standing = Standing::default();
        assert!(standing.is_good(0));
        standing.checked(false, 0);
        assert!(!standing.is_good(0) && !standing.is_well());
        assert_eq!(fails(&standing, Fault::Connection, 1), Some(1_000));
        standing.checked(true, 2);
        assert!(standing.is_good(2));
    }

    #[test]
    fn who_may_not_go_stays() {
        let standing = Standing::default();
        assert_eq!(standing.failed(Fault::Connection, 7, || false), None);
        assert!(standing.ejected_until(7).is_none());
    }

    proptest! {
        #[test]
        fn no_ejection_is_longer_than_the_longest(
            events in prop::collection::vec((0_u64..5_000, 0..3), 0..200),
        ) {
            let standing = Standing::default();
            let mut now = 0;
            for (pause, event) in events {
                now += pause;
                let was_out = standing.ejected_until(now).is_some();
                match event {
                    0 => {
                        let time = fails(&standing, Fault::Connection, now);
                        prop_assert_eq!(time.is_some(), !was_out);
                    }
                    1 => drop(fails(&standing, Fault::Response, now)),
                    _ => {
                        prop_assert_eq!(standing.succeeded(now), was_out);
                        prop_assert!(standing.ejected_until(now).is_none());
                    }
                }
                if let Some(until) = standing.ejected_until(now) {
                    prop_assert!(until - now <= LONGEST);
                }
            }
        }
    }
}
