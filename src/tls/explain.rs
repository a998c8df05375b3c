//! Why a TLS handshake failed, for a person. rustls names what its code met; what to look at is another matter.

use std::io;

use rustls::{
    AlertDescription, CertificateError, Error as TlsError, InvalidMessage, PeerIncompatible,
    PeerMisbehaved,
};

/// What ring can verify.
const UNSUPPORTED_KEY: &str = "its certificate is signed with, or has, a kind of key that the sidecar does not support: RSA, P-256, P-384 and Ed25519 are, P-521 is not";

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
        Some(TlsError::AlertReceived(AlertDescription::HandshakeFailure)) => {
            "it refused TLS (HandshakeFailure): it has no cipher suite, key exchange group or signature in common with the sidecar"
        }
        Some(TlsError::AlertReceived(AlertDescription::ProtocolVersion)) => {
            "it refused TLS (ProtocolVersion): it speaks neither TLS 1.2 nor 1.3"
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
        other if is_unsupported_key(other) => UNSUPPORTED_KEY,
        _ => return format!("its certificate is not accepted: {error}"),
    };
    text.to_owned()
}

/// Why TLS with a client failed.
pub fn explain_client(error: &io::Error) -> String {
    use PeerIncompatible as Incompatible;

    let text = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it closed the connection during the TLS handshake"
        }
        None => return error.to_string(),
        Some(TlsError::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "it does not speak TLS"
        }
        Some(TlsError::PeerIncompatible(incompatible)) => match incompatible {
            Incompatible::NoCipherSuitesInCommon => {
                "no cipher suite in common: it offers none of TLS 1.3, and none of TLS 1.2 with ECDHE and AES-GCM or ChaCha20 for the kind of key in `tls.private_key`"
            }
            Incompatible::NoKxGroupsInCommon
            | Incompatible::NamedGroupsExtensionRequired
            | Incompatible::KeyShareExtensionRequired => {
                "no key exchange in common: it offers ECDHE with none of X25519, P-256 and P-384"
            }
            Incompatible::NoSignatureSchemesInCommon => {
                "no signature in common: it accepts none that the key in `tls.private_key` can make"
            }
            Incompatible::Tls12NotOffered
            | Incompatible::Tls12NotOfferedOrEnabled
            | Incompatible::SupportedVersionsExtensionRequired
            | Incompatible::SignatureAlgorithmsExtensionRequired // which TLS 1.1 and older do not have
            | Incompatible::ServerDoesNotSupportTls12Or13 => {
                "no TLS version in common: it offers neither TLS 1.2 nor 1.3"
            }
            other => return format!("it is not compatible: {other:?}"),
        },
        Some(TlsError::NoApplicationProtocol) => {
            "no protocol in common: it offers (ALPN) neither h2 nor HTTP/1"
        }
        Some(TlsError::NoCertificatesPresented) => {
            "it shows no certificate, and `tls.client_ca` asks for one (with an RSA, P-256, P-384 or Ed25519 key)"
        }
        Some(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate is of an issuer that is not in `tls.client_ca`"
        }
        Some(TlsError::InvalidCertificate(CertificateError::Other(error))) => {
            return format!("its certificate is not accepted: {}", error.0);
        }
        Some(TlsError::InvalidCertificate(error)) => return explain_certificate(error),
        Some(TlsError::PeerMisbehaved(
            PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme,
        )) => UNSUPPORTED_KEY,
        Some(TlsError::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate),
        )) => return format!("it does not accept the certificate in `tls.certificate`: {alert:?}"),
        Some(TlsError::AlertReceived(alert)) => return format!("it refused TLS: {alert:?}"),
        Some(other) => return other.to_string(),
    };
    text.to_owned()
}

