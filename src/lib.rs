//! `sse-sidecar`: a reverse proxy that makes event streams work in front of any HTTP backend.
//!
//! The way of a request, and the modules it passes (`docs/life-of-a-request.md` tells it whole):
//!
//! ```text
//! server    accepts a connection and serves it on one thread, for its whole life
//! client    that connection: hyper's side of its socket, and its timeouts
//! proxy     the story of one request, top to bottom
//! upstream  a connection to the backend, the request sent, the head looked at
//! body      what passes: uploads, ordinary responses, event streams
//! files     what a route answers with by itself: files of a folder
//! sse       the event stream itself: positions, heartbeats, clocks, endings; no I/O
//! wire      HTTP/1 as bytes: heads, chunks, lists; no I/O
//! http1     a request on an upstream's socket
//! http2     what both sides need of HTTP/2
//! resume    streams that outlive their clients
//! exchange  the request counted, logged, and ended exactly once, for a [`reason`]
//! ```
//!
//! Beside it: [`config`] (the file), [`tls`] (certificates and keys), [`app`] (puts everything together, starts and stops it), [`reload`] (has another
//! configuration take the place of the one in force), [`cli`] (the command), [`admin`] (health, metrics and the status page).
//!
//! The library is there for the tests and the fuzz targets; it promises no stable interface.

pub mod admin;
pub mod alarm;
pub mod app;
pub mod body;
pub mod cli;
pub mod client;
pub mod config;
pub mod counters;
pub mod doctor;
pub mod exchange;
pub mod files;
pub mod import;
pub mod poll_cache;

pub mod http1;
pub mod http2;
pub mod log;
pub mod metrics;
pub mod output;
pub mod page;
pub mod problem;
pub mod process;
pub mod proxy;
pub mod reason;
pub mod reload;
pub mod resume;
pub mod sending;
pub mod server;
pub mod signal;
pub mod socket;
pub mod sse;
pub mod supervisor;
pub mod tls;
pub mod upstream;
pub mod upstream_stats;
pub mod wire;
