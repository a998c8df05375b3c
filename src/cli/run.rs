//! `run`: be the proxy.

use std::env;
use std::process::ExitCode;

use tokio::runtime::{Builder, LocalOptions};

use super::{Settings, USAGE};
use crate::app::{App, Ending};
use crate::config;
use crate::log;
use crate::signal::Signals;
use crate::supervisor::Supervisor;

/// Runs the sidecar until a signal stops it.
pub fn run(settings: &Settings) -> ExitCode {
    let (config, warnings) = match config::load(settings.config.as_deref(), &settings.overrides) {
        Ok(loaded) => loaded,
        Err(problems) => {
            complain(&problems);
            return ExitCode::from(USAGE);
        }
    };
    log::start(config.log);
    for warning in &warnings {
        tracing::warn!(
            key = warning.key.as_deref(),
            help = warning.help.as_deref(),
            "{}",
            warning.message
        );
    }
    let ending = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map(|runtime| {
            runtime.block_on(async {
                let app = App::start(&config).await?;
                let signals = Signals::new()?;
                let supervisor = Supervisor::new(env::var_os("NOTIFY_SOCKET").as_deref());
                Ok::<_, Box<dyn std::error::Error>>(app.run(signals, supervisor).await)
            })
        });
    match ending {
        Ok(Ok(Ending::Complete)) => ExitCode::SUCCESS,
        Ok(Ok(Ending::Cut(responses))) => {
            tracing::warn!(responses, "responses were cut");
            ExitCode::FAILURE
        }
        Ok(Err(error)) => {
            complain(&format_args!("error: {error}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format_args!("error: cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the command's answer")]
fn complain(message: &dyn std::fmt::Display) {
    eprintln!("{message}");
}
