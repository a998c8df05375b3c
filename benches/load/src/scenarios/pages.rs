//! Ordinary requests for 1 KiB, one after the other on each connection.

use std::rc::Rc;

use memchr::memmem;
use tokio::task::JoinSet;

use super::{Cost, Tally};
use crate::backend::{PAGE, PAGE_SIZE};
use crate::client::{Door, Response};
use crate::options::Options;
use crate::{Figures, Result};

pub(super) async fn run(options: &Options) -> Result<Figures> {
    let door = Door::new(options)?;
    let tally = Rc::new(Tally::default());
    let mut clients = JoinSet::new();
    for _ in 0..options.streams {
        let mut response = door.open(PAGE).await?;
        whole(&mut response).await?;
        let tally = tally.clone();
        clients.spawn_local(async move {
            loop {
                response.ask(PAGE).await?;
                whole(&mut response).await?;
                tally.count.set(tally.count.get() + 1);
            }
        });
    }
    let cost = Cost::measure(options, &tally, &mut clients).await?;
    Ok(cost.per(cost.count))
}

/// So many on one connection, and no more: to be counted.
pub(super) async fn some(options: &Options) -> Result<Figures> {
    let mut response = Door::new(options)?.open(PAGE).await?;
    whole(&mut response).await?;
    for _ in 0..options.events {
        response.ask(PAGE).await?;
        whole(&mut response).await?;
    }
    Ok(vec![("pages", options.events as f64)])
}

/// Reads one page. Its head is short: all proxies send it in one piece.
async fn whole(response: &mut Response) -> Result<()> {
    let mut body = None;
    while body.unwrap_or(0) < PAGE_SIZE {
        let look = |bytes: &[u8]| match body {
            Some(length) => body = Some(length + bytes.len()),
            None => body = memmem::find(bytes, b"\r\n\r\n").map(|at| bytes.len() - at - 4),
        };
        if response.read(look).await? == 0 {
            return Err("the page was cut".into());
        }
    }
    Ok(())
}
