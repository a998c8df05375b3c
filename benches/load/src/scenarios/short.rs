//! Streams that are over soon: connect, a few events at once, end. Over HTTP/2 the connection is open already.

use std::rc::Rc;

use tokio::task::JoinSet;

use super::{Cost, Tally};
use crate::backend::{Pace, Plan};
use crate::client::Door;
use crate::options::Options;
use crate::{Figures, Result};

pub(super) async fn run(options: &Options) -> Result<Figures> {
    let tally = Rc::new(Tally::default());
    let mut clients = JoinSet::new();
    for id in 0..options.streams {
        let door = Door::kept(options)?;
        let burst = options.burst as u64;
        let path = path(id, options);
        let tally = tally.clone();
        clients.spawn_local(async move {
            loop {
                whole(&door, &path, burst).await?;
                tally.count.set(tally.count.get() + 1);
            }
        });
    }
    let cost = Cost::measure(options, &tally, &mut clients).await?;
    Ok(cost.per(cost.count))
}

/// So many one after the other, and no more: to be counted.
pub(super) async fn some(options: &Options) -> Result<Figures> {
    let door = Door::kept(options)?;
    let path = path(0, options);
    for _ in 0..=options.events {
        whole(&door, &path, options.burst as u64).await?;
    }
    Ok(vec![("streams", options.events as f64)])
}

fn path(id: usize, options: &Options) -> String {
    let (size, burst) = (options.size, options.burst);
    let plan = Plan {
        id,
        pace: Pace::Flood,
        size,
        burst,
        writes: 1,
    };
    plan.to_string()
}

async fn whole(door: &Door, path: &str, burst: u64) -> Result<()> {
    let mut response = door.open(path).await?;
    response.until_end().await?;
    if response.events.count != burst {
        return Err(format!("{} of {burst} events", response.events.count).into());
    }
    Ok(())
}
