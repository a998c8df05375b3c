//! `run`: be the proxy.

use std::collections::BTreeSet;
use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::runtime::{Builder, LocalOptions};

use super::{ConfigSource, USAGE};
use crate::app::{App, Ending};
use crate::config::Source;
use crate::log;
use crate::signal::Signals;
use crate::supervisor::Supervisor;

/// Runs the sidecar until a signal stops it.
pub fn run(given: &ConfigSource) -> ExitCode {
    let mut source = Source::new(given.config.clone(), given.overrides.clone());
    let (config, warnings) = match source.load() {
        Ok(loaded) => loaded,
        Err(problems) => {
            complain(&problems);
            return ExitCode::from(USAGE);
        }
    };
    let logging = match log::start(&config.log) {
        Ok(logging) => logging,
        Err(error) => {
            complain(&format_args!("error: cannot start the log: {error}"));
            return ExitCode::FAILURE;
        }
    };
    warnings.iter().for_each(log::problem);
    let upstreams: BTreeSet<_> = config
        .upstreams()
        .map(|upstream| upstream.address.to_string())
        .collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = source
            .file()
            .map(|path| tracing::field::display(path.display())),
        upstreams = upstreams.into_iter().collect::<Vec<_>>().join(" "),
        status = config
            .admin
            .listen
            .map(|address| format!("http://{address}/status")),
        "starting"
    );
    let ending = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map(|runtime| {
            runtime.block_on(async {
                let signals = Signals::new()?;
                let app = App::start(&config).await?;
                let supervisor = Supervisor::new(env::var_os("NOTIFY_SOCKET").as_deref());
                Ok::<_, Box<dyn std::error::Error>>(app.run(signals, supervisor, source).await)
            })
        });
    match ending {
        Ok(Ok(Ending::Complete)) => ExitCode::SUCCESS,
        Ok(Ok(Ending::Cut(responses))) => {
            tracing::warn!(responses, "responses were cut");
            ExitCode::FAILURE
        }
        Ok(Err(error)) => {
            drop(logging); // writes the last lines first
            complain(&format_args!("error: {error}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format_args!("error: cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn complain(message: &dyn std::fmt::Display) {
    // `eprintln!` panics where this cannot be written.
    let _ = writeln!(io::stderr(), "{message}");
}
