//! Logins that belong to a connection: NTLM, and Negotiate with it, authenticate a connection, not a request. Such a connection
//! serves its client alone, for as long as the client's own connection lasts, and is never in the pool.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{AUTHORIZATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::client::{Downstream, Login};
use crate::config;
use crate::http1::{Connection, Keeper};
use crate::wire::elements;

/// Keeps a connection for the one client that has logged in on it.
#[derive(Debug)]
pub(super) struct LoginKeeper {
    pub(super) client: Rc<dyn Downstream>,
    pub(super) upstream: Arc<config::Upstream>,
}

impl Keeper for LoginKeeper {
    fn keep(self: Rc<Self>, mut connection: Connection) {
        connection.is_reused = true;
        self.client.keep_login(Login {
            upstream: self.upstream.clone(),
            connection,
        });
    }
}

/// Whether a request carries such a login.
pub(super) fn is_offered(request: &HeaderMap) -> bool {
    [AUTHORIZATION, PROXY_AUTHORIZATION]
        .iter()
        .any(|name| names_one(request, name))
}

/// Whether a response asks for a login.
pub(super) fn is_demanded(response: &HeaderMap) -> bool {
    [WWW_AUTHENTICATE, PROXY_AUTHENTICATE]
        .iter()
        .any(|name| names_one(response, name))
}

/// Whether one of the schemes in this field authenticates a connection. A list's elements are challenges and their parameters (RFC 9110,
/// section 11.6.1): the first word of one is a scheme, or is followed by `=`.
fn names_one(headers: &HeaderMap, name: &HeaderName) -> bool {
    let mut lines = headers.get_all(name).iter().peekable();
    if lines.peek().is_none() {
        return false;
    }
    elements(lines.map(HeaderValue::as_bytes)).any(|element| {
        let end = element
            .iter()
            .position(|&byte| byte == b' ' || byte == b'\t');
        let scheme = &element[..end.unwrap_or(element.len())];
        [&b"ntlm"[..], b"negotiate"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_that_authenticate_a_connection() {
        for (values, is_one) in [
            (&["NTLM"][..], true),
            (&["Negotiate"], true),
            (&["ntlm TlRMTVNTUAAB"], true),
            (&["Basic realm=\"NTLM\"", "NEGOTIATE"], true),
            (&["Basic realm=\"a\", NTLM"], true),
            (&["Negotiate, NTLM"], true),
            (&["Basic realm=\"NTLM x\""], false),
            (&["Bearer ntlm"], false),
            (&["NTLMv9"], false),
            (&["Digest realm=x, negotiate=1"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(value));
            }
            assert_eq!(is_demanded(&headers), is_one, "{values:?}");
            assert!(!is_offered(&headers));
        }
    }
}
