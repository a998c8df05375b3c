//! TLS: certificates and keys from files to the configurations of rustls, which follow the files when these change.

mod files;
mod named;
mod reloading;
mod settings;

use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage};

pub use self::files::{Error, Fault, Files, Part};
pub use self::reloading::{ClientConfigs, Reloading, Watcher, watch, watch_all};
pub use self::settings::{ClientTls, Identity, ServerTls, Settings};
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

/// Why TLS with an upstream failed, for a person.
pub fn explain(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let text = match inner {
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it closed the connection during the TLS handshake"
        }
        Some(TlsError::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "it does not answer in TLS: is it an `http://` upstream?"
        }
        Some(TlsError::InvalidCertificate(error)) => return explain_certificate(error),
        Some(TlsError::AlertReceived(AlertDescription::CertificateRequired)) => {
            "it asks for a client certificate: name one in `tls.certificate` and `tls.private_key`"
        }
        Some(TlsError::AlertReceived(alert)) => return format!("it refused TLS: {alert:?}"),
        Some(other) => return other.to_string(),
        None => return error.to_string(),
    };
    text.to_owned()
}

fn explain_certificate(error: &CertificateError) -> String {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        NotValidYetContext, UnknownIssuer,
    };
    let text = match error {
        Expired | ExpiredContext { .. } => "its certificate has expired",
        NotValidYet | NotValidYetContext { .. } => {
            "its certificate is not valid yet: is the clock right?"
        }
        UnknownIssuer => "its certificate is of an unknown issuer: name its CA in `tls.ca`",
        NotValidForName | NotValidForNameContext { .. } => {
            return format!("{error}: name the right one in `tls.server_name`");
        }
        CertificateError::Other(error) => {
            return format!(
                "its certificate is not accepted ({}): if it signs itself, name it in `tls.ca`",
                error.0
            );
        }
        _ => return format!("its certificate is not accepted: {error}"),
    };
    text.to_owned()
}
