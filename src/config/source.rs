//! Where a configuration comes from, so that it can be read again.

use std::fs;
use std::path::{Path, PathBuf};

use super::file::Report;
use super::problem::Severity;
use super::resolve::{NamedFiles, complete, open};
use super::{Config, Overrides, Problem, Problems, restart};

/// A file, if there is one, and what replaces its values, now as later.
#[derive(Debug)]
pub struct Source {
    file: Option<PathBuf>,
    overrides: Overrides,
    /// The file's text and its name, or why it could not be read, when it was last loaded.
    seen: Result<(String, String), Problems>,
}

/// A configuration that can take the place of a running one.
#[derive(Debug)]
pub struct Reloaded {
    /// The configuration to use: the new one, except for keys that need a restart.
    pub config: Config,
    /// Warnings about the new one.
    pub warnings: Vec<Problem>,
    /// The keys that need a restart.
    pub waiting: Vec<Problem>,
}

impl Source {
    /// No file is read before the first [`load`](Self::load).
    pub fn new(file: Option<PathBuf>, overrides: Overrides) -> Self {
        Self {
            file,
            overrides,
            seen: Ok(Default::default()),
        }
    }

    /// The file, if it can be read again: a pipe cannot, and reading on would wait for its writer.
    pub fn file(&self) -> Option<&Path> {
        let file = self.file.as_deref()?;
        let is_other = fs::metadata(file).is_ok_and(|metadata| !metadata.is_file());
        (!is_other).then_some(file)
    }

    /// Whether the file differs from what was last loaded. While it is being written, two answers differ.
    pub fn change(&self) -> Option<impl PartialEq + use<>> {
        let text = open(Some(self.file()?));
        (text != self.seen).then_some(text)
    }

    /// Reads the configuration and the warnings about it, or everything that is wrong with it.
    pub fn load(&mut self) -> Result<(Config, Vec<Problem>), Problems> {
        let (config, report) = self.read(Severity::Warning)?;
        Ok((config, report.into_problems()))
    }

    /// The same, but takes no certificate that has expired: a process that runs with one serves those who do not mind.
    pub fn check(&mut self) -> Result<(Config, Vec<Problem>), Problems> {
        let (config, report) = self.read(Severity::Error)?;
        Ok((config, report.into_problems()))
    }

    /// The same, to take the place of `running`.
    pub fn reload(&mut self, running: &Config) -> Result<Reloaded, Problems> {
        let (mut config, report) = self.read(Severity::Warning)?;
        let waiting = restart::keep(running, &mut config, &report)?;
        Ok(Reloaded {
            config,
            warnings: report.into_problems(),
            waiting,
        })
    }

    fn read(&mut self, expired: Severity) -> Result<(Config, Report), Problems> {
        let file = self.file.as_deref();
        self.seen = open(file);
        let (text, name) = self.seen.as_ref().map_err(Clone::clone)?;
        let folder = file.and_then(Path::parent).unwrap_or_else(|| Path::new(""));
        let files = NamedFiles { folder, expired };
        complete(text, name, &self.overrides, Some(files))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_once_it_is_there_and_until_it_is_read() {
        let file = std::env::temp_dir().join(format!("source-{}.toml", std::process::id()));
        let says =
            |port: u16| fs::write(&file, format!("upstream.url = 'http://127.0.0.1:{port}'"));
        says(1).unwrap();
        let mut source = Source::new(Some(file.clone()), Overrides::default());
        let (running, _) = source.load().unwrap();
        assert!(source.change().is_none());
        says(2).unwrap();
        let change = source.change();
        assert!(change.is_some() && source.change() == change);
        says(3).unwrap();
        assert!(source.change() != change, "it is still being written");
        let reloaded = source.reload(&running).unwrap();
        assert!(reloaded.config != running && source.change().is_none());
        fs::remove_file(&file).unwrap();
        assert!(source.change().is_some());
        assert!(source.reload(&running).is_err());
        assert!(source.change().is_none(), "it is known to be gone");
        says(1).unwrap();
        assert!(source.change().is_some());
        assert_eq!(source.reload(&running).unwrap().config, running);
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn what_is_no_file_is_not_read_again() {
        for path in ["/dev/null", "/tmp"] {
            let source = Source::new(Some(path.into()), Overrides::default());
            assert!(
                source.file().is_none() && source.change().is_none(),
                "{path}"
            );
        }
        let missing = Source::new(Some("/no/such.toml".into()), Overrides::default());
        assert!(missing.file().is_some(), "it may come");
    }
}
