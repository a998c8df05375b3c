//! The documentation, held against the code: the configuration reference and its schema, the table of reasons, and links.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

mod alerts;
mod configuration;
mod examples;
mod links;
mod reasons;
mod reference;
mod schema;
