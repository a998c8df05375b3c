//! Which precompressed form of a file a client takes.

use http::HeaderValue;
use http::header::{ACCEPT_ENCODING, HeaderMap};

use super::weighted::weighted;

/// The compression of a file beside the requested one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileCoding {
    Brotli,
    Zstd,
    Gzip,
}

impl FileCoding {
    /// The smallest first, as build tools make them.
    const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// Its name in `Content-Encoding`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The extension of the file's name.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zst",
            Self::Gzip => "gz",
        }
    }

    /// The value of `Content-Encoding`.
    pub(super) fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

/// The codings that the client would rather have than none, the best first. What has the same weight is in the order of size.
///
/// A client that excludes the file as it is (`identity;q=0`) gets it all the same where there is no other: that is allowed, and of more
/// use than a 406 (RFC 9110, section 12.5.3).
pub(super) fn acceptable(headers: &HeaderMap) -> Vec<FileCoding> {
    let weight = |names: &[&str]| {
        let mut listed = weighted(headers, &ACCEPT_ENCODING);
        let named = listed.find(|(coding, _)| names.iter().any(|n| coding.eq_ignore_ascii_case(n)));
        named.map(|(_, weight)| weight)
    };
    if !headers.contains_key(ACCEPT_ENCODING) {
        return Vec::new();
    }
    let any = weight(&["*"]).unwrap_or(0.0);
    let identity = weight(&["identity"]).unwrap_or(0.0);
    let weighed = FileCoding::ALL.map(|coding| {
        let named = match coding {
            FileCoding::Gzip => weight(&["gzip", "x-gzip"]),
            FileCoding::Brotli | FileCoding::Zstd => weight(&[coding.name()]),
        };
        (coding, named.unwrap_or(any))
    });
    let mut wanted: Vec<_> = weighed
        .into_iter()
        .filter(|&(_, weight)| weight > 0.0 && weight >= identity)
        .collect();
    wanted.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    wanted.into_iter().map(|(coding, _)| coding).collect()
}

#[cfg(test)]
mod tests {
    use super::FileCoding::{Brotli, Gzip, Zstd};
    use super::*;

    #[test]
    fn codings_are_chosen_by_weight_then_by_size() {
        for (accepted, expected) in [
            (None, &[][..]),
            (Some(""), &[]),
            (Some("identity"), &[]),
            (Some("gzip"), &[Gzip]),
            (Some("X-GZip"), &[Gzip]),
            (Some("gzip, deflate, br, zstd"), &[Brotli, Zstd, Gzip]),
            (Some("br;q=0.1, gzip;q=0.9"), &[Gzip, Brotli]),
            (Some("br;q=0, gzip"), &[Gzip]),
            (Some("gzip;q=0.5, identity"), &[]),
            (Some("gzip;q=0.5, br, identity;q=0.7"), &[Brotli]),
            (Some("gzip, identity"), &[Gzip]),
            (Some("*"), &[Brotli, Zstd, Gzip]),
            (Some("*;q=0"), &[]),
            (Some("br;q=0, *;q=0.3"), &[Zstd, Gzip]),
            (Some("identity;q=0, *;q=0"), &[]),
            (Some("br;q=2, gzip"), &[Gzip]),
        ] {
            let headers: HeaderMap = accepted
                .map(|value| (ACCEPT_ENCODING, HeaderValue::from_static(value)))
                .into_iter()
                .collect();
            assert_eq!(acceptable(&headers), expected, "{accepted:?}");
        }
    }
}
