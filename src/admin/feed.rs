//! The event stream that keeps the status page up to date. While nobody looks there is none, and nobody is asked anything.
//!
//! All who look share one snapshot a second: the workers, whose time it takes, are asked no more often for ten viewers than for one.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use http_body_util::Either;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::{Admin, Answer, fresh, status};

/// As often as a person can follow.
const PACE: Duration = Duration::from_secs(1);

/// The last snapshot, while the page is open anywhere.
#[derive(Debug, Default)]
pub(super) struct Shared(RefCell<Weak<Mutex<Option<Snapshot>>>>);

/// The whole status as an event, and when it was gathered.
#[derive(Debug, Clone)]
struct Snapshot {
    at: Instant,
    event: Bytes,
}

/// An event with the whole status once a second, for ever.
pub struct Feed {
    admin: Rc<Admin>,
    /// That of all feeds. The one who finds it too old gathers the next, while the others wait for the lock.
    last: Rc<Mutex<Option<Snapshot>>>,
    next: Next,
}

type Next = Pin<Box<dyn Future<Output = Snapshot>>>;

pub(super) fn open(admin: Rc<Admin>) -> Answer {
    let mut response = Response::new(Either::Right(Feed::new(admin)));
    fresh(&mut response, "text/event-stream");
    response
}

impl Shared {
    /// The one in use, or a new one. It goes with the last feed.
    fn last(&self) -> Rc<Mutex<Option<Snapshot>>> {
        let mut shared = self.0.borrow_mut();
        shared.upgrade().unwrap_or_else(|| {
            let last = Rc::default();
            *shared = Rc::downgrade(&last);
            last
        })
    }
}

impl Feed {
    fn new(admin: Rc<Admin>) -> Self {
        let last = admin.viewed.last();
        Self {
            next: Box::pin(next(admin.clone(), last.clone(), None)),
            admin,
            last,
        }
    }
}

/// The snapshot after the one of `seen`, which is a second older; for a new viewer the last one.
async fn next(
    admin: Rc<Admin>,
    last: Rc<Mutex<Option<Snapshot>>>,
    seen: Option<Instant>,
) -> Snapshot {
    if let Some(seen) = seen {
        sleep_until(seen + PACE).await;
    }
    let mut last = last.lock().await;
    let is_new = |snapshot: &&Snapshot| snapshot.at.elapsed() < PACE && Some(snapshot.at) != seen;
    if let Some(snapshot) = last.as_ref().filter(is_new) {
        return snapshot.clone();
    }
    let at = Instant::now();
    let event = format!("data: {}\n\n", status::gather(&admin).await).into();
    last.insert(Snapshot { at, event }).clone()
}

impl Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Snapshot { at, event } = ready!(self.next.as_mut().poll(cx));
        self.next = Box::pin(next(self.admin.clone(), self.last.clone(), Some(at)));
        Poll::Ready(Some(Ok(Frame::data(event))))
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Feed")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use http_body_util::BodyExt;

    use super::*;
    use crate::config::{self, Overrides};
    use crate::metrics::Metrics;
    use crate::server::Workers;
    use crate::server::testing::Silent;

    /// The next event, and when its data was gathered: the paused clock of a test runs ahead while the workers, which have a clock
    /// of their own, respond.
    async fn event(feed: &mut Feed) -> (Bytes, Instant) {
        let frame = feed.frame().await.unwrap().unwrap();
        let at = feed.last.lock().await.as_ref().unwrap().at;
        (frame.into_data().unwrap(), at)
    }

    #[tokio::test(start_paused = true)]
    async fn all_viewers_share_one_snapshot_a_second() {
        let metrics = Arc::new(Metrics::new());
        let workers = Workers::start(1, &metrics, || Rc::new(Silent)).unwrap();
        let text = "upstream.url = 'http://127.0.0.1:1'";
        let (config, _) = config::parse(text, "", &Overrides::default()).unwrap();
        let ready = Arc::new(AtomicBool::new(true));
        let streams = crate::resume::Streams::new(&metrics).unwrap();
        let admin = Admin::new(&config, Arc::new(workers), metrics, streams, ready);
        let admin = Rc::new(admin);
        let (mut first, mut second) = (Feed::new(admin.clone()), Feed::new(admin.clone()));
        let mut seen = Vec::new();
        for _ in 0..3 {
            let ((one, at), (other, _)) = tokio::join!(event(&mut first), event(&mut second));
            assert_eq!(one.as_ptr(), other.as_ptr(), "one event for both");
            assert!(one.starts_with(b"data: {"));
            seen.push(at);
        }
        let gaps = seen.windows(2).map(|pair| pair[1] - pair[0]);
        let gaps: Vec<_> = gaps.collect();
        assert!(gaps.iter().all(|gap| *gap >= PACE), "{gaps:?}");

        // A viewer that joins in between gets the last one at once, then the following ones.
        let start = Instant::now();
        let mut third = Feed::new(admin.clone());
        let (late, _) = event(&mut third).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        drop(late);
        let ((one, _), (other, _)) = tokio::join!(event(&mut first), event(&mut third));
        assert_eq!(one.as_ptr(), other.as_ptr());

        drop((first, second, third));
        assert!(admin.viewed.0.borrow().upgrade().is_none());
    }
}
