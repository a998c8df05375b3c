//! Configurations that follow their files.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::watch as channel;

use super::files::{Error, Files};
use super::settings::{ClientTls, FileSettings};
use super::validity::{Certificate, Standing, certificates, now};

/// How often the files are checked. Their content is compared: that notices files written in place as well as the symlinks that
/// Kubernetes swaps, on every file system.
const INTERVAL: Duration = Duration::from_secs(5);

/// The configuration for the current files. Holders of an old `Arc` keep using it.
#[derive(Debug)]
pub struct Reloading<C>(channel::Receiver<Loaded<C>>);

/// The configuration made from the files.
#[derive(Debug)]
struct Loaded<C> {
    config: Arc<C>,
    certificates: Arc<[Certificate]>,
}

/// Keeps a [`Reloading`] up to date.
#[derive(Debug)]
pub struct Watcher<S: FileSettings> {
    settings: S,
    seen: Files,
    newest: channel::Sender<Loaded<S::Config>>,
    /// The standing of its certificates that was last reported.
    reported: Standing,
}

/// Reads what `settings` name, and makes ready to read it again when it changes.
pub fn watch<S: FileSettings>(settings: S) -> Result<(Reloading<S::Config>, Watcher<S>), Error> {
    let seen = Files::read(settings.paths());
    let loaded = load(&settings, &seen)?;
    let reported = standing(&loaded.certificates);
    let (newest, current) = channel::channel(loaded);
    let watcher = Watcher {
        settings,
        seen,
        newest,
        reported,
    };
    Ok((Reloading(current), watcher))
}

fn load<S: FileSettings>(settings: &S, files: &Files) -> Result<Loaded<S::Config>, Error> {
    Ok(Loaded {
        config: Arc::new(settings.build(files)?),
        certificates: certificates(settings, files).into(),
    })
}

/// The worst standing of them.
fn standing(certificates: &[Certificate]) -> Standing {
    let now = now();
    let each = certificates
        .iter()
        .map(|certificate| certificate.validity.standing(now));
    each.max().unwrap_or(Standing::Good)
}

/// The TLS of upstreams, each once.
pub type ClientConfigs = HashMap<ClientTls, Reloading<ClientConfig>>;

/// Reads the files of upstreams' TLS, each once; those that are `known` are watched already.
pub fn watch_all<'a>(
    settings: impl IntoIterator<Item = &'a ClientTls>,
    known: &ClientConfigs,
) -> Result<(ClientConfigs, Vec<Watcher<ClientTls>>), Error> {
    let mut configs = ClientConfigs::new();
    let mut watchers = Vec::new();
    for settings in settings {
        if let Entry::Vacant(entry) = configs.entry(settings.clone()) {
            if let Some(config) = known.get(settings) {
                entry.insert(config.clone());
                continue;
            }
            let (config, watcher) = watch(settings.clone())?;
            entry.insert(config);
            watchers.push(watcher);
        }
    }
    Ok((configs, watchers))
}

impl<C> Reloading<C> {
    /// The newest that is good.
    pub fn current(&self) -> Arc<C> {
        self.0.borrow().config.clone()
    }

    /// The certificates of that.
    pub fn certificates(&self) -> Arc<[Certificate]> {
        self.0.borrow().certificates.clone()
    }
}

impl<C> Clone for Reloading<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: FileSettings> Watcher<S> {
    /// Watches as long as the configuration is in use, and looks at once when `look` changes. Invalid files, such as a new
    /// certificate whose key has not arrived yet, are ignored and reported once; so is a certificate that is about to expire.
    pub async fn run(mut self, mut look: channel::Receiver<()>) {
        while !self.seen.is_empty() {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                Ok(()) = look.changed() => {}
                () = self.newest.closed() => return,
            }
            let files = Files::read(self.settings.paths());
            if files != self.seen {
                self.adopt(files);
            }
            self.report_standing();
        }
    }

    fn adopt(&mut self, files: Files) {
        let paths = files.to_string();
        match load(&self.settings, &files) {
            Ok(loaded) => {
                self.newest.send_replace(loaded);
                self.reported = Standing::Good;
                tracing::info!(
                    paths,
                    "certificates changed: new connections use the new ones"
                );
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                help = error.help(),
                "certificates changed, but not to something usable: the old ones stay in use"
            ),
        }
        self.seen = files;
    }

    /// Warns when it has become worse; the first standing was reported with the configuration.
    fn report_standing(&mut self) {
        let certificates = self.newest.borrow().certificates.clone();
        let standing = standing(&certificates);
        if standing > self.reported {
            let now = now();
            for certificate in &*certificates {
                if let Some(complaint) = certificate.validity.complaint(now) {
                    tracing::warn!(path = %certificate.path.display(), "certificate {complaint}");
                }
            }
        }
        self.reported = standing;
    }
}
