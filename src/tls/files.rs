//! Certificates and keys from PEM files, and their faults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The content of some files at one moment.
#[derive(PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Result<Vec<u8>, String>>);

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file does not hold what it should.
    #[error("`{}` {fault}", .path.display())]
    File {
        /// What it should hold.
        part: Part,
        /// Which one.
        path: PathBuf,
        /// The fault.
        fault: Fault,
    },
    /// Upstreams are to be checked against the system's CA certificates, and it has none.
    #[error("the system has no CA certificates to check the upstream's by")]
    NoSystemRoots,
}

/// What a file should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A certificate, and those between it and a CA's.
    Certificate,
    /// The certificate's private key.
    PrivateKey,
    /// The certificates of CAs that the other side's is checked by.
    Authorities,
}

/// A fault of a file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is not there, or not for us.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It is another kind of file.
    #[error("holds no certificate in PEM form")]
    NoCertificate,
    /// It is another kind of file.
    #[error("holds no private key in PEM form")]
    NoPrivateKey,
    /// Half a file, for example.
    #[error("is broken: {0}")]
    Broken(pem::Error),
    /// PEM around something else.
    #[error("cannot be used: {0}")]
    Unusable(rustls::Error),
    /// It is one of several, of which each client asks for one by its name.
    #[error("holds a certificate without a DNS name, so no client asks for it")]
    NoName,
    /// Two files that do not belong together.
    #[error("does not belong to the certificate")]
    OtherKey,
}

impl Error {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        let Self::File { part, fault, .. } = self else {
            return "install the package `ca-certificates`, or name the upstream's CA in `tls.ca`";
        };
        match (fault, part) {
            (Fault::Unreadable(_), _) => {
                "name a file that the sidecar may read; a relative path starts at the configuration file's folder"
            }
            (Fault::OtherKey, _) => "name the key that the certificate was made for",
            (Fault::Unusable(_), Part::PrivateKey) => {
                "name a key of a supported kind: RSA with 2048 bits or more, P-256, P-384 or Ed25519; P-521 is not"
            }
            (Fault::NoName, _) => "make it the first one, which is for all others, or leave it out",
            (_, Part::PrivateKey) => {
                "name a file with `-----BEGIN PRIVATE KEY-----` in it, without a passphrase"
            }
            (_, Part::Certificate | Part::Authorities) => {
                "name a file with `-----BEGIN CERTIFICATE-----` in it"
            }
        }
    }
}

impl Files {
    /// Reads the current files.
    pub fn read<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let read = |path| fs::read(path).map_err(|error| error.to_string());
        let files = paths.into_iter().map(|path| (path.to_owned(), read(path)));
        Self(files.collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn certificates(
        &self,
        part: Part,
        path: &Path,
    ) -> Result<Vec<CertificateDer<'static>>, Error> {
        let found: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(self.content(part, path)?).collect();
        match found {
            Ok(found) if found.is_empty() => Err(Fault::NoCertificate),
            Ok(found) => Ok(found),
            Err(error) => Err(Fault::Broken(error)),
        }
        .map_err(|fault| fault.of(part, path))
    }

    pub(super) fn private_key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
        let part = Part::PrivateKey;
        PrivateKeyDer::from_pem_slice(self.content(part, path)?).map_err(|error| {
            match error {
                pem::Error::NoItemsFound => Fault::NoPrivateKey,
                error => Fault::Broken(error),
            }
            .of(part, path)
        })
    }

    pub(super) fn authorities(&self, path: &Path) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(Part::Authorities, path)? {
            let added = roots.add(certificate);
            added.map_err(|error| Fault::Unusable(error).of(Part::Authorities, path))?;
        }
        Ok(roots)
    }

    fn content(&self, part: Part, path: &Path) -> Result<&[u8], Error> {
        match self.0.get(path) {
            Some(Ok(content)) => Ok(content),
            Some(Err(error)) => Err(Fault::Unreadable(error.clone()).of(part, path)),
            None => Err(Fault::Unreadable("nobody has".to_owned()).of(part, path)),
        }
    }
}

impl Fault {
    pub(super) fn of(self, part: Part, path: &Path) -> Error {
        Error::File {
            part,
            path: path.to_owned(),
            fault: self,
        }
    }
}

/// The names; the content is secret.
impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.0.keys().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", path.display())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Files({self})")
    }
}
