//! The command line: arguments and environment to a [`Command`].

mod check;
pub mod demo;
mod doctor;
mod health;
mod import_nginx;
mod run;
mod serve;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{Override, Overrides};

pub use self::check::check;
pub use self::demo::demo;
pub use self::doctor::{Doctor, doctor};
pub use self::health::health;
pub use self::import_nginx::{ImportNginx, import_nginx};
pub use self::run::run;

/// The exit code of a command that was called wrongly, or whose configuration is wrong.
pub const USAGE: u8 = 2;

/// The command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the proxy.
    Run(ConfigSource),
    /// Check whether `run` could start with this configuration.
    Check(ConfigSource),
    /// Run the demo.
    Demo(Demo),
    /// Find the hop that breaks an event stream.
    Doctor(Box<Doctor>),
    /// Convert an nginx configuration.
    ImportNginx(Box<ImportNginx>),
    /// Check whether a running sidecar is alive.
    Health(ConfigSource),
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigSource {
    /// The file, if there is one.
    pub config: Option<PathBuf>,
    /// What replaces its values.
    pub overrides: Overrides,
}

/// The arguments of `demo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demo {
    /// The port of its page; 0 is any free one.
    pub port: u16,
}

impl Command {
    /// Reads the arguments, the program's name first, and the environment. Help and version are errors too; all are meant
    /// for [`refuse`].
    pub fn from_args(
        args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let matches = definition().try_get_matches_from(args)?;
        let Arguments { command, run } = Arguments::from_arg_matches(&matches)?;
        let given = matches
            .subcommand()
            .map_or(&matches, |(_, matches)| matches);
        Ok(match command {
            None => Self::Run(run.source(given)),
            Some(Subcommands::Run(flags)) => Self::Run(flags.source(given)),
            Some(Subcommands::Check(flags)) => Self::Check(flags.source(given)),
            Some(Subcommands::Demo(DemoFlags { port })) => Self::Demo(Demo { port }),
            Some(Subcommands::Doctor(doctor)) => Self::Doctor(doctor),
            Some(Subcommands::ImportNginx(import)) => Self::ImportNginx(import),
            Some(Subcommands::Health(flags)) => Self::Health(flags.source(given)),
        })
    }
}

/// The commands and flags, from which the man pages and the completions are generated (`examples/generate.rs`).
pub fn definition() -> clap::Command {
    Arguments::command()
}

/// Prints help, the version or an error in the arguments, and returns the exit code.
pub fn refuse(error: &clap::Error) -> ExitCode {
    // There is nowhere to report a failure to write.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

/// A reverse proxy that makes event streams (Server-Sent Events) work in front of any HTTP backend
#[derive(Debug, Parser)]
#[command(
    name = "sse-sidecar",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Without a command it runs the proxy:\n  sse-sidecar --upstream http://127.0.0.1:3000"
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    run: Flags,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run the proxy (the default)
    Run(Flags),
    /// Validate a configuration and report every error
    Check(Flags),
    /// Run a self-contained demo in the browser
    Demo(DemoFlags),
    /// Find out which hop buffers, compresses or cuts an event stream, and what to change there
    Doctor(Box<Doctor>),
    /// Convert an nginx configuration, and report on every directive
    ImportNginx(Box<ImportNginx>),
    /// Check whether a running sidecar is alive, for container health checks
    Health(HealthFlags),
}

#[derive(Debug, clap::Args)]
struct Flags {
    #[command(flatten)]
    file: ConfigFlag,
    #[arg(
        long,
        value_name = "ADDR",
        env = "SSE_SIDECAR_LISTEN",
        value_delimiter = ',',
        help = "Where clients connect: IP:PORT or unix:/PATH; more than one with commas [default: 0.0.0.0:8080]"
    )]
    listen: Vec<String>,
    #[arg(
        long,
        value_name = "URL",
        env = "SSE_SIDECAR_UPSTREAM",
        help = "The backend: http://HOST:PORT, https://HOST:PORT or unix:/PATH"
    )]
    upstream: Option<String>,
    #[arg(
        long,
        value_name = "HOST",
        env = "SSE_SIDECAR_UPSTREAM_HOST",
        help = "The Host header for the backend: HOST, HOST:PORT or from-client [default: the URL's for https with a public name, else the client's]"
    )]
    upstream_host: Option<String>,
    #[command(flatten)]
    admin: AdminFlag,
    /// The least severe level that is logged: error, warn, info or debug [default: info]
    #[arg(long, value_name = "LEVEL", env = "SSE_SIDECAR_LOG_LEVEL")]
    log_level: Option<String>,
}

#[derive(Debug, clap::Args)]
struct HealthFlags {
    #[command(flatten)]
    file: ConfigFlag,
    #[command(flatten)]
    admin: AdminFlag,
}

#[derive(Debug, clap::Args)]
struct DemoFlags {
    /// The port of the page; 0 takes any free one
    #[arg(
        long,
        value_name = "N",
        env = "SSE_SIDECAR_PORT",
        default_value_t = 8090
    )]
    port: u16,
}

#[derive(Debug, clap::Args)]
struct ConfigFlag {
    /// The configuration file, in TOML; the other flags replace its values
    // Not a `PathBuf`, for which clap refuses an empty environment variable.
    #[arg(long, value_name = "FILE", env = "SSE_SIDECAR_CONFIG")]
    config: Option<OsString>,
}

#[derive(Debug, clap::Args)]
struct AdminFlag {
    /// Where health, readiness and metrics are served: IP:PORT or off [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR", env = "SSE_SIDECAR_ADMIN")]
    admin: Option<String>,
}

impl Flags {
    fn source(self, matches: &ArgMatches) -> ConfigSource {
        let Self {
            file,
            listen,
            upstream,
            upstream_host,
            admin,
            log_level,
        } = self;
        ConfigSource {
            config: file.path(),
            overrides: Overrides {
                listen: overrides(matches, "listen", listen).collect(),
                upstream: overrides(matches, "upstream", upstream).next(),
                upstream_host: overrides(matches, "upstream_host", upstream_host).next(),
                admin: overrides(matches, "admin", admin.admin).next(),
                log_level: overrides(matches, "log_level", log_level).next(),
            },
        }
    }
}

impl HealthFlags {
    fn source(self, matches: &ArgMatches) -> ConfigSource {
        let Self { file, admin } = self;
        ConfigSource {
            config: file.path(),
            overrides: Overrides {
                admin: overrides(matches, "admin", admin.admin).next(),
                ..Overrides::default()
            },
        }
    }
}

impl ConfigFlag {
    fn path(self) -> Option<PathBuf> {
        self.config
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    }
}

/// The values of the flag `id` with where they are from. An empty environment variable is the same as none.
fn overrides(
    matches: &ArgMatches,
    id: &str,
    values: impl IntoIterator<Item = String>,
) -> impl Iterator<Item = Override> {
    let is_variable = matches.value_source(id) == Some(ValueSource::EnvVariable);
    let source = if is_variable {
        format!("SSE_SIDECAR_{}", id.to_uppercase())
    } else {
        format!("--{}", id.replace('_', "-"))
    };
    values
        .into_iter()
        .filter(move |value| !(is_variable && value.is_empty()))
        .map(move |value| Override {
            source: source.clone(),
            value,
        })
}

/// `text`, which may quote foreign input, without control characters that a terminal would obey.
fn printable(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() && c != '\n' {
            '\u{FFFD}'
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}
