//! The addresses of an upstream's name.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a lookup is good for: a system resolver does not say, and each lookup takes a thread. A connection to an address that is
/// no longer the upstream's is refused or times out, and then the name is looked up again at once.
const FRESH: Duration = Duration::from_secs(5);

/// A name's addresses, in the order in which they are to be tried.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    known: RefCell<Option<Known>>,
    /// The address that answered last: the next connection tries it first.
    best: Cell<Option<IpAddr>>,
    /// Requests that come together wait for one lookup.
    lookup: Mutex<()>,
}

#[derive(Debug)]
struct Known {
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Resolver {
    /// The addresses of `host`, each with `port`. Empty if the name has none.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        if let Some(addresses) = self.fresh() {
            return Ok(addresses);
        }
        let _turn = self.lookup.lock().await;
        if let Some(addresses) = self.fresh() {
            return Ok(addresses);
        }
        let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
        *self.known.borrow_mut() = Some(Known {
            addresses: addresses.clone(),
            at: Instant::now(),
        });
        Ok(in_order(&addresses, self.best.get()))
    }

    /// The address `best` has answered, ahead of the others.
    pub(super) fn prefer(&self, best: SocketAddr) {
        self.best.set(Some(best.ip()));
    }

    /// Forgets the addresses: none has responded, so they may have changed.
    pub(super) fn forget(&self) {
        *self.known.borrow_mut() = None;
    }

    fn fresh(&self) -> Option<Vec<SocketAddr>> {
        let known = self.known.borrow();
        let known = known.as_ref().filter(|known| known.at.elapsed() < FRESH)?;
        Some(in_order(&known.addresses, self.best.get()))
    }
}

/// The best first, then one family after the other, beginning with that of the first address, for one of them may be broken as a whole
/// (RFC 8305, section 4).
fn in_order(addresses: &[SocketAddr], best: Option<IpAddr>) -> Vec<SocketAddr> {
    let (best, others): (Vec<_>, Vec<_>) = addresses
        .iter()
        .partition(|address| Some(address.ip()) == best);
    let is_first_family = |address: &&SocketAddr| address.is_ipv4() == addresses[0].is_ipv4();
    let (first, second): (Vec<_>, Vec<_>) = others.iter().partition(is_first_family);
    let mut ordered = best;
    let mut second = second.into_iter();
    for address in first {
        ordered.push(address);
        ordered.extend(second.next());
    }
    ordered.extend(second);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        let ips = texts.iter().map(|text| text.parse::<IpAddr>().unwrap());
        ips.map(|ip| SocketAddr::new(ip, 80)).collect()
    }

    #[test]
    fn families_take_turns_and_the_best_is_first() {
        let all = addresses(&[
            "2001:db8::1",
            "2001:db8::2",
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.3",
        ]);
        let expected = addresses(&[
            "2001:db8::1",
            "192.0.2.1",
            "2001:db8::2",
            "192.0.2.2",
            "192.0.2.3",
        ]);
        assert_eq!(in_order(&all, None), expected);
        let best = "192.0.2.2".parse().ok();
        let expected = addresses(&[
            "192.0.2.2",
            "2001:db8::1",
            "192.0.2.1",
            "2001:db8::2",
            "192.0.2.3",
        ]);
        assert_eq!(in_order(&all, best), expected);
        assert_eq!(
            in_order(&all, "192.0.2.9".parse().ok()),
            in_order(&all, None)
        );
        assert_eq!(in_order(&[], best), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_looked_up_again_when_it_may_have_changed() {
        let resolver = Resolver::default();
        let found = resolver.resolve("localhost", 80).await.unwrap();
        assert!(!found.is_empty());
        let mark = addresses(&["192.0.2.1"]);
        let known = || resolver.known.borrow_mut();
        known().as_mut().unwrap().addresses.clone_from(&mark);
        assert_eq!(resolver.resolve("localhost", 80).await.unwrap(), mark);
        tokio::time::advance(FRESH).await;
        assert_eq!(resolver.resolve("localhost", 80).await.unwrap(), found);
        known().as_mut().unwrap().addresses.clone_from(&mark);
        resolver.forget();
        assert_eq!(resolver.resolve("localhost", 80).await.unwrap(), found);
    }
}
