//! TLS that no configuration describes: the doctor's own.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerified;
use rustls::{ClientConfig, Error as TlsError};

use super::files::{Error, Files};
use super::issuer::issuer;
use super::reloading::{Reloading, watch};
use super::settings::{FileSettings, provider, system_roots};
use super::verifier::{Policy, Presented, Verifier};

/// TLS for one connection.
#[derive(Debug)]
pub struct OneOff {
    /// Its configuration.
    pub config: Reloading<ClientConfig>,
    /// The issuer of the server's certificate, once the server has presented it.
    pub issuer: Arc<OnceLock<String>>,
}

/// TLS that offers these protocols. Unless certificates are `verified`, any is accepted. No configuration can ask for that: a proxy
/// that cannot tell its upstream from an impostor is of no use.
pub fn one_off(verified: bool, protocols: &[&[u8]]) -> Result<OneOff, Error> {
    let issuer = Arc::new(OnceLock::new());
    let settings = OneOffSettings {
        verified,
        protocols: protocols.iter().map(|name| name.to_vec()).collect(),
        issuer: issuer.clone(),
    };
    let (config, _) = watch(settings)?;
    Ok(OneOff { config, issuer })
}

#[derive(Debug)]
struct OneOffSettings {
    verified: bool,
    protocols: Vec<Vec<u8>>,
    issuer: Arc<OnceLock<String>>,
}

impl FileSettings for OneOffSettings {
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
            issuer: self.issuer.clone(),
        };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has suites for TLS 1.2 and 1.3")
            .dangerous() // for `-k`; otherwise webpki verifies
            .with_custom_certificate_verifier(Arc::new(Verifier::new(verifier, provider())))
            .with_no_client_auth();
        config.alpn_protocols.clone_from(&self.protocols);
        Ok(config)
    }
}

/// Accepts what webpki accepts, or without it every certificate, and keeps the name of its issuer.
#[derive(Debug)]
struct NotingIssuer {
    webpki: Option<Arc<WebPkiServerVerifier>>,
    issuer: Arc<OnceLock<String>>,
}

impl Policy for NotingIssuer {
    fn verify(&self, presented: &Presented<'_>) -> Result<ServerCertVerified, TlsError> {
        if let Some(name) = issuer(presented.certificate) {
            let _ = self.issuer.set(name); // the first connection's
        }
        match &self.webpki {
            Some(webpki) => presented.verify(webpki),
            None => Ok(ServerCertVerified::assertion()),
        }
    }
}
