//! The streams' events one by one, each sent when the one before has arrived: the proxy does the same in each run.

use super::open;
use crate::backend::{Backend, Pace, Plan};
use crate::client::Door;
use crate::options::Options;
use crate::{Figures, Result};

pub(super) async fn run(options: &Options, backend: Backend) -> Result<Figures> {
    let door = Door::new(options)?;
    let mut streams = Vec::new();
    for id in 0..options.streams {
        let (size, burst) = (options.size, options.burst);
        let writes = options.events + 1;
        let plan = Plan {
            id,
            pace: Pace::Turns,
            size,
            burst,
            writes,
        };
        streams.push(open(&door, plan).await?);
    }
    for turn in 0..options.events {
        for (id, stream) in streams.iter_mut().enumerate() {
            backend.turns[id].add_permits(1);
            stream.until((turn + 2) * options.burst as u64).await?;
        }
    }
    for stream in &mut streams {
        stream.until_end().await?;
    }
    let events = options.events * (options.streams * options.burst) as u64;
    Ok(vec![("events", events as f64)])
}
