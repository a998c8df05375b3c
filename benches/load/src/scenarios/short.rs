//! Streams that are over soon: connect, a few events at once, end.

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
        let door = Door::new(options)?;
        let (size, burst) = (options.size, options.burst);
        let plan = Plan {
            id,
            pace: Pace::Flood,
            size,
            burst,
            writes: 1,
        };
        let path = plan.to_string();
        let tally = tally.clone();
        clients.spawn_local(async move {
            loop {
                let mut response = door.open(&path).await?;
                response.until_end().await?;
                if response.events.count != burst as u64 {
                    return Err(format!("{} of {burst} events", response.events.count).into());
                }
                tally.count.set(tally.count.get() + 1);
            }
        });
    }
    let cost = Cost::measure(options, &tally, &mut clients).await?;
    Ok(cost.per(cost.count))
}
