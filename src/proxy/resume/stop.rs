//! The address at which a page says that it wants no more of a stream, also while it goes away: `navigator.sendBeacon` can say nothing
//! but a body.

use http::{Method, Request, Response, StatusCode};

use super::body;
use crate::body::{Incoming, ResponseBody};
use crate::client::Downstream;
use crate::resume::{Cursor, Streams};
use crate::sse::EndReason;

/// Takes a cursor.
pub(in crate::proxy) const STOP_PATH: &str = "/.well-known/sse-sidecar/stop";

/// How long the cursor may be under way.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Stops the stream that the body of `request` names, if it is its client's. Whether it was is nobody's business.
pub(in crate::proxy) async fn stop_by_cursor(
    streams: &Streams,
    mut request: Request<Incoming>,
    client: &dyn Downstream,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Own(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    if *request.method() != Method::POST {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        let allow = http::HeaderValue::from_static("POST");
        response.headers_mut().insert(http::header::ALLOW, allow);
        return response;
    }
    let read = body::read(&mut request, Cursor::LONGEST, Some(PATIENCE), client).await;
    let cursor = read.ok().flatten();
    let cursor = cursor.and_then(|cursor| Cursor::parse(cursor.trim_ascii()));
    if let Some(cursor) = cursor
        && let Some(stream) = streams.find_as_shown(&cursor.token, request.headers())
    {
        stream.stop(EndReason::Stopped);
    }
    response
}
