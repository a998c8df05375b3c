//! Clients that stop reading while 100 MB are offered to each: memory for each, and what the streams beside them feel.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Cost, Tally, open, quantile, read};
use crate::backend::{Pace, Plan};
use crate::client::Door;
use crate::options::Options;
use crate::{Figures, Result, process};

/// Streams that are read while others are not.
const OTHERS: usize = 100;
/// Bytes offered to a client that does not read.
const OFFERED: usize = 100_000_000;
/// Events of a flood in one write.
const BURST: usize = 100;

pub(super) async fn run(options: &Options) -> Result<Figures> {
    let door = Door::new(options)?;
    let tally = Rc::new(Tally::default());
    let mut others = JoinSet::new();
    let size = options.size;
    for id in 0..OTHERS {
        let pace = Pace::Every(Duration::from_secs_f64(1.0 / options.rate));
        let plan = Plan {
            id,
            pace,
            size,
            burst: 1,
            writes: u64::MAX,
        };
        others.spawn_local(read(open(&door, plan).await?, tally.clone()));
    }
    sleep(Duration::from_millis(500)).await;
    let base = process::memory(&options.pids)?;
    let mut stalled = Vec::new();
    for id in 0..options.streams {
        let writes = (OFFERED / BURST / size) as u64;
        let plan = Plan {
            id,
            pace: Pace::Flood,
            size,
            burst: BURST,
            writes,
        };
        stalled.push(open(&door, plan).await?);
    }
    let mut cost = Cost::measure(options, &tally, &mut others).await?;
    let full = process::memory(&options.pids)?;
    Ok(vec![
        ("stalled_bytes", (full - base) / options.streams as f64),
        ("p50_us", quantile(&mut cost.ages, 0.5)?),
        ("p99_us", quantile(&mut cost.ages, 0.99)?),
    ])
}
