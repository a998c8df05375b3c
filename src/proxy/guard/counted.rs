//! What is counted for each client, and how clients are told apart.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::{fmt, time::Duration};

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue};

use super::Refusal;
use super::rates::Rates;
use super::streams::{StreamSlot, Streams};
use crate::client::ClientAddress;
use crate::config::{LimitBy, Limits};
use crate::reason::Reason;

/// The counts of the routes that share their limits.
pub(super) struct Counted {
    /// The secret hash of clients: nobody outside can find two that collide.
    keys: RandomState,
    rates: Rates,
    streams: Arc<Streams>,
}

/// A stream that may exceed its client's limit: the response shows whether it is a stream.
#[derive(Debug)]
pub(in crate::proxy) struct StreamLimit {
    counted: Arc<Counted>,
    client: u64,
    most: u32,
}

/// `Retry-After` of a client with too many streams: when one of them ends is unknown.
const WAIT: Duration = Duration::from_secs(5);

/// Who counts as one.
#[derive(Hash)]
enum Who<'a> {
    Field(&'a [u8]),
    Address(IpAddr),
    /// One IPv6 client has a whole network (RFC 6177).
    Network(u64),
    Unknown,
}

impl Counted {
    pub(super) fn new() -> Self {
        Self {
            keys: RandomState::new(),
            rates: Rates::new(),
            streams: Arc::new(Streams::new()),
        }
    }

    /// Counts a request, and returns the client's other limits.
    pub(super) fn check(
        self: &Arc<Self>,
        limits: &Limits,
        address: ClientAddress,
        headers: &HeaderMap,
    ) -> Result<Option<StreamLimit>, Refusal> {
        let client = self.keys.hash_one(who(&limits.by, address, headers));
        if let Some(rate) = &limits.requests_per_client
            && let Err(wait) = self.rates.take(client, rate)
        {
            return Err(too_many(Reason::TooManyRequests, wait));
        }
        Ok(limits.streams_per_client.map(|most| StreamLimit {
            counted: self.clone(),
            client,
            most,
        }))
    }
}

impl StreamLimit {
    /// It is a stream: it is counted from now on, or one too many.
    pub(in crate::proxy) fn take(self) -> Result<StreamSlot, Refusal> {
        let slot = self.counted.streams.take(self.client, self.most);
        slot.ok_or_else(|| too_many(Reason::TooManyStreams, WAIT))
    }
}

/// Refuses for now. Clients that were rejected together do not come back together.
fn too_many(reason: Reason, wait: Duration) -> Refusal {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let seconds = seconds + fastrand::u64(0..=seconds.max(1));
    Refusal::new(reason).with(RETRY_AFTER, HeaderValue::from(seconds))
}

fn who<'a>(by: &LimitBy, address: ClientAddress, headers: &'a HeaderMap) -> Who<'a> {
    if let LimitBy::Header(name) = by
        && let Some(value) = headers.get(name)
    {
        return Who::Field(value.as_bytes());
    }
    match address.ip() {
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments().map(u64::from);
            Who::Network(a << 48 | b << 32 | c << 16 | d)
        }
        Some(ip) => Who::Address(ip),
        None => Who::Unknown,
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_counts_as_one() {
        let keys = RandomState::new();
        let header = LimitBy::Header("x-api-key".parse().unwrap());
        let of = |by: &LimitBy, ip: &str, key: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(key) = key {
                headers.insert("x-api-key", HeaderValue::from_static(key));
            }
            let ip = ip.parse().ok().map(|ip: IpAddr| (ip, 1).into());
            keys.hash_one(who(by, ClientAddress::of(ip), &headers))
        };
        let client = |ip| of(&LimitBy::Client, ip, Some("k"));
        assert_eq!(client("192.0.2.1"), client("::ffff:192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_ne!(client("unknown"), client("0.0.0.0"));
        let with = |key| of(&header, "192.0.2.1", key);
        assert_eq!(with(Some("k")), of(&header, "192.0.2.2", Some("k")));
        assert_ne!(with(Some("k")), with(Some("l")));
        assert_eq!(
            with(None),
            client("192.0.2.1"),
            "without the field it is the address"
        );
    }
}
