//! Streams that say nothing after their first event, opened one after the other: memory while they are open, and after.

use std::time::Duration;

use tokio::time::sleep;

use super::open;
use crate::backend::Plan;
use crate::client::Door;
use crate::options::Options;
use crate::{Figures, Result, process};

pub(super) async fn run(options: &Options) -> Result<Figures> {
    let door = Door::new(options)?;
    let base = process::memory(&options.pids)?;
    let mut streams = Vec::new();
    for id in 0..options.streams {
        streams.push(open(&door, Plan::idle(id)).await?);
    }
    sleep(Duration::from_millis(500)).await;
    let full = process::memory(&options.pids)?;
    drop((streams, door));
    sleep(options.time).await;
    let kept = process::memory(&options.pids)?;
    Ok(vec![
        ("stream_bytes", (full - base) / options.streams as f64),
        ("kept_bytes", kept - base),
    ])
}
