//! The users of a file, which is read again when it changes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{fmt, fs};

use tokio::sync::watch;
use tokio::time::sleep;

use crate::config::htpasswd;

/// How often the file is looked at. Its content is compared, as that of certificates.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a changed file has to stay the same: half of it may be a good one, without some users.
const SETTLING: Duration = Duration::from_millis(200);

/// The users of the current file.
#[derive(Debug, Clone)]
pub(super) struct Users(watch::Receiver<Arc<UserList>>);

/// The users of a file, as it was when it was read.
#[derive(Debug, Default)]
pub(super) struct UserList {
    by_name: HashMap<String, User>,
}

/// A user's credentials.
pub(super) struct User {
    /// Of the password.
    pub(super) hash: Arc<str>,
    /// A keyed hash of the password, once it was verified.
    pub(super) verified: OnceLock<Vec<u8>>,
}

/// Keeps the users of a file up to date.
#[derive(Debug)]
pub struct UsersWatcher {
    file: PathBuf,
    seen: Option<String>,
    newest: watch::Sender<Arc<UserList>>,
}

impl Users {
    pub(super) fn current(&self) -> Arc<UserList> {
        self.0.borrow().clone()
    }
}

/// Reads a file, and prepares to reload it. A file that cannot be read has no users, so that nobody gets in.
pub(super) fn watch(file: PathBuf) -> (Users, UsersWatcher) {
    let seen = fs::read_to_string(&file).ok();
    let users = seen.as_deref().and_then(|text| UserList::read(text).ok());
    if users.is_none() {
        tracing::warn!(file = %file.display(), "there are no users in this file: all requests are refused");
    }
    let (newest, current) = watch::channel(Arc::new(users.unwrap_or_default()));
    let watcher = UsersWatcher { file, seen, newest };
    (Users(current), watcher)
}

impl UserList {
    pub(super) fn read(text: &str) -> Result<Self, crate::config::HtpasswdError> {
        let users = htpasswd(text)?.into_iter().map(|user| {
            let hash = user.hash.into();
            let verified = OnceLock::new();
            (user.name, User { hash, verified })
        });
        Ok(Self {
            by_name: users.collect(),
        })
    }

    pub(super) fn find(&self, name: &str) -> Option<&User> {
        self.by_name.get(name)
    }

    /// One of them, whose hash takes the time that another's would.
    pub(super) fn any(&self) -> Option<&User> {
        self.by_name.values().next()
    }
}

impl UsersWatcher {
    /// Watches as long as the users are in use, and looks at once when `look` changes. An invalid file is ignored and reported
    /// once.
    pub async fn run(mut self, mut look: watch::Receiver<()>) {
        loop {
            tokio::select! {
                () = sleep(INTERVAL) => {}
                Ok(()) = look.changed() => {}
                () = self.newest.closed() => return,
            }
            let text = fs::read_to_string(&self.file);
            if text.as_ref().ok() == self.seen.as_ref() {
                continue;
            }
            sleep(SETTLING).await;
            let again = fs::read_to_string(&self.file);
            if again.as_ref().ok() != text.as_ref().ok() {
                continue; // it is being written
            }
            let file = self.file.display();
            match text.as_deref().map(UserList::read) {
                Ok(Ok(users)) => {
                    self.newest.send_replace(Arc::new(users));
                    tracing::info!(%file, "users reloaded: new requests use them");
                }
                Ok(Err(error)) => {
                    tracing::warn!(%file, %error, help = error.help(), "users changed, but not to something usable: the old ones stay");
                }
                Err(error) => {
                    tracing::warn!(%file, %error, "users cannot be read: the old ones stay");
                }
            }
            self.seen = text.ok();
        }
    }
}

/// Neither hash is for a log.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("User")
    }
}
