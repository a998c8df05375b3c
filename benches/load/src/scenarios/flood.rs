//! Streams whose events are sent as fast as they are taken.

use std::rc::Rc;

use tokio::task::JoinSet;

use super::{Cost, Tally, open, read};
use crate::backend::{Pace, Plan};
use crate::client::Door;
use crate::options::Options;
use crate::{Figures, Result};

pub(super) async fn run(options: &Options) -> Result<Figures> {
    let door = Door::new(options)?;
    let tally = Rc::new(Tally::default());
    let mut streams = JoinSet::new();
    for id in 0..options.streams {
        let (size, burst) = (options.size, options.burst);
        let plan = Plan {
            id,
            pace: Pace::Flood,
            size,
            burst,
            writes: u64::MAX,
        };
        streams.spawn_local(read(open(&door, plan).await?, tally.clone()));
    }
    let cost = Cost::measure(options, &tally, &mut streams).await?;
    let megabytes = cost.count * options.size as f64 / 1e6;
    Ok(vec![(
        "ms_per_mb",
        cost.proxy.as_secs_f64() * 1e3 / megabytes,
    )])
}
