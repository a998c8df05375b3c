//! A client's connection, whichever HTTP it speaks.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::{Handler, Lobby, Stage, http1, http2};
use crate::alarm::Alarm;
use crate::client::Client;
use crate::metrics::Metrics;

/// Serves `client`, whichever HTTP it speaks, until one side is done.
pub async fn serve<H: Handler>(
    client: Client,
    handler: Rc<H>,
    lobby: Rc<Lobby>,
    metrics: &Metrics,
) {
    match speaks_http2(&client, &lobby).await {
        Some(true) => http2::serve(client, handler, lobby, metrics).await,
        Some(false) => http1::serve(Rc::new(client), handler, lobby, metrics).await,
        None => {}
    }
}

/// Whether the client speaks HTTP/2; `None` if it has not said before its clock ran out or the shutdown began.
async fn speaks_http2(client: &Client, lobby: &Lobby) -> Option<bool> {
    let mut place = lobby.place();
    let mut alarm = Alarm::default();
    poll_fn(|cx| {
        if let Poll::Ready(speaks) = client.poll_speaks_http2(cx) {
            return Poll::Ready(speaks.ok());
        }
        place.take(cx);
        if lobby.stage() >= Stage::Draining {
            return Poll::Ready(None);
        }
        match client.deadline() {
            Some((at, _)) => alarm.poll(cx, at).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}
