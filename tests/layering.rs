//! Who may use whom: the table of `docs/life-of-a-request.md`, held against the sources.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Each module, the modules of this crate it may use, and the outside crates it must not.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    ("sse", &[], &["tokio", "hyper", "http", "bytes", "tracing"]),
    ("wire", &[], &["tokio", "hyper", "http", "bytes", "tracing"]),
    ("poll_cache", &[], &["hyper", "http"]),
    ("alarm", &["poll_cache"], &["hyper", "http"]),
    ("reason", &["sse"], &["tokio", "hyper"]),
    ("problem", &["reason"], &["tokio", "hyper"]),
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
            "files", "metrics", "output", "problem", "reason", "server", "sse", "tls", "upstream",
            "wire",
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
            "server",
            "tls",
        ],
        &[],
    ),
    (
        "reload",
        &[
            "admin", "client", "config", "exchange", "log", "metrics", "proxy", "server", "tls",
            "upstream",
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
            "signal",
            "supervisor",
            "body",
            "client",
            "server",
        ],
        &["toml"],
    ),
];

#[test]
fn modules_use_only_what_their_line_names() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut listed = BTreeSet::from(["lib".to_owned(), "main".to_owned()]);
    for &(module, allowed, banned) in TABLE {
        listed.insert(module.to_owned());
        for (file, text) in sources(&src, module) {
            for (number, line) in text.lines().enumerate() {
                let line = line.trim_start();
                if line.starts_with("//") {
                    continue;
                }
                for used in names_after(line, "crate::") {
                    if used != module && !allowed.contains(&used.as_str()) {
                        wrong.push(format!("{file}:{}: `{module}` uses `{used}`", number + 1));
                    }
                }
                for &banned in banned {
                    if names_before_path(line, banned) {
                        wrong.push(format!(
                            "{file}:{}: `{module}` uses the crate `{banned}`",
                            number + 1
                        ));
                    }
                }
            }
        }
    }
    for entry in fs::read_dir(&src).unwrap() {
        let name = entry
            .unwrap()
            .path()
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        if !listed.contains(&name) {
            wrong.push(format!("src/{name} is not in the table"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The module's files without their tests, by name.
fn sources(src: &Path, module: &str) -> Vec<(String, String)> {
    let mut files = vec![src.join(format!("{module}.rs"))];
    let mut folders = vec![src.join(module)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs")
                && !path.ends_with("tests.rs")
            {
                files.push(path);
            }
        }
    }
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).ok()?;
        let code = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default()
            .to_owned();
        Some((path.strip_prefix(src).unwrap().display().to_string(), code))
    };
    let found: Vec<_> = files.iter().filter_map(read).collect();
    assert!(!found.is_empty(), "there is no module `{module}`");
    found
}

/// The first path segment after each `prefix` in `line`; all of them in `prefix{a::…, b}`.
fn names_after(line: &str, prefix: &str) -> Vec<String> {
    line.match_indices(prefix)
        .flat_map(|(at, _)| {
            let rest = &line[at + prefix.len()..];
            let list = rest
                .strip_prefix('{')
                .map_or(rest, |list| list.split('}').next().unwrap_or_default());
            let parts = if rest.starts_with('{') {
                list.split(',').collect()
            } else {
                vec![list]
            };
            parts.into_iter().map(identifier).collect::<Vec<_>>()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

fn identifier(text: &str) -> String {
    text.trim()
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}

/// Whether `line` has a path that begins with the crate `name`.
fn names_before_path(line: &str, name: &str) -> bool {
    line.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    })
}
