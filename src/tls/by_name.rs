//! Which certificate a client gets: the one for the name it asks for (SNI), else the first.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

/// The certificates of a listener by their names.
#[derive(Debug)]
pub(super) struct ByName {
    first: Arc<CertifiedKey>,
    /// Those of each name: `a.example`, or `*.example`. There may be one for each kind of key.
    named: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl ByName {
    pub(super) fn new(first: CertifiedKey, others: impl IntoIterator<Item = CertifiedKey>) -> Self {
        let first = Arc::new(first);
        let others = others.into_iter().map(Arc::new);
        let mut named = HashMap::<String, Vec<_>>::new();
        for certificate in [first.clone()].into_iter().chain(others) {
            for name in certificate.cert.first().map(names).unwrap_or_default() {
                named.entry(name).or_default().push(certificate.clone());
            }
        }
        Self { first, named }
    }

    /// The certificates for a name: exact ones before wildcards, which match one label (RFC 9525, section 6.3).
    fn of(&self, name: &str) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let exact = self.named.get(&name);
        let wildcard = wildcard.and_then(|wildcard| self.named.get(&wildcard));
        exact.into_iter().chain(wildcard).flatten()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let name = hello.server_name().unwrap_or_default();
        let usable =
            |certificate: &&Arc<CertifiedKey>| certificate.key.choose_scheme(schemes).is_some();
        let found = self.of(name).find(usable).unwrap_or(&self.first);
        Some(found.clone())
    }
}

/// The DNS names in a certificate, in lower case. Subjects are ignored, as clients do.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let parsed = EndEntityCert::try_from(certificate);
    let names = parsed.as_ref().map(|parsed| parsed.valid_dns_names());
    let names = names.into_iter().flatten().map(str::to_ascii_lowercase);
    names.collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey as Generated, generate_simple_self_signed};
    use rustls::pki_types::PrivateKeyDer;

    use super::super::settings::{FileSettings, Identity, ServerTls, provider};
    use super::*;

    fn certificate(names: &[&str]) -> CertifiedKey {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let Generated { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        CertifiedKey::from_der(vec![cert.der().clone()], key, &provider()).unwrap()
    }

    #[test]
    fn a_name_has_its_certificate_and_any_other_the_first() {
        let by_name = ByName::new(
            certificate(&["default.example"]),
            [
                certificate(&["*.b.example", "B.example"]),
                certificate(&["x.b.example"]),
                certificate(&["192.0.2.1"]),
            ],
        );
        for (name, expected) in [
            ("default.example", Some("default.example")),
            ("b.example", Some("*.b.example")),
            ("B.EXAMPLE.", Some("*.b.example")),
            ("y.b.example", Some("*.b.example")),
            ("x.b.example", Some("x.b.example")),
            ("z.y.b.example", None),
            ("example", None),
            ("192.0.2.1", None),
            ("*.b.example.evil", None),
            ("", None),
        ] {
            let found = by_name.of(name).next();
            let first = found.map(|found| names(&found.cert[0]).remove(0));
            assert_eq!(first.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn each_of_them_counts_among_those_that_expire() {
        let identity = |name: &str| Identity {
            certificate: name.into(),
            private_key: name.into(),
        };
        let settings = ServerTls {
            identity: identity("a"),
            others: vec![identity("b"), identity("c")],
            client_ca: None,
        };
        let shown = settings.identities().into_iter();
        let shown: Vec<_> = shown.map(|one| one.certificate.to_str().unwrap()).collect();
        assert_eq!(shown, ["a", "b", "c"]);
    }
}
