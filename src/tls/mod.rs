//! TLS: certificates and keys from files to the configurations of rustls, which follow the files when these change.

mod by_name;
mod der;
mod explain;
mod files;
mod issuer;
mod named;
mod one_off;
mod reloading;
mod settings;
mod validity;
mod verifier;

use std::io;

use rustls::Error as TlsError;

pub use self::explain::{explain, explain_client};
pub use self::files::{Error, Fault, Files, Part};
pub use self::one_off::{OneOff, one_off};
pub use self::reloading::{ClientConfigs, Reloading, Watcher, watch, watch_all};
pub use self::settings::{ClientTls, FileSettings, Identity, PeerName, ServerTls};
pub use self::validity::{Certificate, Standing, Validity, certificates, now};
pub use rustls::pki_types::ServerName;
pub use rustls::{ClientConfig, ServerConfig};

/// The protocols that clients of a listener may choose from, the best first.
pub const SERVER_PROTOCOLS: &[&[u8]] = &[H2, b"http/1.1", b"http/1.0"];
/// The protocols that an upstream may choose from.
pub const CLIENT_PROTOCOLS: &[&[u8]] = &[H2, b"http/1.1"];

/// HTTP/2 over TLS, as RFC 9113, section 3.1, names it.
pub const H2: &[u8] = b"h2";

/// Whether TLS itself failed, and not the connection below it.
pub fn is_tls_error(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<TlsError>)
}
