//! The file that a request names, opened.
//!
//! The kernel resolves every name below the root (`openat2` with `RESOLVE_BENEATH`, where available): a path that leads out of it,
//! through whatever symlink and however it changes meanwhile, does not open. So there is no time between a check and its use.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};

use super::coding::FileCoding;
use super::request::Target;
use crate::config;

/// The file that is served for a folder.
const INDEX: &str = "index.html";

/// What a request wants.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) target: Target,
    /// The fallback may be served instead.
    pub(super) falls_back: bool,
    /// The codings that are as good, the best first.
    pub(super) codings: Vec<FileCoding>,
}

/// What there is.
#[derive(Debug)]
pub(super) enum Found {
    /// This file.
    File(Opened),
    /// A folder with an index, at a path without its last slash.
    Folder,
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    Nothing,
    /// Never served: it leads out of the root, is not readable, or is no regular file.
    Withheld,
}

/// A regular file.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: fs::File,
    pub(super) length: u64,
    pub(super) modified: Option<SystemTime>,
    /// Its path below the root, without the extension of its coding.
    pub(super) path: PathBuf,
    pub(super) coding: Option<FileCoding>,
    /// The file also depends on whether the request was a navigation.
    pub(super) is_fallback: bool,
}

/// Opens the `wanted` file; `None` if there is none. The fallback never replaces a file that is withheld.
pub(super) fn find(config: &config::Files, wanted: &Wanted) -> io::Result<Option<Found>> {
    let config::Files { root, fallback } = config;
    let root = Dir::open_ambient_dir(root, ambient_authority())?;
    let Wanted {
        target,
        falls_back,
        codings,
    } = wanted;
    let (path, kind) = match &target.path {
        Some(path) if target.is_folder => {
            let index = path.join(INDEX);
            let kind = kind(&root, &index)?;
            (index, kind)
        }
        Some(path) => (path.clone(), kind(&root, path)?),
        None => (PathBuf::new(), Kind::Nothing),
    };
    let found = match kind {
        Kind::File => open(&root, &path, codings)?.map(Found::File),
        Kind::Folder if kind_of_index(&root, &path)? == Kind::File => Some(Found::Folder),
        Kind::Folder | Kind::Nothing => None,
        Kind::Withheld => return Ok(None),
    };
    match fallback {
        Some(fallback) if found.is_none() && *falls_back => {
            let opened = open(&root, Path::new(fallback), codings)?;
            Ok(opened.map(|opened| {
                Found::File(Opened {
                    is_fallback: true,
                    ..opened
                })
            }))
        }
        _ => Ok(found),
    }
}

/// Opens the file, or a precompressed one beside it.
fn open(root: &Dir, path: &Path, codings: &[FileCoding]) -> io::Result<Option<Opened>> {
    let coded = codings.iter().map(|coding| {
        let mut name = OsString::from(path);
        name.push(".");
        name.push(coding.extension());
        (PathBuf::from(name), Some(*coding))
    });
    for (name, coding) in coded.chain([(path.to_owned(), None)]) {
        if let Some((file, metadata)) = open_regular(root, &name)? {
            return Ok(Some(Opened {
                file,
                length: metadata.len(),
                modified: metadata.modified().ok(),
                path: path.to_owned(),
                coding,
                is_fallback: false,
            }));
        }
    }
    Ok(None)
}

/// Opens a regular file. A device is not even opened: that may already do something.
fn open_regular(root: &Dir, path: &Path) -> io::Result<Option<(fs::File, fs::Metadata)>> {
    if kind(root, path)? != Kind::File {
        return Ok(None);
    }
    // It may have been replaced by now: a FIFO would block, and a terminal would become the process's own.
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    match root.open_with(path, &options) {
        Ok(file) => {
            let file = file.into_std();
            let metadata = file.metadata()?;
            Ok(metadata.is_file().then_some((file, metadata)))
        }
        Err(error) => refused(error).map(|_| None),
    }
}

