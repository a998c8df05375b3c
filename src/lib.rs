//! `sse-sidecar`: a reverse proxy that makes event streams work in front of any HTTP backend.

pub mod admin;
pub mod alarm;
pub mod app;
pub mod body;
pub mod cli;
pub mod client;
pub mod config;
pub mod exchange;
pub mod log;
pub mod metrics;
pub mod problem;
pub mod proxy;
pub mod reason;
pub mod server;
pub mod signal;
pub mod socket;
pub mod sse;
pub mod upstream;
pub mod wire;
