//! WebSocket in streams of HTTP/2 (RFC 8441): to the upstream they are what they are over HTTP/1.1, an upgrade (RFC 6455).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use h2::ext::Protocol;
use http::header::{
    CONNECTION, HeaderMap, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Method, Request, StatusCode, response};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::reason::Reason;
use crate::upstream::{Answer, AnswerBody, Error};

/// What an upstream has to answer before a tunnel to it is open.
#[derive(Debug, Clone)]
pub(super) struct Handshake {
    /// The proof that it has read the request as a WebSocket's (RFC 6455, section 4.2.2).
    accept: String,
}

/// What an upstream hashes together with the key (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Makes a request that opens a WebSocket by extended CONNECT an upgrade; `None` for all others.
pub(super) fn translate<B>(request: &mut Request<B>) -> Option<Handshake> {
    let protocol = request.extensions().get::<Protocol>()?;
    if request.method() != Method::CONNECT || protocol.as_str() != "websocket" {
        return None;
    }
    *request.method_mut() = Method::GET;
    let key = BASE64_STANDARD.encode(fastrand::u128(..).to_ne_bytes());
    let accept = BASE64_STANDARD.encode(digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        [&*key, GUID].concat().as_bytes(),
    ));
    let headers = request.headers_mut();
    if let Ok(key) = HeaderValue::try_from(key) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    headers
        .entry(SEC_WEBSOCKET_VERSION)
        .or_insert(HeaderValue::from_static("13"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    Some(Handshake { accept })
}

impl Handshake {
    /// Refuses what would open a tunnel to an upstream that has not agreed to it: to the client every 2xx is an open one.
    pub(super) fn check(&self, answer: &Answer) -> Result<(), Error> {
        let mistake = match &answer.body {
            AnswerBody::Upgraded(_) if self.is_proven(&answer.head.headers) => return Ok(()),
            AnswerBody::Upgraded(_) => "its Sec-WebSocket-Accept is not that of the request",
            _ if answer.head.status.is_success() => "it does not open the WebSocket",
            _ => return Ok(()),
        };
        Err(Error::new(
            Reason::UpstreamInvalidHead,
            Some(mistake.to_owned()),
        ))
    }

    fn is_proven(&self, headers: &HeaderMap) -> bool {
        let accept = headers.get(SEC_WEBSOCKET_ACCEPT);
        accept.is_some_and(|accept| accept.as_bytes().trim_ascii() == self.accept.as_bytes())
    }
}

/// Makes an upstream's 101, freed of hop-by-hop fields, the head of an open tunnel: "a 2XX series status code" (RFC 8441, section 5).
pub(super) fn open(head: &mut response::Parts) {
    head.status = StatusCode::OK;
    head.headers.remove(SEC_WEBSOCKET_ACCEPT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_the_specification() {
        // RFC 6455, section 1.3.
        let accept = BASE64_STANDARD.encode(digest(
            &SHA1_FOR_LEGACY_USE_ONLY,
            ["dGhlIHNhbXBsZSBub25jZQ==", GUID].concat().as_bytes(),
        ));
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn only_websockets_are_translated() {
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        assert!(translate(&mut request).is_none());
        request
            .extensions_mut()
            .insert(Protocol::from_static("connect-udp"));
        assert!(translate(&mut request).is_none());
        assert_eq!(request.method(), Method::CONNECT);
        request
            .extensions_mut()
            .insert(Protocol::from_static("websocket"));
        assert!(translate(&mut request).is_some());
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.headers()[UPGRADE], "websocket");
        assert_eq!(request.headers()[SEC_WEBSOCKET_KEY].len(), 24);
    }
}
