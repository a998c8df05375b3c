//! The TLS settings, and the rustls configurations that they mean.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig};

use super::by_name::{self, ByName};
use super::files::{Error, Fault, Files, Part};
use super::named::NamedCertificates;
use super::verifier::Verifier;
use super::{CLIENT_PROTOCOLS, SERVER_PROTOCOLS};

/// Settings that name files.
pub trait FileSettings {
    /// The configuration that they mean.
    type Config;

    /// The files.
    fn paths(&self) -> Vec<&Path>;

    /// The certificates among them that are shown to the other side.
    fn identities(&self) -> Vec<&Identity> {
        Vec::new()
    }

    /// What they mean with these files.
    fn build(&self, files: &Files) -> Result<Self::Config, Error>;
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The certificate, followed by those between it and a CA's.
    pub certificate: PathBuf,
    /// Its private key.
    pub private_key: PathBuf,
}

/// The TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// The certificate for clients that ask for no name, or for an unknown one.
    pub identity: Identity,
    /// What those are shown who ask for a name in one of these.
    pub others: Vec<Identity>,
    /// The CAs one of which must have issued each client's certificate; `None` requests none.
    pub client_ca: Option<PathBuf>,
}

/// The TLS of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientTls {
    /// The CAs of which the upstream has to show a certificate; `None` are those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate for the upstream, if it asks for one.
    pub identity: Option<Identity>,
    /// Whose certificate the upstream has to show.
    pub server_name: PeerName,
}

/// The name that an upstream's certificate must have, and that is sent as SNI.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PeerName {
    /// Always this one's.
    Fixed(ServerName<'static>),
    /// That of the host which a request names.
    FromHost,
}

impl FileSettings for ServerTls {
    type Config = ServerConfig;

    fn paths(&self) -> Vec<&Path> {
        let identities = [&self.identity].into_iter().chain(&self.others);
        identities
            .flat_map(Identity::paths)
            .chain(self.client_ca.as_deref())
            .collect()
    }

    fn identities(&self) -> Vec<&Identity> {
        [&self.identity].into_iter().chain(&self.others).collect()
    }

    fn build(&self, files: &Files) -> Result<ServerConfig, Error> {
        let Self {
            identity,
            others,
            client_ca,
        } = self;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has suites for TLS 1.2 and 1.3");
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(files.authorities(path)?);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
                builder.with_client_cert_verifier(
                    verifier.expect("there are roots, and no revocation lists"),
                )
            }
        };
        let first = identity.certified(files)?;
        let others = others.iter().map(|other| {
            let certified = other.certified(files)?;
            match certified.cert.first().map(by_name::names) {
                Some(names) if !names.is_empty() => Ok(certified),
                _ => Err(Fault::NoName.of(Part::Certificate, &other.certificate)),
            }
        });
        let others: Vec<_> = others.collect::<Result<_, _>>()?;
        let mut config = builder.with_cert_resolver(Arc::new(ByName::new(first, others)));
        config.alpn_protocols = SERVER_PROTOCOLS.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

impl FileSettings for ClientTls {
    type Config = ClientConfig;

    fn paths(&self) -> Vec<&Path> {
        let identity = self.identity.iter().flat_map(Identity::paths);
        identity.chain(self.ca.as_deref()).collect()
    }

    fn identities(&self) -> Vec<&Identity> {
        self.identity.iter().collect()
    }

    fn build(&self, files: &Files) -> Result<ClientConfig, Error> {
        let Self {
            ca,
            identity,
            server_name: _,
        } = self;
        let (roots, named) = match ca {
            Some(path) => (
                files.authorities(path)?,
                files.certificates(Part::Authorities, path)?,
            ),
            None => (system_roots()?, Vec::new()),
        };
        let webpki = WebPkiServerVerifier::builder_with_provider(roots.into(), provider())
            .build()
            .expect("there are roots, and no revocation lists");
        let verifier = Verifier::new(NamedCertificates { webpki, named }, provider());
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has suites for TLS 1.2 and 1.3")
            .dangerous() // accepts little more than webpki does
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.read(files)?;
                let built = builder.with_client_auth_cert(chain, key);
                built.map_err(|error| identity.fault(error))?
            }
        };
        config.alpn_protocols = CLIENT_PROTOCOLS.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

impl Identity {
    fn paths(&self) -> [&Path; 2] {
        [&self.certificate, &self.private_key]
    }

    fn read(
        &self,
        files: &Files,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
        let chain = files.certificates(Part::Certificate, &self.certificate)?;
        Ok((chain, files.private_key(&self.private_key)?))
    }

    /// Both, made ready to be shown.
    fn certified(&self, files: &Files) -> Result<CertifiedKey, Error> {
        let (chain, key) = self.read(files)?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| self.fault(error))
    }

    /// The fault that rustls finds in the pair.
    fn fault(&self, error: rustls::Error) -> Error {
        match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                Fault::OtherKey.of(Part::PrivateKey, &self.private_key)
            }
            rustls::Error::InvalidCertificate(_) => {
                Fault::Unusable(error).of(Part::Certificate, &self.certificate)
            }
            error => Fault::Unusable(error).of(Part::PrivateKey, &self.private_key),
        }
    }
}

/// A few of many being unreadable is usual; none is not.
pub(super) fn system_roots() -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Error::NoSystemRoots);
    }
    Ok(roots)
}

/// Named each time, so that it never depends on other users of rustls in the process.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
