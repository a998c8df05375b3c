//! The issuer of a certificate.

use super::der::{SEQUENCE, element, from_issuer};

const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0A];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The issuer's organization and name; `None` if the certificate has neither, or is invalid.
pub(super) fn issuer(certificate: &[u8]) -> Option<String> {
    let (tag, mut name, _) = element(from_issuer(certificate)?)?;
    if tag != SEQUENCE {
        return None;
    }
    let (mut organization, mut common) = (None, None);
    while let Some((_, set, rest)) = element(name) {
        name = rest;
        let (_, attribute, _) = element(set)?;
        let (_, kind, value) = element(attribute)?;
        let (_, value, _) = element(value)?;
        let value = || Some(String::from_utf8_lossy(value).into_owned());
        match kind {
            ORGANIZATION => organization = value(),
            COMMON_NAME => common = value(),
            _ => {}
        }
    }
    match (organization, common) {
        (Some(organization), Some(common)) => Some(format!("{organization}, {common}")),
        (organization, common) => organization.or(common),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn issuers_are_named() {
        let both = certificate(&[
            (DnType::CountryName, "US"),
            (DnType::OrganizationName, "Let's Encrypt"),
            (DnType::CommonName, "R11"),
        ]);
        assert_eq!(issuer(&both).unwrap(), "Let's Encrypt, R11");
        let one = certificate(&[(DnType::CommonName, "me")]);
        assert_eq!(issuer(&one).unwrap(), "me");
        assert_eq!(issuer(&certificate(&[])), None);
    }

    #[test]
    fn no_byte_and_no_cut_panics() {
        let whole = certificate(&[(DnType::CommonName, "me")]);
        for length in 0..whole.len() {
            let _ = issuer(&whole[..length]);
            let mut changed = whole.clone();
            changed[length] ^= 0xFF;
            let _ = issuer(&changed);
        }
    }
}
