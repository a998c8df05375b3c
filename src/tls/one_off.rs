//! The TLS of a client that is no part of a configuration: the doctor's own.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme};

use super::files::{Error, Files};
use super::issuer::issuer;
use super::reloading::{Reloading, watch};
use super::settings::{Settings, provider, system_roots};

/// TLS for one connection.
#[derive(Debug)]
pub struct OneOff {
    /// Its configuration.
    pub config: Reloading<ClientConfig>,
    /// Who has issued the server's certificate, once that was shown.
    pub issuer: Arc<OnceLock<String>>,
}

/// TLS with these protocols to choose from. Where certificates are not to be `verified`, any will do: no configuration can say that,
/// since a proxy that takes everybody's answers for its upstream's is none.
pub fn one_off(verified: bool, protocols: &[&[u8]]) -> Result<OneOff, Error> {
    let issuer = Arc::new(OnceLock::new());
    let settings = Wanted {
        verified,
        protocols: protocols.iter().map(|name| name.to_vec()).collect(),
        issuer: issuer.clone(),
    };
    let (config, _) = watch(settings)?;
    Ok(OneOff { config, issuer })
}

#[derive(Debug)]
struct Wanted {
    verified: bool,
    protocols: Vec<Vec<u8>>,
    issuer: Arc<OnceLock<String>>,
}

impl Settings for Wanted {
    type Config = ClientConfig;

    fn paths(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn build(&self, _: &Files) -> Result<ClientConfig, Error> {
        let webpki = if self.verified {
            let roots = system_roots()?.into();
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
            Some(verifier.expect("there are roots, and no revocation lists"))
        } else {
            None
        };
        let verifier = NotingIssuer {
            webpki,
            provider: provider(),
            issuer: self.issuer.clone(),
        };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has suites for TLS 1.2 and 1.3")
            .dangerous() // for `-k`; what is verified is verified by webpki
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols.clone_from(&self.protocols);
        Ok(config)
    }
}

/// Accepts what webpki does; without that every certificate whose key the server has.
#[derive(Debug)]
struct NotingIssuer {
    webpki: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    issuer: Arc<OnceLock<String>>,
}

impl ServerCertVerifier for NotingIssuer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if let Some(name) = issuer(end_entity) {
            let _ = self.issuer.set(name); // the first connection's
        }
        match &self.webpki {
            Some(webpki) => webpki.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
