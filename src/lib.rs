//! `sse-sidecar`: a reverse proxy that makes event streams work in front of any HTTP backend.

pub mod body;
pub mod cli;
pub mod config;
pub mod sse;
pub mod wire;
