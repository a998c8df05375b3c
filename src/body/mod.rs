//! Response bodies on their way from the upstream to the client.

pub mod decode;
