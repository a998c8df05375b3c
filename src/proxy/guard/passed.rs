//! A request that has passed its guard.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::authorize::is_spelling_of;
use super::counted::StreamLimit;
use crate::proxy::headers::found;

/// What follows from the checks.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Passed {
    /// The stream may exceed the client's limit.
    pub(in crate::proxy) stream_limit: Option<StreamLimit>,
    /// Fields that only the sidecar may set, each with all of its values.
    fields: Vec<(HeaderName, Vec<HeaderValue>)>,
}

impl Passed {
    /// The upstream gets these values of a field, and none that the client has sent.
    pub(super) fn replace<'a>(
        &mut self,
        name: &HeaderName,
        values: impl IntoIterator<Item = &'a HeaderValue>,
    ) {
        let values = values.into_iter().cloned().collect();
        self.fields.push((name.clone(), values));
    }

    /// Adds the fields. To be called after everything that removes fields: a client's `Connection: X-User` must not remove these.
    pub(in crate::proxy) fn tell(self, headers: &mut HeaderMap) {
        for (name, values) in self.fields {
            for other in found(headers, |other| is_spelling_of(other, name.as_str())) {
                headers.remove(other);
            }
            for value in values {
                headers.append(&name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_the_clients_is_left() {
        let mut headers = HeaderMap::new();
        for name in ["x-user", "x_user", "x-users", "y-user"] {
            headers.append(name, HeaderValue::from_static("client"));
        }
        let mut passed = Passed::default();
        let ann = HeaderValue::from_static("ann");
        passed.replace(&HeaderName::from_static("x-user"), [&ann]);
        passed.replace(&HeaderName::from_static("y-user"), []);
        passed.tell(&mut headers);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        left.sort_unstable();
        assert_eq!(left, [("x-user", "ann"), ("x-users", "client")]);
    }
}
