//! The files that a route answers with by itself.

use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::action::OwnAction;
use super::draft::Draft;
use super::file::{Report, Table};
use super::problem::Mistake;
use super::value::text;

/// A folder whose files are a route's answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// The folder.
    pub root: PathBuf,
    /// The page, below the root, of a single-page application; it is served where there is no file.
    pub fallback: Option<String>,
}

impl Files {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let mut files = Self::default();
        if !table.has("root") {
            let mistake = Mistake::new("missing, so there are no files to answer with")
                .help("write such as `root = \"/srv/www\"`");
            table.wrong("root", &mistake);
        }
        table.set("root", &mut files.root, text(root));
        table.set("fallback", &mut files.fallback, text(fallback));
        files
    }

    /// With the root as seen from the folder of the configuration.
    pub(super) fn below(self, folder: &Path) -> Self {
        Self {
            root: folder.join(self.root),
            ..self
        }
    }
}

/// Reports folders that do not exist, and fallbacks that can never be served. Relative paths start at `folder`.
pub(super) fn check_files(draft: &Draft, folder: &Path, report: &mut Report) {
    for route in &draft.routes {
        let Some(OwnAction::Files(Files { root, fallback })) = &route.own_action else {
            continue;
        };
        let path = folder.join(root);
        let opened = Dir::open_ambient_dir(&path, ambient_authority());
        // Opening a folder does not show that it can be read.
        let root = opened.and_then(|root| root.entries().map(|_| root));
        let root = match root {
            Ok(root) => root,
            Err(error) => {
                let mistake = Mistake::new(format!(
                    "`{}` is not a folder that the sidecar can read: {error}",
                    path.display()
                ))
                .help("name a folder; a relative path starts at the folder of the configuration");
                report.error(&format!("{}.files.root", route.key), &mistake);
                continue;
            }
        };
        let Some(fallback) = fallback else { continue };
        let mistake = match root.open(fallback).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_file() => continue,
            Ok(_) => format!("`{fallback}` is not a file"),
            Err(error) => format!("`{fallback}` cannot be read: {error}"),
        };
        let mistake = Mistake::new(mistake).help(format!(
            "name a file in `{}`, such as `\"index.html\"`",
            path.display()
        ));
        report.error(&format!("{}.files.fallback", route.key), &mistake);
    }
}

fn root(text: &str) -> Result<PathBuf, Mistake> {
    if text.is_empty() || text.contains('\0') {
        return Err(Mistake::new("this is no path").help("name a folder, such as `\"/srv/www\"`"));
    }
    Ok(PathBuf::from(text))
}

/// Names that a request could have, too.
fn fallback(text: &str) -> Result<Option<String>, Mistake> {
    let is_name = |name: &str| !name.is_empty() && !name.starts_with('.');
    let path = text.strip_prefix('/').unwrap_or(text);
    let is_plain = path.split('/').all(is_name);
    if !is_plain || path.contains(|c: char| c.is_control() || c == '\\') {
        return Err(Mistake::new(format!("`{text}` is not a file below `root`"))
            .help("name one, such as `\"index.html\"`, without `..` and dotfiles"));
    }
    Ok(Some(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use crate::config::{Action, Config, Overrides, Problems, load};

    /// What a configuration in a folder means that has `www/index.html` in it, and `outside.html` beside that.
    fn read(files: &str) -> (TempDir, Result<Config, Problems>) {
        let folder = TempDir::new().unwrap();
        let www = folder.path().join("www");
        fs::create_dir_all(www.join("b")).unwrap();
        fs::write(www.join("index.html"), "").unwrap();
        fs::write(folder.path().join("outside.html"), "").unwrap();
        symlink("../outside.html", www.join("out.html")).unwrap();
        let file = folder.path().join("sidecar.toml");
        fs::write(&file, format!("[[route]]\nfiles = {{ {files} }}\n")).unwrap();
        let read = load(Some(&file), &Overrides::default()).map(|(config, _)| config);
        (folder, read)
    }

    #[test]
    fn a_relative_root_is_beside_the_configuration() {
        let (folder, config) = read("root = 'www', fallback = '/index.html'");
        let config = config.unwrap();
        let [route] = &*config.routes else {
            panic!("{config:?}")
        };
        let Action::Files(files) = &route.action else {
            panic!("{route:?}")
        };
        assert_eq!(files.root, folder.path().join("www"));
        assert_eq!(files.fallback.as_deref(), Some("index.html"));
    }

    #[test]
    fn what_is_not_there_is_reported() {
        for (files, expected) in [
            ("root = 'none'", "files.root: `"),
            ("root = 'outside.html'", "files.root: `"),
            (
                "root = 'www', fallback = 'none.html'",
                "files.fallback: `none.html` cannot be read",
            ),
            (
                "root = 'www', fallback = 'b'",
                "files.fallback: `b` is not a file",
            ),
            (
                "root = 'www', fallback = 'out.html'",
                "files.fallback: `out.html` cannot be read",
            ),
        ] {
            let (_folder, config) = read(files);
            let said = config.unwrap_err().to_string();
            assert!(said.contains(expected), "{files}: {said}");
            assert!(
                said.contains("sidecar.toml:2:") && said.contains("help: "),
                "{said}"
            );
        }
    }
}
