//! Upstreams that are their own CA.
//!
//! `openssl req -x509` makes a certificate that is both a CA's and a server's, and most self-signed ones are like it. RFC 5280 has no
//! path that ends in such a certificate, and webpki accepts none; OpenSSL, and so curl and nginx, do where that very certificate is
//! configured as trusted. So does this.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerified;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};

use super::verifier::{Policy, Presented};

/// Accepts what webpki accepts, and the certificates that are configured themselves.
#[derive(Debug)]
pub(super) struct NamedCertificates {
    pub(super) webpki: Arc<WebPkiServerVerifier>,
    pub(super) named: Vec<CertificateDer<'static>>,
}

impl Policy for NamedCertificates {
    fn verify(&self, presented: &Presented<'_>) -> Result<ServerCertVerified, Error> {
        let Presented {
            certificate,
            server_name,
            ..
        } = presented;
        match presented.verify(&self.webpki) {
            // `CaUsedAsEndEntity`, which rustls has no name for; an expired one fails before that.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.named.iter().any(|named| named == *certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(*certificate)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }
}