fn is_unsupported_key(error: &CertificateError) -> bool {
    matches!(
        error,
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
    )
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::sync::Arc;

    use rustls::crypto::{CryptoProvider, ring};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{
        ClientConfig, ClientConnection, NamedGroup, RootCertStore, ServerConfig, ServerConnection,
        version,
    };

    use super::*;

    /// A certificate that is its own CA.
    fn pair() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        (made.cert.der().clone(), key)
    }

    fn server(provider: CryptoProvider) -> ServerConfig {
        let (certificate, key) = pair();
        ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap()
    }

    /// What the server reports about a client with this provider, which trusts no CA.
    fn said(
        server: ServerConfig,
        provider: CryptoProvider,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> String {
        let client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(client.into(), name).unwrap();
        let mut server = ServerConnection::new(server.into()).unwrap();
        for _ in 0..10 {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut &*bytes).unwrap();
            if let Err(error) = server.process_new_packets() {
                return explain_client(&io::Error::new(ErrorKind::InvalidData, error));
            }
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            let mut rest = &*bytes;
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                let _ = client.process_new_packets(); // it sends an alert
            }
        }
        panic!("nothing fails")
    }

    fn without(edit: impl FnOnce(&mut CryptoProvider)) -> CryptoProvider {
        let mut provider = ring::default_provider();
        edit(&mut provider);
        provider
    }

    #[test]
    fn clients_with_nothing_in_common() {
        let tls12: &[_] = &[&version::TLS12];
        let rsa_only = without(|provider| {
            let is_rsa = |suite: &rustls::SupportedCipherSuite| {
                format!("{:?}", suite.suite()).contains("ECDHE_RSA")
            };
            provider.cipher_suites.retain(is_rsa);
        });
        let said_of_rsa = said(server(ring::default_provider()), rsa_only, tls12);
        assert!(
            said_of_rsa.starts_with("no cipher suite in common"),
            "{said_of_rsa}"
        );

        let narrow = server(without(|provider| provider.kx_groups.truncate(1)));
        let others = without(|provider| {
            provider
                .kx_groups
                .retain(|group| group.name() != NamedGroup::X25519);
        });
        let said_of_groups = said(narrow, others, rustls::ALL_VERSIONS);
        assert!(
            said_of_groups.starts_with("no key exchange in common"),
            "{said_of_groups}"
        );
    }

    #[test]
    fn a_client_that_trusts_nobody() {
        let said_of_ca = said(
            server(ring::default_provider()),
            ring::default_provider(),
            rustls::ALL_VERSIONS,
        );
        let expected = "it does not accept the certificate in `tls.certificate`: UnknownCA";
        assert_eq!(said_of_ca, expected);
    }

    #[test]
    fn what_cannot_be_staged_here() {
        let of = |error: TlsError| explain_client(&io::Error::new(ErrorKind::InvalidData, error));
        for (error, says) in [
            (
                TlsError::NoCertificatesPresented,
                "`tls.client_ca` asks for one",
            ),
            (
                TlsError::InvalidCertificate(CertificateError::UnknownIssuer),
                "an issuer that is not in `tls.client_ca`",
            ),
            (
                TlsError::InvalidCertificate(CertificateError::Expired),
                "its certificate has expired",
            ),
            (
                TlsError::InvalidCertificate(
                    CertificateError::UnsupportedSignatureAlgorithmContext {
                        signature_algorithm_id: Vec::new(),
                        supported_algorithms: Vec::new(),
                    },
                ),
                "P-521 is not",
            ),
            (
                PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into(),
                "P-521 is not",
            ),
            (
                PeerIncompatible::Tls12NotOfferedOrEnabled.into(),
                "neither TLS 1.2 nor 1.3",
            ),
            (
                PeerIncompatible::NoSignatureSchemesInCommon.into(),
                "`tls.private_key`",
            ),
            (
                InvalidMessage::InvalidContentType.into(),
                "does not speak TLS",
            ),
            (
                TlsError::AlertReceived(AlertDescription::InternalError),
                "it refused TLS: InternalError",
            ),
        ] {
            let said = of(error);
            assert!(said.contains(says), "{said}");
        }
        let eof = explain_client(&ErrorKind::UnexpectedEof.into());
        assert!(eof.contains("closed the connection"), "{eof}");
    }
}
