//! The client's certificate for the upstream, in `Client-Cert` and `Client-Cert-Chain` (RFC 9440).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};

use super::{Asker, Passed};
use crate::client::trusted_peer;

static CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
static CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

/// Forwards the certificate that was verified in the handshake. Without one, only a trusted proxy may name one, since it has taken
/// part in the handshake itself.
pub(super) fn forward(asker: Asker<'_>, passed: &mut Passed) {
    let certificates = asker.client.certificates();
    if certificates.is_empty() && trusted_peer(asker.client.peer(), asker.trusted_proxies).is_ok() {
        return;
    }
    let mut items = certificates.iter().map(|one| item(one));
    let own = items.next().and_then(|own| HeaderValue::try_from(own).ok());
    let chain = items.collect::<Vec<_>>().join(", ");
    let chain = HeaderValue::try_from(chain)
        .ok()
        .filter(|chain| !chain.is_empty());
    passed.replace(&CLIENT_CERT, &own);
    passed.replace(&CLIENT_CERT_CHAIN, &chain);
}

/// A byte sequence of structured fields (RFC 8941, section 3.3.5).
fn item(certificate: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(certificate))
}
