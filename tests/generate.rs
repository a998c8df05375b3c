//! The man pages and completions that `examples/generate.rs` writes have all of the command line.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;
use std::{env, fs, process};

use clap::Command;
use sse_sidecar::cli;

#[path = "../examples/generate.rs"]
#[expect(dead_code, reason = "its `main`")]
mod generate;

/// Everything that is written, by name.
static GENERATED: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let folder = env::temp_dir().join(format!("sse-sidecar-generate-{}", process::id()));
    generate::write(&folder).unwrap();
    let read = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        (name.to_owned(), fs::read_to_string(path).unwrap())
    };
    let files = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| read(&entry.unwrap().path()))
        .collect();
    fs::remove_dir_all(folder).unwrap();
    files
});

/// The command and those below it, each with the name of its page.
fn commands() -> Vec<(String, Command)> {
    let mut definition = cli::definition();
    definition.build();
    let below = definition.get_subcommands();
    let below: Vec<_> = below
        .map(|command| {
            (
                format!("sse-sidecar-{}", command.get_name()),
                command.clone(),
            )
        })
        .collect();
    assert!(below.len() >= 4, "{below:?}");
    [("sse-sidecar".to_owned(), definition)]
        .into_iter()
        .chain(below)
        .collect()
}

/// The long flags of a command, `--help` among them.
fn flags(command: &Command) -> Vec<&str> {
    let shown = command.get_arguments().filter(|flag| !flag.is_hide_set());
    shown.filter_map(clap::Arg::get_long).collect()
}

/// As roff has it: a plain `-` would be a hyphen, which cannot be searched for or pasted.
fn roff(text: &str) -> String {
    text.replace('-', "\\-")
}

#[test]
fn each_command_has_a_page_with_its_flags_and_their_variables() {
    for (name, command) in commands() {
        let page = &GENERATED[&format!("{name}.1")];
        assert!(page.contains(&format!("\n.TH {name} 1 ")), "{page}");
        for flag in flags(&command) {
            assert!(page.contains(&roff(&format!("--{flag}"))), "{flag}: {page}");
        }
        for variable in command.get_arguments().filter_map(clap::Arg::get_env) {
            let variable = variable.to_str().unwrap();
            assert!(page.contains(variable), "{variable}: {page}");
        }
    }
}

#[test]
fn the_page_of_the_whole_names_every_command_signal_and_exit_code() {
    let page = &GENERATED["sse-sidecar.1"];
    for (name, _) in commands().iter().skip(1) {
        assert!(
            page.contains(&format!("{}(1)", roff(name))),
            "{name}: {page}"
        );
    }
    for word in ["SIGTERM", "SIGINT", "SIGHUP", "\\fB0\\fR", "\\fB1\\fR"] {
        assert!(page.contains(word), "{word}: {page}");
    }
    assert!(page.contains(&format!("\\fB{}\\fR", cli::USAGE)));
}

#[test]
fn each_shell_completes_every_command_and_flag() {
    for (file, dashes) in [
        ("sse-sidecar.bash", "--"),
        ("_sse-sidecar", "--"),
        ("sse-sidecar.fish", "-l "),
    ] {
        let script = &GENERATED[file];
        for (_, command) in commands() {
            assert!(script.contains(command.get_name()), "{file}: {command}");
            for flag in flags(&command) {
                let flag = format!("{dashes}{flag}");
                assert!(script.contains(&flag), "{file} leaves out {flag}");
            }
        }
    }
}

#[test]
fn what_bash_takes_a_command_for_has_completions() {
    let script = &GENERATED["sse-sidecar.bash"];
    let commands = script.split("cmd=\"").skip(1);
    let commands: Vec<_> = commands
        .filter_map(|rest| rest.split('"').next())
        .filter(|command| !command.is_empty())
        .collect();
    assert!(commands.len() >= 5, "{commands:?}");
    for command in commands {
        assert!(
            script.contains(&format!("\n        {command})\n")),
            "{command}: {script}"
        );
    }
}
