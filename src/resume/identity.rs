//! Who may have a stream: whoever shows what its first request has shown.

use std::fmt;

use http::HeaderMap;
use http::header::COOKIE;
use ring::hmac;
use ring::rand::SystemRandom;

use crate::config::Credential;

/// The process's own key: what tags say is of use nowhere else.
pub(super) struct Secret(hmac::Key);

/// What something says, without saying it: equal for equal things, and nothing else can be told of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tag([u8; 16]);

/// What a request has shown on its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    tag: Tag,
    /// It has shown something.
    pub is_known: bool,
}

impl Secret {
    pub(super) fn new() -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        key.ok().map(Self)
    }

    /// The tag of these parts, in this order.
    pub(super) fn tag<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut tag = [0; 16];
        tag.copy_from_slice(&context.sign().as_ref()[..16]);
        Tag(tag)
    }

    /// What a request with these `headers` shows on `route`.
    pub(super) fn identity(
        &self,
        route: &str,
        credentials: &[Credential],
        headers: &HeaderMap,
    ) -> Identity {
        let mut shown: Vec<Vec<u8>> = vec![route.as_bytes().to_vec()];
        let mut is_known = false;
        for credential in credentials {
            let value = match credential {
                // HTTP/2 may split the cookies over several fields.
                Credential::Header(name) if *name == COOKIE => joined(headers, b"; "),
                Credential::Header(name) => {
                    let values = headers.get_all(name).iter();
                    let values: Vec<_> = values.map(http::HeaderValue::as_bytes).collect();
                    (!values.is_empty()).then(|| values.join(&b", "[..]))
                }
                Credential::Cookie(name) => cookie(headers, name),
            };
            is_known |= value.is_some();
            // What is not there differs from what is empty.
            shown.push(value.map_or_else(Vec::new, |value| [b"=", &*value].concat()));
        }
        Identity {
            tag: self.tag(shown.iter().map(Vec::as_slice)),
            is_known,
        }
    }
}

fn joined(headers: &HeaderMap, separator: &[u8]) -> Option<Vec<u8>> {
    let values = headers.get_all(COOKIE).iter();
    let values: Vec<_> = values.map(http::HeaderValue::as_bytes).collect();
    (!values.is_empty()).then(|| values.join(separator))
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let all = joined(headers, b"; ")?;
    let mut pairs = all.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let value = pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    Some(value.to_vec())
}

impl Identity {
    pub(super) fn tag(&self) -> &Tag {
        &self.tag
    }
}

impl Tag {
    pub(super) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// In constant time, so that nobody finds out how much of it is right.
impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        pairs.fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
    }
}

impl Eq for Tag {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        headers
    }

    #[test]
    fn who_shows_the_same_is_the_same() {
        let secret = Secret::new().unwrap();
        let whole = crate::config::Resume::default().identity;
        let one = [Credential::Cookie("sid".to_owned())];
        let of = |route, credentials: &[Credential], fields: &[_]| {
            secret.identity(route, credentials, &headers(fields))
        };
        let nobody = of("a", &whole, &[("accept", "x")]);
        assert!(!nobody.is_known);
        assert_eq!(nobody, of("a", &whole, &[]));
        assert_ne!(nobody, of("b", &whole, &[]), "another route");
        let cookie = of("a", &whole, &[("cookie", "sid=1; x=2")]);
        assert!(cookie.is_known);
        assert_ne!(cookie, nobody);
        let split = [("cookie", "sid=1"), ("cookie", "x=2")];
        assert_eq!(cookie, of("a", &whole, &split), "over HTTP/2");
        assert_ne!(cookie, of("a", &whole, &[("cookie", "sid=1; x=3")]));
        assert_ne!(cookie, of("a", &whole, &[("authorization", "sid=1; x=2")]));
        assert_ne!(nobody, of("a", &whole, &[("cookie", "")]), "an empty one");

        let sid = of("a", &one, &[("cookie", "sid=1; x=2")]);
        assert_eq!(sid, of("a", &one, &[("cookie", "y=3;sid=1")]));
        assert_ne!(sid, of("a", &one, &[("cookie", "xsid=1")]));
        assert_ne!(sid, of("a", &one, &[("cookie", "sid=12")]));
        let other = Secret::new().unwrap();
        assert_ne!(
            sid,
            other.identity("a", &one, &headers(&[("cookie", "sid=1")]))
        );
    }
}
