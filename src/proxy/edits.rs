//! What a route changes in the fields of a head.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::values::Values;
use crate::config::{HeaderEdits, Template};

/// The changes of a route as one request makes them.
#[derive(Debug)]
pub(super) struct Edits {
    remove: Vec<HeaderName>,
    /// `None` takes the field out.
    set: Vec<(HeaderName, Option<HeaderValue>)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl Edits {
    /// `edits` with the `values` of a request; `None` if there is nothing to be done.
    pub(super) fn of(edits: &HeaderEdits, values: &Values<'_>) -> Option<Self> {
        if edits.is_empty() {
            return None;
        }
        let value = |(name, template): &(HeaderName, Template)| {
            let text = values.render(template);
            let value = HeaderValue::from_bytes(&text).ok();
            (name.clone(), value.filter(|value| !value.is_empty()))
        };
        let added = edits.add.iter().map(value);
        Some(Self {
            remove: edits.remove.clone(),
            set: edits.set.iter().map(value).collect(),
            add: added
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        })
    }

    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            match value {
                Some(value) => headers.insert(name, value.clone()),
                None => headers.remove(name),
            };
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}
