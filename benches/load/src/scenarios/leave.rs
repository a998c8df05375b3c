//! Clients that leave in mid-stream: how long until the backend knows.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{open, quantile};
use crate::backend::{Backend, Plan};
use crate::client::Door;
use crate::options::Options;
use crate::{Figures, Result};

pub(super) async fn run(options: &Options, mut backend: Backend) -> Result<Figures> {
    let door = Door::new(options)?;
    let mut delays = Vec::new();
    for id in 0..options.streams {
        let stream = open(&door, Plan::idle(id)).await?;
        sleep(Duration::from_millis(3)).await;
        let left = Instant::now();
        drop(stream);
        let seen = timeout(Duration::from_secs(2), backend.missed.recv()).await;
        match seen.map_err(|_| "the backend never knew")? {
            Some((missed, at)) if missed == id => delays.push((at - left).as_micros() as u64),
            other => return Err(format!("{other:?} instead of {id}").into()),
        }
    }
    Ok(vec![
        ("p50_us", quantile(&mut delays, 0.5)?),
        ("p99_us", quantile(&mut delays, 0.99)?),
    ])
}