fn kind_of_index(root: &Dir, folder: &Path) -> io::Result<Kind> {
    kind(root, &folder.join(INDEX))
}

/// What `path` leads to; the empty one is the root itself.
fn kind(root: &Dir, path: &Path) -> io::Result<Kind> {
    if path.as_os_str().is_empty() {
        return Ok(Kind::Folder);
    }
    Ok(match root.metadata(path) {
        Ok(metadata) if metadata.is_file() => Kind::File,
        Ok(metadata) if metadata.is_dir() => Kind::Folder,
        Ok(_) => Kind::Withheld,
        Err(error) => refused(error)?,
    })
}

/// What an error says about a path, unless it is about the file system. Clients cannot tell one from the other.
fn refused(error: io::Error) -> io::Result<Kind> {
    match (error.kind(), error.raw_os_error()) {
        // The last is a name that is too long.
        (ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename, _) => {
            Ok(Kind::Nothing)
        }
        // Also for whatever leads out of the root.
        (ErrorKind::PermissionDenied, _) | (_, Some(libc::ELOOP | libc::ENXIO)) => {
            tracing::debug!(%error, "a file is not readable, or not inside its root");
            Ok(Kind::Withheld)
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, symlink};

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    /// Everything that is opened is inside: each file's content says where it is.
    fn tree() -> impl Strategy<Value = Vec<(String, String)>> {
        let place = r"(a|b|\.\.data|index\.html)(/(a|b|index\.html))?";
        let what = r"(file|file|a|b|\.\.|\.\./\.\./outside|\.\./outside/x|\.\./root/a|/|a/b|\.\.data/a|/etc/passwd|OUT|OUT/x)";
        prop::collection::vec((place, what), 0..8)
    }

    fn plant(root: &Path, tree: &[(String, String)]) {
        for (place, what) in tree {
            let path = root.join(place);
            // Beyond a symlink that leads out, the tree continues outside, and shows as such.
            if fs::create_dir_all(path.parent().unwrap()).is_err()
                || path.symlink_metadata().is_ok()
            {
                continue;
            }
            let parent = path.parent().unwrap().canonicalize().unwrap();
            let base = root.parent().unwrap().canonicalize().unwrap();
            if !parent.starts_with(&base) {
                continue;
            }
            if what == "file" {
                let inside = parent.starts_with(base.join("root"));
                fs::write(&path, if inside { "inside" } else { "outside" }).unwrap();
            } else {
                let outside = base.join("outside");
                let target = what.replace("OUT", outside.to_str().unwrap());
                symlink(target, &path).unwrap();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn nothing_outside_of_the_root_is_ever_opened(
            tree in tree(),
            paths in prop::collection::vec(
                "(/|a|b|x|\\.|\\.\\.|%2e|%2E%2e|%252e|%2f|%5c|\\\\|%00|%c0%ae|outside|etc/passwd|\\.\\.data|index\\.html|%|25|;){0,9}",
                1..20,
            ),
        ) {
            let folder = TempDir::new().unwrap();
            let root = folder.path().join("root");
            fs::create_dir(&root).unwrap();
            fs::create_dir(folder.path().join("outside")).unwrap();
            fs::write(folder.path().join("outside/x"), "outside").unwrap();
            fs::write(folder.path().join("outside/index.html"), "outside").unwrap();
            plant(&root, &tree);
            let config = config::Files { root, fallback: Some("index.html".to_owned()) };
            for below in paths {
                for whole in [format!("/{below}"), below.clone()] {
                    let Some(target) = Target::parse(&whole, &below) else { continue };
                    let wanted = Wanted { target, falls_back: true, codings: Vec::new() };
                    if let Ok(Some(Found::File(opened))) = find(&config, &wanted) {
                        let mut content = vec![0; 6];
                        opened.file.read_exact_at(&mut content, 0).unwrap();
                        prop_assert_eq!(content, b"inside", "{} {:?}", below, tree);
                    }
                }
            }
        }
    }
}
