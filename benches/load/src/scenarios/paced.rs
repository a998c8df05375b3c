//! Streams with so many events a second: CPU for each, and how old they are when they arrive.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Cost, Tally, open, quantile, read};
use crate::backend::{Pace, Plan};
use crate::client::Door;
use crate::options::Options;
use crate::{Figures, Result};

pub(super) async fn run(options: &Options) -> Result<Figures> {
    let door = Door::new(options)?;
    let tally = Rc::new(Tally::default());
    let mut streams = JoinSet::new();
    for id in 0..options.streams {
        let pace = Pace::Every(Duration::from_secs_f64(1.0 / options.rate));
        let (size, burst) = (options.size, options.burst);
        let plan = Plan {
            id,
            pace,
            size,
            burst,
            writes: u64::MAX,
        };
        streams.spawn_local(read(open(&door, plan).await?, tally.clone()));
    }
    let mut cost = Cost::measure(options, &tally, &mut streams).await?;
    let due = options.streams as f64 * options.rate * options.time.as_secs_f64();
    if cost.count < 0.9 * due {
        return Err(format!("only {} of {due} events arrived in time", cost.count).into());
    }
    let mut figures = cost.per(cost.count);
    figures.push(("p50_us", quantile(&mut cost.ages, 0.5)?));
    figures.push(("p99_us", quantile(&mut cost.ages, 0.99)?));
    Ok(figures)
}
