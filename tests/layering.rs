//! Who may use whom: the table of `docs/life-of-a-request.md`, held against the sources.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, Macro, UseTree};

/// Each module, the modules of this crate it may use, and the outside crates it must not.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    ("sse", &[], &["tokio", "hyper", "http", "bytes", "tracing"]),
    ("wire", &[], &["tokio", "hyper", "http", "bytes", "tracing"]),
    ("poll_cache", &[], &["hyper", "http"]),
    ("alarm", &["poll_cache"], &["hyper", "http"]),
    ("reason", &["sse"], &["tokio", "hyper"]),
    ("problem", &["reason"], &["tokio", "hyper"]),
    ("page", &[], &["tokio", "hyper"]),
    ("counters", &[], &["tokio", "hyper", "http"]),
    (
        "upstream_stats",
        &["counters", "reason"],
        &["hyper", "http"],
    ),
    ("process", &[], &["tokio", "hyper", "http"]),
    ("output", &[], &["tokio", "hyper", "http"]),
    (
        "metrics",
        &["counters", "upstream_stats", "process", "reason", "output"],
        &["tokio", "hyper"],
    ),
    ("tls", &[], &["hyper", "http"]),
    ("config", &["tls"], &["tokio", "hyper", "rustls"]),
    (
        "import",
        &[],
        &["tokio", "hyper", "http", "bytes", "toml", "tracing"],
    ),
    ("socket", &["poll_cache"], &["hyper", "http"]),
    ("log", &["config", "output"], &["tokio", "hyper"]),
    ("signal", &[], &["hyper", "http"]),
    ("supervisor", &[], &["tokio", "hyper", "http"]),
    ("sending", &[], &["hyper", "http"]),
    (
        "http1",
        &["alarm", "sending", "socket", "sse", "wire"],
        &["hyper"],
    ),
    ("http2", &["alarm", "sending", "socket"], &["hyper"]),
    (
        "client",
        &[
            "alarm", "config", "http1", "reason", "sending", "socket", "wire",
        ],
        &["hyper"],
    ),
    (
        "exchange",
        &[
            "client",
            "config",
            "log",
            "counters",
            "upstream_stats",
            "metrics",
            "reason",
            "sse",
        ],
        &["hyper"],
    ),
    (
        "body",
        &[
            "alarm", "client", "exchange", "http1", "http2", "reason", "sending", "socket", "sse",
        ],
        &[],
    ),
    ("files", &["body", "config", "reason"], &["hyper"]),
    (
        "resume",
        &[
            "alarm",
            "body",
            "client",
            "config",
            "exchange",
            "metrics",
            "reason",
            "sse",
            "upstream_stats",
        ],
        &["hyper"],
    ),
    (
        "upstream",
        &[
            "alarm",
            "body",
            "client",
            "config",
            "upstream_stats",
            "http1",
            "http2",
            "metrics",
            "reason",
            "sending",
            "socket",
            "sse",
            "tls",
            "wire",
        ],
        &[],
    ),
    (
        "doctor",
        &[
            "body", "client", "config", "http1", "metrics", "reason", "sending", "sse", "tls",
            "upstream", "wire",
        ],
        &["hyper", "rustls"],
    ),
    (
        "server",
        &[
            "sending", "alarm", "body", "client", "config", "http1", "http2", "metrics", "problem",
            "reason", "socket", "tls", "wire",
        ],
        &[],
    ),
    (
        "proxy",
        &[
            "http1", "alarm", "body", "client", "config", "counters", "doctor", "exchange",
            "files", "metrics", "output", "problem", "reason", "resume", "server", "sse", "tls",
            "upstream", "wire",
        ],
        &[],
    ),
    (
        "admin",
        &[
            "body",
            "client",
            "config",
            "exchange",
            "log",
            "upstream_stats",
            "metrics",
            "page",
            "resume",
            "server",
            "sse",
            "tls",
        ],
        &[],
    ),
    (
        "reload",
        &[
            "admin", "client", "config", "exchange", "log", "metrics", "proxy", "resume", "server",
            "tls", "upstream",
        ],
        &["hyper", "toml"],
    ),
    (
        "app",
        &[
            "admin",
            "config",
            "metrics",
            "reload",
            "resume",
            "server",
            "signal",
            "supervisor",
            "tls",
        ],
        &["hyper", "toml"],
    ),
    (
        "cli",
        &[
            "app",
            "config",
            "doctor",
            "import",
            "log",
            "page",
            "signal",
            "supervisor",
            "body",
            "client",
            "server",
        ],
        &["toml"],
    ),
];

/// Which of this crate's modules, and which other crates, each file of a module names.
#[derive(Default)]
struct Uses {
    /// Where the file is in the tree of modules.
    module: Vec<String>,
    /// Whole paths: from this crate's root with `crate` in front, from another crate with its name.
    paths: BTreeSet<Vec<String>>,
    /// The modules that are files of their own.
    children: Vec<String>,
}

impl Uses {
    fn note(&mut self, segments: &[String]) {
        let mut path = vec!["crate".to_owned()];
        let mut rest = segments;
        match segments[0].as_str() {
            "crate" | "sse_sidecar" => rest = &segments[1..],
            "self" | "super" => {
                let mut module = &self.module[..];
                while let Some((first, others)) = rest.split_first() {
                    match first.as_str() {
                        "self" => {}
                        "super" => module = &module[..module.len().saturating_sub(1)],
                        _ => break,
                    }
                    rest = others;
                }
                path.extend_from_slice(module);
            }
            _ => path.clear(),
        }
        path.extend_from_slice(rest);
        self.paths.insert(path);
    }

