//! As much DER as it takes to find something in a certificate.

pub(super) const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;

/// A certificate from its issuer on: the issuer, the validity, the subject and more.
pub(super) fn from_issuer(certificate: &[u8]) -> Option<&[u8]> {
    let (_, certificate, _) = element(certificate)?;
    let (_, signed, _) = element(certificate)?;
    let (tag, _, rest) = element(signed)?;
    // The serial number, which a version may come before.
    let rest = if tag == VERSION {
        element(rest)?.2
    } else {
        rest
    };
    let (_, _, rest) = element(rest)?; // the signature's algorithm
    Some(rest)
}

/// The first element: its tag, its content, and what comes after it.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        ..=0x7F => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            let length = digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}
