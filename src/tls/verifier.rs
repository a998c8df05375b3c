//! What every verifier of server certificates has in common: signatures.

use std::fmt::Debug;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

/// Decides whether a server's certificate is accepted.
pub(super) trait Policy: Debug + Send + Sync {
    /// Accepts `presented`, or returns an error.
    fn verify(&self, presented: &Presented<'_>) -> Result<ServerCertVerified, Error>;
}

/// What a server has presented.
pub(super) struct Presented<'a> {
    pub(super) certificate: &'a CertificateDer<'a>,
    intermediates: &'a [CertificateDer<'a>],
    pub(super) server_name: &'a ServerName<'a>,
    ocsp_response: &'a [u8],
    now: UnixTime,
}

impl Presented<'_> {
    /// Verifies it as webpki does.
    pub(super) fn verify(
        &self,
        webpki: &WebPkiServerVerifier,
    ) -> Result<ServerCertVerified, Error> {
        webpki.verify_server_cert(
            self.certificate,
            self.intermediates,
            self.server_name,
            self.ocsp_response,
            self.now,
        )
    }
}

/// Accepts the certificates that its policy does, from servers that have their keys.
#[derive(Debug)]
pub(super) struct Verifier<P> {
    policy: P,
    provider: Arc<CryptoProvider>,
}

impl<P: Policy> Verifier<P> {
    pub(super) fn new(policy: P, provider: Arc<CryptoProvider>) -> Self {
        Self { policy, provider }
    }
}

impl<P: Policy> ServerCertVerifier for Verifier<P> {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.policy.verify(&Presented {
            certificate,
            intermediates,
            server_name,
            ocsp_response,
            now,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