    fn note_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.note_tree(&with(path.ident.to_string()), &path.tree),
            UseTree::Name(name) if name.ident == "self" => self.note(before),
            UseTree::Name(name) => self.note(&with(name.ident.to_string())),
            UseTree::Rename(name) => self.note(&with(name.ident.to_string())),
            UseTree::Glob(_) => self.note(before),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_tree(before, tree);
                }
            }
        }
    }

    /// The paths in what a macro is given, which need not be Rust.
    fn note_tokens(&mut self, mut cursor: Cursor<'_>) {
        while !cursor.eof() {
            if let Some((inside, _, _, after)) = cursor.any_group() {
                self.note_tokens(inside);
                cursor = after;
            } else if let Some((first, mut after)) = cursor.ident() {
                let mut segments = vec![first.to_string()];
                while let Some((next, behind)) = segment(after) {
                    segments.push(next);
                    after = behind;
                }
                if segments.len() > 1 {
                    self.note(&segments);
                }
                cursor = after;
            } else if let Some((_, after)) = cursor.token_tree() {
                cursor = after;
            }
        }
    }
}

/// `::name`
fn segment(cursor: Cursor<'_>) -> Option<(String, Cursor<'_>)> {
    let (first, cursor) = cursor.punct()?;
    let (second, cursor) = cursor.punct()?;
    let (name, cursor) = cursor.ident()?;
    (first.as_char() == ':' && second.as_char() == ':').then(|| (name.to_string(), cursor))
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.note_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if segments.len() > 1 {
            self.note(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        let tokens = TokenBuffer::new2(called.tokens.clone());
        self.note_tokens(tokens.begin());
        visit::visit_macro(self, called);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let is_test = |attribute: &Attribute| {
            attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Path>()
                    .is_ok_and(|path| path.is_ident("test"))
        };
        if item.attrs.iter().any(is_test) {
            return;
        }
        let name = item.ident.to_string();
        if item.content.is_none() {
            self.children.push(name);
            return;
        }
        self.module.push(name);
        visit::visit_item_mod(self, item);
        self.module.pop();
    }
}

fn uses(text: &str, module: &[String]) -> Uses {
    let file = syn::parse_file(text).expect("it is Rust, or it would not compile");
    let mut uses = Uses {
        module: module.to_vec(),
        ..Uses::default()
    };
    uses.visit_file(&file);
    uses
}

/// Every file of a module, without those that are compiled for tests only, and what it uses.
fn files_of(src: &Path, module: &[String]) -> Vec<(PathBuf, Uses)> {
    let base = src.join(module.join("/"));
    let candidates = [base.with_extension("rs"), base.join("mod.rs")];
    let file = candidates.into_iter().find(|file| file.is_file());
    let file = file.unwrap_or_else(|| panic!("there is no module `{}`", module.join("::")));
    let uses = uses(&fs::read_to_string(&file).unwrap(), module);
    let children: Vec<_> = uses
        .children
        .iter()
        .flat_map(|child| files_of(src, &[module, std::slice::from_ref(child)].concat()))
        .collect();
    let mut files = vec![(file, uses)];
    files.extend(children);
    files
}

/// What `uses` has that the line of `module` does not allow.
fn forbidden(uses: &Uses, module: &str, allowed: &[&str], banned: &[&str]) -> Vec<String> {
    let is_forbidden = |path: &&Vec<String>| match path[0].as_str() {
        "crate" => path
            .get(1)
            .is_some_and(|used| used != module && !allowed.contains(&used.as_str())),
        other => banned.contains(&other),
    };
    let found = uses.paths.iter().filter(is_forbidden);
    found.map(|path| path.join("::")).collect()
}

#[test]
fn modules_use_only_what_their_line_names() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for &(module, allowed, banned) in TABLE {
        for (file, uses) in files_of(&src, &[module.to_owned()]) {
            let file = file.strip_prefix(&src).unwrap().display();
            for path in forbidden(&uses, module, allowed, banned) {
                wrong.push(format!("src/{file}: `{module}` must not use `{path}`"));
            }
        }
    }
    let listed: BTreeSet<_> = TABLE
        .iter()
        .map(|&(module, ..)| module.to_owned())
        .collect();
    let root = uses(&fs::read_to_string(src.join("lib.rs")).unwrap(), &[]);
    for module in root.children {
        if !listed.contains(&module) {
            wrong.push(format!("src/{module} is not in the table"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn paths_count_however_they_are_written() {
    let module = ["a".to_owned(), "b".to_owned()];
    let uses = uses(
        r#"
        use crate::{c, d::{self, e}};
        use super::super::f as other;
        pub(super) mod inside {
            use super::super::near;
            use super::super::super::g;
        }
        #[cfg(test)]
        mod tests {
            use crate::unseen;
        }
        /// crate::comment
        fn h(_: &crate::h::H) -> Vec<crate::i::I> {
            join!(async { crate::j::run("crate::text").await }, tokio::task::yield_now());
        }
        mod child;
        "#,
        &module,
    );
    let seen = forbidden(&uses, "a", &[], &["tokio"]);
    assert_eq!(
        seen,
        [
            "crate::c",
            "crate::d",
            "crate::d::e",
            "crate::f",
            "crate::g",
            "crate::h::H",
            "crate::i::I",
            "crate::j::run",
            "tokio::task::yield_now"
        ]
    );
    assert_eq!(
        forbidden(&uses, "a", &["c", "d", "f", "g", "h", "i"], &[]),
        ["crate::j::run"]
    );
    assert_eq!(uses.children, ["child"]);
}
