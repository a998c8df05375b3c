//! A request's body, read before the request goes up: where a key is in it, or where it says which requests are the same.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body::Body;
use tokio::time::timeout;

use crate::body::{Broken, Incoming};
use crate::client::Downstream;
use crate::reason::Reason;
use crate::upstream::Error;

/// Reads the body of a `request` that goes nowhere, as far as it is sent in time and is no longer than `most`: a browser looks for an
/// answer only after it has sent all of its body, and the answer would be lost with a connection that is closed before.
pub(super) async fn discard(
    request: &mut Request<Incoming>,
    most: Option<u64>,
    patience: Option<Duration>,
) {
    if request.headers().contains_key(EXPECT) {
        return; // it is not sent
    }
    let mut incoming = std::mem::replace(request.body_mut(), Incoming::Kept(Bytes::new()));
    let mut length = 0;
    while most.is_none_or(|most| length <= most) {
        let next = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx));
        let frame = match patience {
            None => next.await,
            Some(patience) => timeout(patience, next).await.ok().flatten(),
        };
        let Some(Ok(frame)) = frame else {
            return;
        };
        length += frame.data_ref().map_or(0, Bytes::len) as u64;
    }
}

/// Reads the body of `request` if it has no more than `most` bytes, and leaves it in its place. Backends of streams read a whole request
/// before they answer it, so nothing is lost by that.
pub(super) async fn read(
    request: &mut Request<Incoming>,
    most: usize,
    patience: Option<Duration>,
    client: &dyn Downstream,
) -> Result<Option<Bytes>, Error> {
    let stated = request.headers().get(CONTENT_LENGTH);
    let stated = stated.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|length| length > most as u64) {
        return Ok(None);
    }
    if request.body().is_end_stream() {
        return Ok(Some(Bytes::new()));
    }
    if request.headers_mut().remove(EXPECT).is_some() {
        client.go_on();
    }
    let mut incoming = std::mem::replace(request.body_mut(), Incoming::Kept(Bytes::new()));
    let mut begun = BytesMut::new();
    loop {
        let next = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx));
        let frame = match patience {
            None => next.await,
            Some(patience) => match timeout(patience, next).await {
                Ok(frame) => frame,
                Err(_) => return Err(Error::new(Reason::RequestBodyTimeout, None)),
            },
        };
        match frame {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    continue; // trailers of a request that is read whole are of no use to anybody
                };
                begun.extend_from_slice(&data);
            }
            Some(Err(Broken::Failed)) => return Err(Error::new(Reason::RequestBodyFailed, None)),
            Some(Err(_)) => return Err(Error::new(Reason::ClientGone, None)),
            None => {
                let body = begun.freeze();
                *request.body_mut() = Incoming::Kept(body.clone());
                return Ok(Some(body));
            }
        }
        if begun.len() > most {
            let begun = begun.freeze();
            let rest = Box::new(incoming);
            *request.body_mut() = Incoming::Begun { begun, rest };
            return Ok(None);
        }
    }
}
