//! What the command line says.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::Result;

/// How the clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// HTTP/1.1 in the clear.
    Plain,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS.
    Http2,
}

/// The scenario and its size.
#[derive(Debug)]
pub struct Options {
    pub scenario: String,
    /// Where the clients connect: a proxy, or the backend itself.
    pub to: SocketAddr,
    pub backend: SocketAddr,
    pub via: Via,
    /// The certificate that the proxy shows.
    pub certificate: Option<PathBuf>,
    /// The processes that are measured.
    pub pids: Vec<u32>,
    pub streams: usize,
    /// Events per second of each stream.
    pub rate: f64,
    pub time: Duration,
    /// Events of each stream, where a scenario says how many.
    pub events: u64,
    /// Bytes of an event.
    pub size: usize,
    /// Events in one write of the backend.
    pub burst: usize,
}

impl Options {
    pub fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut options = Self {
            scenario: args.next().ok_or("which scenario?")?,
            to: nowhere,
            backend: nowhere,
            via: Via::Plain,
            certificate: None,
            pids: Vec::new(),
            streams: 1,
            rate: 1.0,
            time: Duration::from_secs(5),
            events: 0,
            size: 120,
            burst: 1,
        };
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} of what?"))?;
            match name.as_str() {
                "--to" => options.to = value.parse()?,
                "--backend" => options.backend = value.parse()?,
                "--via" => {
                    options.via = match value.as_str() {
                        "plain" => Via::Plain,
                        "tls" => Via::Tls,
                        "h2" => Via::Http2,
                        _ => return Err("--via plain, tls or h2".into()),
                    }
                }
                "--certificate" => options.certificate = Some(value.into()),
                "--pids" => {
                    let pids: std::result::Result<_, _> =
                        value.split(',').map(str::parse).collect();
                    options.pids = pids?;
                }
                "--streams" => options.streams = value.parse()?,
                "--rate" => options.rate = value.parse()?,
                "--seconds" => options.time = Duration::from_secs_f64(value.parse()?),
                "--events" => options.events = value.parse()?,
                "--size" => options.size = value.parse()?,
                "--burst" => options.burst = value.parse()?,
                _ => return Err(format!("{name}?").into()),
            }
        }
        Ok(options)
    }
}
