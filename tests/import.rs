//! `sse-sidecar import-nginx`: each folder of `tests/import` is an nginx configuration with what becomes of it. After a change that is
//! meant, `SSE_SIDECAR_WRITE_GOLDEN=1 cargo test --test import` writes them anew.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sse_sidecar::config::{self, Overrides};
use sse_sidecar::import::{Files, Imported, import};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

/// The names of the configurations.
fn cases() -> Vec<String> {
    let entries = fs::read_dir(folder()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 10, "{names:?}");
    names
}

/// The files of a case.
struct Folder(PathBuf);

impl Files for Folder {
    fn read(&self, path: &str) -> Result<String, String> {
        fs::read_to_string(self.0.join(path)).map_err(|error| error.to_string())
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(folder))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

fn importer(case: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sidecar"));
    command
        .arg("import-nginx")
        .args(args)
        .env_clear()
        .current_dir(folder().join(case));
    command
}

/// The exit code, stdout and stderr.
fn outcome(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// What is expected in a file, which is written anew if that is asked for.
fn assert_golden(case: &str, name: &str, found: &str) {
    let path = folder().join(case).join(name);
    if std::env::var_os("SSE_SIDECAR_WRITE_GOLDEN").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{case}: {name} is not what is expected\n--- found\n{found}\n--- expected\n{expected}"
    );
}

#[test]
fn each_configuration_becomes_what_is_expected() {
    for case in cases() {
        let files = Folder(folder().join(&case));
        let Imported { toml, report } =
            import(&files, "nginx.conf", None, &|_| None, &|_| true).unwrap();
        assert_golden(&case, "sidecar.toml", &toml);
        assert_golden(
            &case,
            "report.txt",
            &format!("{report}\n{:?}\n", report.outcome()),
        );
    }
}

#[test]
fn check_takes_every_output() {
    for case in cases() {
        let (_, toml, report) = outcome(&mut importer(&case, &["nginx.conf"]));
        if let Err(problems) = config::parse(&toml, &case, &Overrides::default()) {
            panic!("{case}: {problems}\n{toml}");
        }
        assert!(
            report.contains("`sse-sidecar check` takes the configuration"),
            "{report}"
        );
    }
}

#[test]
fn the_documentation_shows_an_import_as_it_is() {
    let page = include_str!("../docs/replacing-nginx.md");
    let case = folder().join("whole-site");
    for name in ["nginx.conf", "sidecar.toml"] {
        let text = fs::read_to_string(case.join(name)).unwrap();
        assert!(
            page.contains(&text),
            "docs/replacing-nginx.md does not show {name} of {}",
            case.display()
        );
    }
}

#[test]
fn the_report_for_scripts_has_every_directive_and_agrees_with_the_exit_code() {
    for case in cases() {
        let (code, _, report) = outcome(&mut importer(&case, &["--json", "nginx.conf"]));
        let report: Value = serde_json::from_str(&report).unwrap();
        let directives = report["directives"].as_array().unwrap();
        let count = |result: &str| {
            directives
                .iter()
                .filter(|entry| entry["result"] == result)
                .count()
        };
        let expected = match (count("guard"), count("left_out")) {
            (0, 0) => (0, "complete"),
            (0, _) => (1, "incomplete"),
            _ => (3, "unguarded"),
        };
        assert_eq!(
            (code, report["outcome"].as_str().unwrap()),
            expected,
            "{case}"
        );
        for entry in directives {
            let says_why = entry["result"] == "kept"
                || entry["reason"]
                    .as_str()
                    .is_some_and(|reason| !reason.is_empty());
            assert!(says_why && entry["line"].is_u64(), "{case}: {entry}");
        }
    }
}

#[test]
fn standard_input_and_an_output_file() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("imported.toml");
    let text = fs::read_to_string(folder().join("paths/nginx.conf")).unwrap();
    let mut command = importer("paths", &["-", "--output", path.to_str().unwrap()]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]));
    let written = fs::read_to_string(path).unwrap();
    let (_, expected, _) = outcome(&mut importer("paths", &["nginx.conf"]));
    assert_eq!(written.replace("standard input", "nginx.conf"), expected);
}

#[test]
fn what_nginx_prints_is_the_same_as_its_files() {
    let main = fs::read_to_string(folder().join("included/nginx.conf")).unwrap();
    let site = fs::read_to_string(folder().join("included/sites/app.conf")).unwrap();
    let headers = fs::read_to_string(folder().join("included/snippets/headers.conf")).unwrap();
    let dump = format!(
        "nginx: the configuration file nginx.conf syntax is ok\n# configuration file nginx.conf:\n{main}\n\
         # configuration file sites/app.conf:\n{site}\n# configuration file snippets/headers.conf:\n{headers}\n"
    );
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nginx-T.txt");
    fs::write(&path, dump).unwrap();
    let (_, expected, _) = outcome(&mut importer("included", &["nginx.conf"]));
    let (_, found, report) = outcome(&mut importer("paths", &[path.to_str().unwrap()]));
    assert_eq!(found, expected, "{report}");
}

#[test]
fn one_server_of_several() {
    let (_, toml, _) = outcome(&mut importer(
        "servers",
        &["nginx.conf", "--server", "x.b.test"],
    ));
    assert!(
        toml.contains("127.0.0.1:3002") && !toml.contains("127.0.0.1:3001"),
        "{toml}"
    );
    let (code, _, error) = outcome(&mut importer(
        "servers",
        &["nginx.conf", "--server", "c.test"],
    ));
    assert_eq!(
        (code, error.as_str()),
        (2, "error: nginx.conf: no `server` has the name `c.test`\n")
    );
}

#[test]
fn placeholders_of_a_template_are_asked_for() {
    let (code, toml, report) = outcome(&mut importer("template", &["nginx.conf"]));
    assert_eq!(code, 1);
    assert!(report.contains("--set BACKEND_URL=VALUE"), "{report}");
    assert!(
        !toml.lines().any(|line| line.starts_with("upstream.url")),
        "{toml}"
    );
    let (_, given, _) = outcome(&mut importer(
        "template",
        &["nginx.conf", "--set", "BACKEND_URL=http://app:8000"],
    ));
    assert!(
        given.contains("\nupstream.url = \"http://app:8000\""),
        "{given}"
    );
    let mut command = importer("template", &["nginx.conf"]);
    let (_, given, _) = outcome(command.env("BACKEND_URL", "http://env:8000"));
    assert!(
        given.contains("\nupstream.url = \"http://env:8000\""),
        "{given}"
    );
}

#[test]
fn what_cannot_be_read_says_where() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken.conf");
    let path = path.to_str().unwrap();
    for (text, expected) in [
        (
            "server {\n  listen 80;\n",
            ":3: a block is never closed: a `}` is missing",
        ),
        (
            "server {\n  listen 80\n}\n",
            ":3: found `}`, expected a `;` before it",
        ),
        ("upstream a {}\n", ": it has no `server` and no `location`"),
    ] {
        fs::write(path, text).unwrap();
        let (code, stdout, error) = outcome(&mut importer("paths", &[path]));
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert_eq!(error, format!("error: {path}{expected}\n"));
    }
    let (code, _, error) = outcome(&mut importer("paths", &["no-such.conf"]));
    assert_eq!(code, 2);
    assert!(
        error.starts_with("error: no-such.conf cannot be read: "),
        "{error}"
    );
    let (code, _, error) = outcome(&mut importer("paths", &["nginx.conf", "--set", "A"]));
    assert_eq!(code, 2);
    assert!(error.contains("BACKEND=http://app:8000"), "{error}");
}
