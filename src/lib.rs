//! `sse-sidecar`: a reverse proxy that makes event streams work in front of any HTTP backend.
//!
//! The modules that a request passes (`docs/life-of-a-request.md` has the whole story):
//!
//! ```text
//! server    accepts a connection and serves it on one thread, for its whole life
//! client    that connection: hyper's side of its socket, and its timeouts
//! proxy     the story of one request, top to bottom
//! upstream  a connection to the backend, the request sent, the head awaited
//! body      bodies: of requests, ordinary responses, event streams
//! files     files of a folder, for routes without an upstream
//! sse       the event stream itself: positions, heartbeats, timeouts, endings; no I/O
//! wire      HTTP/1 as bytes: heads, chunks, lists; no I/O
//! http1     a request on an upstream's socket
//! http2     what both sides need of HTTP/2
//! resume    streams that outlive their clients
//! exchange  the request counted, logged, and ended exactly once, for a [`reason`]
//! ```
//!
//! Beside it: [`config`] (the file), [`tls`] (certificates and keys), [`app`] (assembles everything, starts and stops it), [`reload`] (switches to
//! a new configuration), [`cli`] (the command), [`admin`] (health, metrics and the status page).
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
