//! The `sse-sidecar` command.

use std::process::ExitCode;

use sse_sidecar::cli::{self, Command};

fn main() -> ExitCode {
    match Command::from_args(std::env::args_os()) {
        Ok(Command::Check(settings)) => cli::check(&settings),
        Ok(Command::Health(settings)) => cli::health(&settings),
        Ok(Command::Run(_) | Command::Demo(_)) => not_built(),
        Err(error) => cli::refuse(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the command's answer")]
fn not_built() -> ExitCode {
    eprintln!("error: this build can `check` and ask for `health`, but has no proxy");
    ExitCode::FAILURE
}
