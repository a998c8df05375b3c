//! The event stream that keeps the status page up to date. While nobody looks there is none, and nobody is asked anything.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use http_body_util::Either;
use tokio::time::sleep;

use super::{Admin, Answer, fresh, status};

/// As often as a person can follow.
const PACE: Duration = Duration::from_secs(1);

/// An event with the whole status once a second, for ever.
pub struct Feed {
    admin: Rc<Admin>,
    next: Pin<Box<dyn Future<Output = Bytes>>>,
}

pub(super) fn open(admin: Rc<Admin>) -> Answer {
    let next = event_after(Duration::ZERO, admin.clone());
    let mut response = Response::new(Either::Right(Feed { admin, next }));
    fresh(&mut response, "text/event-stream");
    response
}

fn event_after(pause: Duration, admin: Rc<Admin>) -> Pin<Box<dyn Future<Output = Bytes>>> {
    Box::pin(async move {
        sleep(pause).await;
        format!("data: {}\n\n", status::gather(&admin).await).into()
    })
}

impl Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let event = ready!(self.next.as_mut().poll(cx));
        self.next = event_after(PACE, self.admin.clone());
        Poll::Ready(Some(Ok(Frame::data(event))))
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Feed")
    }
}
