//! The `sse-sidecar` command.

use std::process::ExitCode;

use sse_sidecar::cli::{self, Command};

/// Returns the memory of finished streams; libc's allocator keeps nearly all of it.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Command::from_args(std::env::args_os()) {
        Ok(Command::Run(source)) => cli::run(&source),
        Ok(Command::Check(source)) => cli::check(&source),
        Ok(Command::Demo(demo)) => cli::demo(&demo),
        Ok(Command::Doctor(given)) => cli::doctor(&given),
        Ok(Command::ImportNginx(given)) => cli::import_nginx(&given),
        Ok(Command::Health(source)) => cli::health(&source),
        Err(error) => cli::refuse(&error),
    }
}
