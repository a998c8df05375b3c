//! Interim responses (1xx) other than 100 and 101: 103 Early Hints, above all.

use http::{HeaderMap, Response, StatusCode, Version};

use super::headers::remove_hop_by_hop;
use crate::client::Downstream;

/// Forwards an upstream's interim response.
///
/// "A proxy MUST forward 1xx responses unless the proxy itself requested the generation of the 1xx response" (RFC 9110, section
/// 15.2), and HTTP/1.0 has none. An unexpected 100 is not for the client: it is about the upstream's connection.
pub(super) fn pass_on(
    status: StatusCode,
    mut headers: HeaderMap,
    version: Version,
    client: &dyn Downstream,
) {
    if status == StatusCode::CONTINUE || version == Version::HTTP_10 {
        return;
    }
    remove_hop_by_hop(&mut headers);
    let mut interim = Response::new(());
    *interim.status_mut() = status;
    *interim.headers_mut() = headers;
    client.inform(interim);
}
