//! Kinds of work.

mod flood;
mod idle;
mod leave;
mod paced;
mod pages;
mod saturate;
mod short;
mod stall;
mod turns;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::backend::{Backend, Plan};
use crate::client::{Door, Response};
use crate::options::Options;
use crate::{Figures, Result, events, process};

pub async fn run(options: &Options, backend: Backend) -> Result<Figures> {
    match options.scenario.as_str() {
        "backend" => std::future::pending().await,
        "flood" => flood::run(options).await,
        "idle" => idle::run(options).await,
        "leave" => leave::run(options, backend).await,
        "leave-early" => leave::early(options, backend).await,
        "paced" => paced::run(options).await,
        "pages" => pages::run(options).await,
        "some-pages" => pages::some(options).await,
        "saturate" => saturate::run(options, backend).await,
        "short" => short::run(options).await,
        "some-short" => short::some(options).await,
        "stall" => stall::run(options).await,
        "turns" => turns::run(options, backend).await,
        unknown => Err(format!("no scenario is called {unknown}").into()),
    }
}

/// What the clients have seen in the time that counts.
#[derive(Debug, Default)]
struct Tally {
    /// Events, streams or requests.
    count: Cell<u64>,
    /// Of events, in microseconds.
    ages: RefCell<Vec<u64>>,
}

/// The work of a while, and what it cost.
struct Cost {
    count: f64,
    proxy: Duration,
    load: Duration,
    /// Of events, in microseconds.
    ages: Vec<u64>,
}

impl Cost {
    /// Runs `work` for a while, after a warm-up.
    async fn measure(
        options: &Options,
        tally: &Tally,
        work: &mut JoinSet<Result<()>>,
    ) -> Result<Self> {
        let us = [std::process::id()];
        undisturbed(work, options.time.min(Duration::from_secs(1))).await?;
        let before = (process::cpu(&options.pids)?, process::cpu(&us)?);
        tally.count.set(0);
        tally.ages.take();
        undisturbed(work, options.time).await?;
        Ok(Self {
            count: tally.count.get() as f64,
            proxy: process::cpu(&options.pids)? - before.0,
            load: process::cpu(&us)? - before.1,
            ages: tally.ages.take(),
        })
    }

    /// CPU time in microseconds, for each of `parts`.
    fn per(&self, parts: f64) -> Figures {
        vec![
            ("us", self.proxy.as_secs_f64() * 1e6 / parts),
            ("load_us", self.load.as_secs_f64() * 1e6 / parts),
        ]
    }
}

/// Waits; a task of `work` that ends meanwhile has failed.
async fn undisturbed(work: &mut JoinSet<Result<()>>, time: Duration) -> Result<()> {
    tokio::select! {
        () = sleep(time) => Ok(()),
        Some(ended) = work.join_next() => ended?.and(Err("a stream ended early".into())),
    }
}

/// Opens the stream and reads its first event.
async fn open(door: &Door, plan: Plan) -> Result<Response> {
    let mut response = door.open(&plan.to_string()).await?;
    response.until(1).await?;
    Ok(response)
}

/// Reads an endless stream, and notes events and their ages.
async fn read(mut response: Response, tally: Rc<Tally>) -> Result<()> {
    loop {
        let before = response.events.count;
        let note = |bytes: &[u8]| {
            events::ages(bytes, |age| tally.ages.borrow_mut().push(age));
        };
        if response.read(note).await? == 0 {
            return Err("the stream was cut".into());
        }
        let more = response.events.count - before;
        tally.count.set(tally.count.get() + more);
    }
}

/// The value that `share` of `values` do not exceed.
fn quantile(values: &mut [u64], share: f64) -> Result<f64> {
    let at = (values.len() as f64 * share) as usize;
    if at >= values.len() {
        return Err("nothing was measured".into());
    }
    Ok(*values.select_nth_unstable(at).1 as f64)
}
