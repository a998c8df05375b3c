//! What every test ends with: its clients are gone, and so is everything that was done for them. Once a sidecar is gone too, nothing
//! at all is left of it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use sse_sidecar::config::{Config, UpstreamAddress};
use sse_sidecar::exchange::snapshots;
use sse_sidecar::proxy::Proxy;
use sse_sidecar::reload::InForce;
use sse_sidecar::server::Workers;
use tokio::time::{Instant, sleep};

/// How long, on the test's clock, an end may take to reach the other side.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between the first two looks.
const INTERVAL: Duration = Duration::from_millis(10);

/// What is known of a sidecar of this thread's test.
struct Started {
    /// By which its sockets are known.
    ports: BTreeSet<End>,
    proxy: Weak<Proxy>,
    /// It accepts for as long as this is held, together with what it uses.
    running: (Rc<Workers>, InForce),
}

/// A port of a socket of the sidecar's.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Its own: where clients connect.
    Local(u16),
    /// Its upstream's.
    Remote(u16),
}

thread_local! {
    static STARTED: RefCell<Vec<Started>> = RefCell::default();
}

/// A test has started a sidecar.
pub(crate) fn watch(
    config: &Config,
    address: SocketAddr,
    workers: Rc<Workers>,
    in_force: InForce,
    proxy: &Rc<Proxy>,
) {
    let upstreams = config.upstreams().filter_map(|upstream| {
        let UpstreamAddress::Tcp { port, .. } = upstream.address else {
            return None;
        };
        Some(End::Remote(port))
    });
    let started = Started {
        ports: upstreams.chain([End::Local(address.port())]).collect(),
        proxy: Rc::downgrade(proxy),
        running: (workers, in_force),
    };
    STARTED.with_borrow_mut(|all| all.push(started));
}

/// Fails if anything is left.
pub(crate) async fn none() {
    eventually("a request is left after its client", || snapshots(0).1 == 0).await;
    let started = STARTED.take();
    let connections = || -> usize {
        let each = started
            .iter()
            .map(|sidecar| sidecar.running.0.connections());
        each.sum()
    };
    eventually("a connection is left after its client", || {
        connections() == 0
    })
    .await;
    let mut ports = BTreeSet::new();
    let mut proxies = Vec::new();
    for sidecar in started {
        ports.extend(sidecar.ports);
        proxies.push(sidecar.proxy);
        drop(sidecar.running);
    }
    let is_gone = |proxy: &Weak<Proxy>| proxy.strong_count() == 0;
    eventually("something still uses a sidecar that is gone", || {
        proxies.iter().all(is_gone)
    })
    .await;
    eventually("a socket is open after the sidecar", || {
        !sockets().any(|end| ports.contains(&end))
    })
    .await;
}

async fn eventually(otherwise: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut interval = INTERVAL;
    while !is_so() {
        assert!(Instant::now() < deadline, "{otherwise}");
        sleep(interval).await;
        interval *= 2; // the kernel's table is long where many tests run, and takes real time to read
    }
}

/// The ends of all connections that have a descriptor (`proc_pid_net(5)`). Tests run in parallel, so ports tell them apart.
fn sockets() -> impl Iterator<Item = End> {
    const TIME_WAIT: &str = "06";
    const LISTEN: &str = "0A";
    const NO_INODE: &str = "0";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |hex: &str| u16::from_str_radix(hex, 16).unwrap();
    let mut ends = Vec::new();
    for line in table.lines().skip(1) {
        let (_, columns) = line.split_once(": ").unwrap();
        if [TIME_WAIT, LISTEN].contains(&&columns[28..30]) {
            continue; // the most, by far
        }
        if columns.split_whitespace().nth(8) != Some(NO_INODE) {
            ends.push(End::Local(port(&columns[9..13])));
            ends.push(End::Remote(port(&columns[23..27])));
        }
    }
    ends.into_iter()
}

/// What stays, in a test of its own, is found.
mod found {
    use super::*;
    use crate::common::{Sidecar, backend_that_says, run};

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    fn keep_for_ever(what: impl Sized + 'static) {
        tokio::task::spawn_local(async move {
            sleep(Duration::from_secs(100_000)).await;
            drop(what);
        });
    }

    #[test]
    #[should_panic(expected = "a request is left")]
    fn a_request() {
        run(|| async {
            let sidecar = Sidecar::start(backend_that_says("").await, "").await;
            keep_for_ever(sidecar.get_events().await);
            sleep(INTERVAL).await;
        });
    }

    #[test]
    #[should_panic(expected = "a connection is left")]
    fn a_connection() {
        run(|| async {
            let sidecar = Sidecar::start(backend_that_says(OK).await, "").await;
            let mut client = sidecar.get_events().await;
            client.until("ok").await;
            keep_for_ever(client);
        });
    }

    /// Of the kernel's table it is all the same who has the descriptor.
    #[test]
    #[should_panic(expected = "a socket is open")]
    fn an_upstreams_socket() {
        run(|| async {
            let backend = backend_that_says(OK).await;
            let _sidecar = Sidecar::start(backend, "").await;
            keep_for_ever(tokio::net::TcpStream::connect(backend).await.unwrap());
        });
    }

    #[test]
    #[should_panic(expected = "something still uses a sidecar")]
    fn a_proxy() {
        run(|| async {
            let _sidecar = Sidecar::start(backend_that_says(OK).await, "").await;
            let proxy = STARTED.with_borrow(|all| all[0].proxy.upgrade());
            keep_for_ever(proxy);
        });
    }
}
