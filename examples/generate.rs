//! Writes the man pages and the completions of bash, zsh and fish, which are generated from the command line's definition:
//!
//! ```sh
//! cargo run --example generate -- FOLDER
//! ```
//!
//! An example, so that what generates them is not in the binary that is shipped.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap_complete::Shell;
use clap_mangen::Man;
use sse_sidecar::cli;

/// What a definition of flags does not say, after it in the page of the whole command.
const MORE: &str = include_str!("more.roff");

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        return refuse("expected one argument, the folder to write to");
    };
    match write(&PathBuf::from(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&format!("cannot write to {}: {error}", folder.display())),
    }
}

fn refuse(message: &str) -> ExitCode {
    // Nobody is left to tell if this cannot be written.
    let _ = writeln!(io::stderr(), "error: {message}");
    ExitCode::FAILURE
}

/// Writes all of them to `folder`, and makes it where there is none.
pub(crate) fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut definition = cli::definition();
    definition.build();
    for command in definition.get_subcommands() {
        page(command).generate_to(folder)?;
    }
    let whole = File::create(folder.join("sse-sidecar.1"))?;
    write_whole(&page(&definition), &mut &whole)?;
    for shell in [Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut cli::definition(), "sse-sidecar", folder)?;
    }
    fs::write(folder.join("sse-sidecar.bash"), bash())?;
    Ok(())
}

/// `clap_complete` 4.6.11 writes the `-` of a program's name in two ways, and then completes nothing after a command.
fn bash() -> String {
    let mut script = Vec::new();
    clap_complete::generate(
        Shell::Bash,
        &mut cli::definition(),
        "sse-sidecar",
        &mut script,
    );
    String::from_utf8_lossy(&script).replace("sse__subcmd__sidecar", "sse__sidecar")
}

/// A command's page; each command has one, as git's have.
fn page(command: &clap::Command) -> Man {
    Man::new(command.clone()).source(concat!("sse-sidecar ", env!("CARGO_PKG_VERSION")))
}

/// The page of the whole command, with `MORE` in place of the help's last lines.
fn write_whole(man: &Man, page: &mut dyn Write) -> io::Result<()> {
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    man.render_subcommands_section(page)?;
    page.write_all(MORE.as_bytes())
}
