//! Passwords against their hashes. bcrypt takes a tenth of a second by design, so it runs on threads of its own, a few at once, and
//! a correct password is remembered as a keyed hash.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ring::hmac::{self, HMAC_SHA256};
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::users::UserList;
use crate::server::available_cores;

/// Verifies passwords, for all threads.
pub(super) struct Passwords {
    /// Random for each process, so that remembered hashes are worthless elsewhere.
    key: hmac::Key,
    /// At most half of the cores: the other half keeps serving streams.
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Too many passwords wait to be verified.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// How many may wait: some seconds' worth.
const MOST_WAITING: usize = 64;

impl Passwords {
    /// Whether `password` is that of the user `name`. An unknown user takes as long.
    pub(super) async fn verify(
        &self,
        users: &UserList,
        name: &str,
        password: Vec<u8>,
    ) -> Result<bool, Busy> {
        let known = users.find(name);
        let Some(user) = known.or_else(|| users.any()) else {
            return Ok(false);
        };
        if known.is_some()
            && let Some(tag) = user.verified.get()
            && hmac::verify(&self.key, &password, tag).is_ok()
        {
            return Ok(true);
        }
        let _place = self.place()?;
        let Ok(turn) = self.turns.clone().acquire_owned().await else {
            return Err(Busy);
        };
        let hash = user.hash.clone();
        let computing = spawn_blocking(move || {
            let _turn = turn; // also when the request is gone
            let is_right = bcrypt::verify(&password, &hash).unwrap_or(false);
            (is_right, password)
        });
        let Ok((is_right, password)) = computing.await else {
            return Err(Busy);
        };
        let is_right = is_right && known.is_some();
        if is_right {
            let tag = hmac::sign(&self.key, &password);
            let _ = user.verified.set(tag.as_ref().to_vec()); // only the first time
        }
        Ok(is_right)
    }

    fn place(&self) -> Result<Waiting<'_>, Busy> {
        let place = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) < MOST_WAITING {
            Ok(place)
        } else {
            Err(Busy)
        }
    }
}

/// A request that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Passwords {
    fn default() -> Self {
        let key = hmac::Key::generate(HMAC_SHA256, &SystemRandom::new());
        Self {
            key: key.expect("the system has random numbers"),
            turns: Arc::new(Semaphore::new((available_cores() / 2).max(1))),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn one_that_was_right_takes_no_turn_and_one_of_nobody_does() {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let hash = bcrypt::hash("secret", 4).unwrap();
            let users = UserList::read(&format!("ann:{hash}\n")).unwrap();
            let passwords = Passwords::default();
            let verify = |name: &'static str, password: &str| {
                passwords.verify(&users, name, password.as_bytes().to_vec())
            };
            assert_eq!(verify("ann", "wrong").await, Ok(false));
            assert_eq!(verify("eve", "secret").await, Ok(false));
            assert_eq!(verify("ann", "secret").await, Ok(true));
            let every_turn = u32::try_from(passwords.turns.available_permits()).unwrap();
            let turns = passwords.turns.acquire_many(every_turn).await.unwrap();
            assert_eq!(verify("ann", "secret").await, Ok(true));
            let hour = std::time::Duration::from_secs(3600);
            for (name, password) in [("ann", "wrong"), ("eve", "secret")] {
                assert!(
                    timeout(hour, verify(name, password)).await.is_err(),
                    "{name}"
                );
            }
            let mut waiting = Vec::new();
            for _ in 0..MOST_WAITING {
                let mut one = Box::pin(verify("ann", "wrong"));
                assert!(timeout(hour, &mut one).await.is_err());
                waiting.push(one);
            }
            assert_eq!(verify("ann", "wrong").await, Err(Busy));
            drop(waiting);
            drop(turns);
            assert_eq!(verify("ann", "wrong").await, Ok(false));
        });
    }
}
