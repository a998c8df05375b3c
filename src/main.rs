//! The `sse-sidecar` command.

use std::process::ExitCode;

use sse_sidecar::cli::{self, Command};

fn main() -> ExitCode {
    match Command::from_args(std::env::args_os()) {
        Ok(Command::Run(settings)) => cli::run(&settings),
        Ok(Command::Check(settings)) => cli::check(&settings),
        Ok(Command::Demo(demo)) => cli::demo(&demo),
        Ok(Command::Health(settings)) => cli::health(&settings),
        Err(error) => cli::refuse(&error),
    }
}
