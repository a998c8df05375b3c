//! Backends that are asked how they are, and names of which each address is one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::sleep;

use crate::backends::{Backend, Mode, balanced, in_front_of};
use crate::common::{Sidecar, run};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const HEALTH: &str = "upstream.balance = 'round_robin'\n\
                      upstream.health = { path = '/up', interval = '1s', timeout = '500ms', healthy_after = 2, unhealthy_after = 3 }";

/// How many of so many requests each backend answered.
async fn shares(sidecar: &Sidecar, count: usize) -> HashMap<String, usize> {
    let mut shares = HashMap::new();
    for _ in 0..count {
        let mut client = sidecar.request(GET).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
        let name = String::from_utf8(client.bytes(1).await).unwrap();
        *shares.entry(name).or_default() += 1;
    }
    shares
}

#[test]
fn one_that_says_it_is_not_well_gets_no_requests_until_it_is() {
    for is_http2 in [false, true] {
        run(move || async move {
            let [a, b, c] = if is_http2 {
                Backend::three_with_http2()
            } else {
                Backend::three()
            };
            let sidecar = in_front_of(&[&a, &b, &c], HEALTH).await;
            sleep(Duration::from_millis(500)).await;
            assert_eq!(a.checks(), 1);
            assert_eq!(shares(&sidecar, 30).await.len(), 3);
            b.set_health(503);
            sleep(Duration::from_millis(2_000)).await;
            assert_eq!(shares(&sidecar, 30).await["b"], 10); // two answers are not enough
            sleep(Duration::from_millis(1_000)).await;
            let without = shares(&sidecar, 30).await;
            assert_eq!((without["a"], without["c"], without.len()), (15, 15, 2));
            b.set_health(204);
            sleep(Duration::from_millis(1_000)).await;
            assert_eq!(shares(&sidecar, 30).await.len(), 2);
            sleep(Duration::from_millis(1_000)).await;
            assert_eq!(shares(&sidecar, 30).await["b"], 10);
        });
    }
}

#[test]
fn one_that_hangs_is_unhealthy_and_its_streams_continue() {
    run(|| async {
        let [a, b, _] = Backend::three();
        let sidecar = in_front_of(&[&a, &b], HEALTH).await;
        a.set(Mode::Stream);
        b.set(Mode::Stream);
        let mut clients = [sidecar.get_events().await, sidecar.get_events().await];
        for client in &mut clients {
            client.head().await;
        }
        assert_eq!((a.requests(), b.requests()), (1, 1));
        b.set_health(0);
        sleep(Duration::from_secs(6)).await;
        assert_eq!(shares(&sidecar, 10).await.get("b"), None);
        a.say("data: x\n\n");
        b.say("data: x\n\n");
        for client in &mut clients {
            assert_eq!(client.chunk().await, "data: x\n\n");
        }
        // If none is healthy, all are used.
        a.set_health(500);
        sleep(Duration::from_secs(4)).await;
        assert_eq!(shares(&sidecar, 10).await.len(), 2);
    });
}

#[test]
fn getting_well_ends_an_ejection() {
    run(|| async {
        let [a, b, _] = Backend::three();
        let sidecar = in_front_of(&[&a, &b], HEALTH).await;
        b.stop();
        // Long enough to be out for 32 s.
        for _ in 0..40 {
            shares(&sidecar, 2).await;
            sleep(Duration::from_secs(1)).await;
        }
        b.start();
        sleep(Duration::from_secs(3)).await;
        assert_eq!(shares(&sidecar, 10).await["b"], 5);
    });
}

#[test]
fn each_address_of_a_name_counts_and_they_change() {
    run(|| async {
        let a = Backend::new("a", "127.0.0.1", false);
        let port = a.url.rsplit_once(':').unwrap().1.parse().unwrap();
        let at = |name, ip: [u8; 4]| Backend::at(name, (ip, port).into(), false);
        let (b, c) = (at("b", [127, 0, 0, 2]), at("c", [127, 0, 0, 3]));
        let url = format!("http://backends.invalid:{port}");
        let sidecar = balanced(&format!("upstream.url = '{url}'\n{HEALTH}")).await;
        let resolved = |addresses: &[&str]| {
            let ips = addresses.iter().map(|ip| ip.parse::<IpAddr>().unwrap());
            let upstreams = &sidecar.metrics.upstreams;
            upstreams.at(&url).resolved(ips.collect());
            upstreams.changed();
        };
        resolved(&["127.0.0.1", "127.0.0.2"]);
        let two = shares(&sidecar, 30).await;
        assert_eq!((two["a"], two["b"], two.len()), (15, 15, 2));
        // One dies, another one comes.
        b.stop();
        assert_eq!(shares(&sidecar, 10).await["a"], 10);
        a.set(Mode::Stream);
        let mut stream = sidecar.get_events().await;
        stream.head().await;
        resolved(&["127.0.0.1", "127.0.0.3"]);
        let other = shares(&sidecar, 30).await;
        assert_eq!((other["a"], other["c"], other.len()), (15, 15, 2));
        resolved(&["127.0.0.3", "127.0.0.4"]);
        assert_eq!(shares(&sidecar, 10).await["c"], 10);
        a.say("data: x\n\n");
        assert_eq!(stream.chunk().await, "data: x\n\n");
        // Each is asked how it is.
        sleep(Duration::from_secs(5)).await;
        assert!(c.checks() > 0);
    });
}
