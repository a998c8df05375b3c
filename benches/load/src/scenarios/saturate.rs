//! As many events as the proxy can pass on one by one: each stream's next is sent when the one before has arrived.

use std::rc::Rc;

use tokio::task::JoinSet;

use super::{Cost, Tally, open};
use crate::backend::{Backend, Pace, Plan};
use crate::client::Door;
use crate::options::Options;
use crate::{Figures, Result};

pub(super) async fn run(options: &Options, backend: Backend) -> Result<Figures> {
    let door = Door::new(options)?;
    let tally = Rc::new(Tally::default());
    let mut streams = JoinSet::new();
    for id in 0..options.streams {
        let (size, burst) = (options.size, options.burst);
        let plan = Plan {
            id,
            pace: Pace::Turns,
            size,
            burst,
            writes: u64::MAX,
        };
        let mut stream = open(&door, plan).await?;
        let (turns, tally) = (backend.turns.clone(), tally.clone());
        streams.spawn_local(async move {
            loop {
                turns[id].add_permits(1);
                stream.until(stream.events.count + burst as u64).await?;
                tally.count.set(tally.count.get() + 1);
            }
        });
    }
    let cost = Cost::measure(options, &tally, &mut streams).await?;
    let seconds = options.time.as_secs_f64();
    let mut figures = cost.per(cost.count);
    figures.push(("per_second", cost.count / seconds));
    figures.push(("busy", cost.proxy.as_secs_f64() / seconds));
    Ok(figures)
}
