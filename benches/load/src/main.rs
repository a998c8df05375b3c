//! Backend and clients of the benchmark in one process, so that both read one clock. Each scenario is one kind of work; it goes
//! through whatever listens at `--to`, and what it cost the processes `--pids` comes out as one line of JSON.
//!
//! One thread is the backend, one the clients. For each event one writes and one reads, as the proxy does, and most of it is
//! the kernel's: together they cost about as much as a proxy (`load_us` in what comes out), so that one core serves them.

mod backend;
mod client;
mod events;
mod options;
mod process;
mod scenarios;

use std::error::Error;
use std::process::ExitCode;

use tokio::runtime::{Builder, LocalOptions};

use backend::Backend;
use options::Options;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What a scenario found out: names and figures.
type Figures = Vec<(&'static str, f64)>;

fn run() -> Result<Figures> {
    let options = Options::from_args(std::env::args().skip(1))?;
    let backend = Backend::start(options.backend, options.streams)?;
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?
        .block_on(scenarios::run(&options, backend))
}

fn main() -> ExitCode {
    match run() {
        Ok(figures) => {
            let members: Vec<_> = figures
                .iter()
                .map(|(name, value)| format!("\"{name}\": {value}"))
                .collect();
            println!("{{{}}}", members.join(", "));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
