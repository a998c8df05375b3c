//! A client's connection, whichever HTTP it speaks.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::{Handler, ShutdownWatch, Stage, http1, http2};
use crate::alarm::Alarm;
use crate::client::Client;
use crate::metrics::Metrics;

/// Serves `client`, whichever HTTP it speaks, until the connection ends.
///
/// Each phase is boxed: a task is as large as its largest phase, and the longest one, a stream, is not that.
pub async fn serve<H: Handler>(
    client: Rc<Client>,
    handler: Rc<H>,
    shutdown: Rc<ShutdownWatch>,
    metrics: &Metrics,
) {
    let speaks_http2 = Box::pin(speaks_http2(&client, &shutdown));
    match speaks_http2.await {
        Some(true) => {
            // A `Client` in here would take room in every connection.
            let serve = |client| Box::pin(http2::serve(client, handler, shutdown, metrics));
            if let Some(served) = Rc::into_inner(client).map(serve) {
                served.await;
            }
        }
        Some(false) => Box::pin(http1::serve(client, handler, shutdown, metrics)).await,
        None => {}
    }
}

/// Whether the client speaks HTTP/2; `None` if it has not shown before the timeout or the shutdown.
async fn speaks_http2(client: &Client, shutdown: &ShutdownWatch) -> Option<bool> {
    let mut registration = shutdown.register();
    let mut alarm = Alarm::default();
    poll_fn(|cx| {
        if let Poll::Ready(speaks) = client.poll_speaks_http2(cx) {
            return Poll::Ready(speaks.ok());
        }
        registration.update(cx);
        if shutdown.stage() != Stage::Running {
            return Poll::Ready(None);
        }
        match client.deadline() {
            Some((at, _)) => alarm.poll(cx, at).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}
