//! `Authorization: Basic` (RFC 7617): a name and a password. The field goes up as it came, as nginx lets it, so that a backend may see who
//! it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};

use super::Refusal;
use super::passwords::{Busy, Passwords};
use super::users::UserList;
use crate::reason::Reason;

/// The challenge to the client.
const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Basic realm=\"restricted\", charset=\"UTF-8\"");

/// Admits requests of `users`.
pub(super) async fn check(
    headers: &HeaderMap,
    users: &UserList,
    passwords: &Passwords,
) -> Result<(), Refusal> {
    let unauthorized = || Refusal::new(Reason::Unauthorized).with(WWW_AUTHENTICATE, CHALLENGE);
    let (name, password) = credentials(headers).ok_or_else(unauthorized)?;
    match passwords.verify(users, &name, password).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(unauthorized()),
        Err(Busy) => Err(Refusal::new(Reason::AuthenticationBusy)),
    }
}

/// The name and the password in the only `Authorization` field; of several, it is unknown which the backend reads.
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let field = fields.next().filter(|_| fields.next().is_none())?;
    let (scheme, token) = field.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut decoded = STANDARD.decode(token.trim()).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let password = decoded.split_off(colon + 1);
    decoded.truncate(colon);
    Some((String::from_utf8(decoded).ok()?, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read() {
        for (fields, expected) in [
            (&["Basic YW5uOnNlY3JldA=="][..], Some(("ann", "secret"))),
            (&["basic  YW5uOnNlY3JldA=="], Some(("ann", "secret"))),
            (&["Basic YW5uOmE6Yg=="], Some(("ann", "a:b"))),
            (&["Basic YW5uOg=="], Some(("ann", ""))),
            (&[], None),
            (&["Basic"], None),
            (&["Basic "], None),
            (&["Basic YW5u"], None),
            (&["Basic !"], None),
            (&["Bearer YW5uOnNlY3JldA=="], None),
            (&["Basic YW5uOnNlY3JldA==", "Bearer x"], None),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(AUTHORIZATION, HeaderValue::from_static(field));
            }
            let expected =
                expected.map(|(name, word): (&str, &str)| (name.to_owned(), word.into()));
            assert_eq!(credentials(&headers), expected, "{fields:?}");
        }
    }
}
