//! `sse-sidecar import-nginx`: an nginx configuration as one of the sidecar, and a report of what became of it.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::USAGE;
use crate::config::{self, Overrides};
use crate::import::{Files, Imported, Outcome, Texts, import};

/// The exit code of an import that leaves out something that decides who may call.
const UNGUARDED: u8 = 3;

/// The arguments of `import-nginx`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(
    override_usage = "sse-sidecar import-nginx [OPTIONS] FILE",
    after_help = "Exit code: 0 everything is kept or implied, 1 something was left out, 2 the file cannot be read, \
                  3 something that decides who may call was left out: what it guards answers 403."
)]
pub struct ImportNginx {
    /// A site file, an nginx.conf with its includes, or what `nginx -T` printed; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to write the configuration [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Import only the server of this name
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// The value of a template's placeholder, such as ${NAME}; without it the environment's
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Imports, writes the configuration and then the report.
pub fn import_nginx(given: &ImportNginx) -> ExitCode {
    let Imported { toml, report } = match run(given) {
        Ok(imported) => imported,
        Err(why) => return complain(&why),
    };
    let written = match &given.output {
        Some(path) => fs::write(path, &toml)
            .map_err(|error| format!("{} cannot be written: {error}", path.display())),
        // Who does not read the output still gets the report and the exit code.
        None => io::stdout()
            .write_all(toml.as_bytes())
            .map_err(|error| format!("standard output: {error}")),
    };
    if let Err(why) = written {
        return complain(&why);
    }
    let shown = if given.json {
        format!("{:#}\n", report.json())
    } else {
        format!(
            "{}\n{}\n",
            super::printable(&report.to_string()),
            checked(&toml)
        )
    };
    let _ = io::stderr().write_all(shown.as_bytes());
    match report.outcome() {
        Outcome::Complete => ExitCode::SUCCESS,
        Outcome::Incomplete => ExitCode::FAILURE,
        Outcome::Unguarded => ExitCode::from(UNGUARDED),
    }
}

fn run(given: &ImportNginx) -> Result<Imported, String> {
    let ImportNginx {
        file,
        output: _,
        server,
        set,
        json: _,
    } = given;
    let name = file.to_string_lossy().into_owned();
    let text = read(file).map_err(|error| format!("{name} cannot be read: {error}"))?;
    let values: HashMap<_, _> = set.iter().cloned().collect();
    let placeholder = |name: &str| {
        values
            .get(name)
            .cloned()
            .or_else(|| std::env::var(name).ok())
    };
    let (main, files): (String, Box<dyn Files>) = match Texts::from_dump(&text) {
        Some((main, texts)) => (main, Box::new(texts)),
        None if name == "-" => (
            "standard input".to_owned(),
            Box::new(Disk {
                main: "standard input".to_owned(),
                text,
            }),
        ),
        None => (name.clone(), Box::new(Disk { main: name, text })),
    };
    import(&*files, &main, server.as_deref(), &placeholder, &knows)
        .map_err(|error| error.to_string())
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().read_to_end(&mut bytes)?;
    } else {
        bytes = fs::read(path)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Files as they are on this machine; the main one was read already.
struct Disk {
    main: String,
    text: String,
}

impl Files for Disk {
    fn read(&self, path: &str) -> Result<String, String> {
        if path == self.main {
            return Ok(self.text.clone());
        }
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

/// Whether a `[[route]]` can have this key.
fn knows(key: &str) -> bool {
    let text = format!("upstream.url = \"http://127.0.0.1\"\n[[route]]\n{key} = {{}}\n");
    let full = format!("route[0].{key}");
    match config::parse(&text, "", &Overrides::default()) {
        Ok(_) => true,
        Err(problems) => !problems.iter().any(|problem| {
            let unknown = problem.key.as_deref().unwrap_or_default();
            problem.message == "unknown key" && !unknown.is_empty() && full.starts_with(unknown)
        }),
    }
}

/// What `check` reports on the output, without reading the files that it names.
fn checked(toml: &str) -> String {
    match config::parse(toml, "the imported configuration", &Overrides::default()) {
        Ok((_, warnings)) if warnings.is_empty() => {
            "`sse-sidecar check` takes the configuration".to_owned()
        }
        Ok((_, warnings)) => {
            let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
            format!(
                "`sse-sidecar check` takes the configuration, with warnings:\n{}",
                warnings.join("\n")
            )
        }
        Err(problems) => {
            format!("`sse-sidecar check` does not take the configuration yet:\n{problems}")
        }
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("write such as `BACKEND=http://app:8000`")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn complain(why: &dyn fmt::Display) -> ExitCode {
    let _ = writeln!(
        io::stderr(),
        "error: {}",
        super::printable(&why.to_string())
    );
    ExitCode::from(USAGE)
}
