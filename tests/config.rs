//! The configuration file: what it means, and what is said about a wrong one.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

#[path = "config/any_text.rs"]
mod any_text;
#[path = "config/example.rs"]
mod example;
#[path = "config/files.rs"]
mod files;
#[path = "config/meaning.rs"]
mod meaning;
#[path = "config/messages.rs"]
mod messages;
#[path = "config/overrides.rs"]
mod overrides;
#[path = "config/written.rs"]
mod written;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sse_sidecar::config::{
    self, Config, Drain, DrainStreams, Events, Heartbeat, Level, ListenAddress, Log,
    OnUpstreamFailure, Override, Overrides, Policy, Problem, Problems, Scheme, Server, Timeouts,
    UpstreamAddress,
};
use sse_sidecar::tls::PeerName;
use toml::de::DeTable;

const EXAMPLE: &str = include_str!("../config.example.toml");

fn parse(text: &str) -> Result<(Config, Vec<Problem>), Problems> {
    config::parse(text, "config.toml", &Overrides::default())
}

/// A configuration that has nothing wrong with it.
fn config(text: &str) -> Config {
    match parse(text) {
        Ok((config, warnings)) if warnings.is_empty() => config,
        Ok((_, warnings)) => panic!("{warnings:#?}"),
        Err(problems) => panic!("{problems}"),
    }
}

fn overridden(source: &str, value: &str) -> Override {
    Override {
        source: source.to_owned(),
        value: value.to_owned(),
    }
}

/// The example with its route, which is a comment, made a part of it.
fn example_with_route() -> String {
    let (top, route) = EXAMPLE
        .split_once("# [[route]]")
        .expect("a route in the example");
    let top = top.replacen("\n# name = ", "\nname = ", 1); // of the listener, which the route names
    format!("{top}[[route]]{}", route.replace("\n# ", "\n"))
}
