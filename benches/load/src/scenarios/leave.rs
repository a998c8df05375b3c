//! Clients that leave, in mid-stream or before anything has been answered: how long until the backend knows.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{open, quantile};
use crate::backend::{Backend, Plan, SILENT};
use crate::client::{Door, Response};
use crate::options::Options;
use crate::{Figures, Result};

/// In mid-stream.
pub(super) async fn run(options: &Options, mut backend: Backend) -> Result<Figures> {
    let door = Door::new(options)?;
    let mut delays = Vec::new();
    for id in 0..options.streams {
        let stream = open(&door, Plan::idle(id)).await?;
        delays.push(delay(stream, id, &mut backend).await?);
    }
    quantiles(delays)
}

/// Before the head: the backend says nothing. Over HTTP/1.1, where a response may be waited for later.
pub(super) async fn early(options: &Options, mut backend: Backend) -> Result<Figures> {
    let door = Door::new(options)?;
    let mut delays = Vec::new();
    for id in 0..options.streams {
        let response = door.open(&format!("{SILENT}{id}")).await?;
        delays.push(delay(response, id, &mut backend).await?);
    }
    quantiles(delays)
}

/// Lets the request settle, drops it, and waits until the backend has seen it.
async fn delay(response: Response, id: usize, backend: &mut Backend) -> Result<u64> {
    sleep(Duration::from_millis(3)).await;
    let left = Instant::now();
    drop(response);
    let seen = timeout(Duration::from_secs(2), backend.missed.recv()).await;
    match seen.map_err(|_| "the backend never knew")? {
        Some((missed, at)) if missed == id => Ok((at - left).as_micros() as u64),
        other => Err(format!("{other:?} instead of {id}").into()),
    }
}

fn quantiles(mut delays: Vec<u64>) -> Result<Figures> {
    Ok(vec![
        ("p50_us", quantile(&mut delays, 0.5)?),
        ("p99_us", quantile(&mut delays, 0.99)?),
    ])
}
