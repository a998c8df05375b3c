//! Tunnels over TLS, where one side says that it is done with `close_notify`, with or without a FIN.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use crate::common::{Closed, Sidecar, moment, run};
use crate::tls::{Setup, TlsPeer, say_goodbye, tls_backend, url};

const WEBSOCKET: &str =
    "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

/// How a side ends its direction.
#[derive(Debug, Clone, Copy)]
enum HalfClose {
    Notify,
    NotifyAndFin,
}

async fn half_close(peer: &mut TlsPeer, how: HalfClose) {
    match how {
        HalfClose::Notify => say_goodbye(peer).await,
        HalfClose::NotifyAndFin => peer.stream.shutdown().await.unwrap(),
    }
}

#[test]
fn a_half_closed_tunnel_does_not_stay_for_ever() {
    for how in [HalfClose::Notify, HalfClose::NotifyAndFin] {
        for client_ends in [true, false] {
            run(move || ends_after_read(how, client_ends));
        }
    }
}

/// One side ends its direction, the other continues for 18 s and then is silent, and keeps its direction open.
async fn ends_after_read(how: HalfClose, client_ends: bool) {
    let setup = Setup::new();
    let (gone, mut seen) = moment();
    let backend = tls_backend(setup.server(), move |mut peer| {
        let gone = gone.clone();
        async move {
            peer.head().await;
            peer.send(SWITCHING).await;
            if client_ends {
                go_on(&mut peer).await;
            } else {
                half_close(&mut peer, how).await;
            }
            gone(peer.rest().await);
            sleep(Duration::from_secs(1000)).await;
        }
    })
    .await;
    let toml = format!(
        "timeouts.read = \"7s\"\n{}{}",
        setup.upstream(""),
        setup.listener("")
    );
    let sidecar = Sidecar::in_front_of(&url(backend), &toml).await;
    let mut client = setup.request(&sidecar, WEBSOCKET).await;
    client.head().await;
    let start = Instant::now();
    let case = format!("{how:?}, by the client: {client_ends}");
    if client_ends {
        half_close(&mut client, how).await;
        let (said, _) = client.rest().await;
        assert_eq!(said, b"more;more;more;", "{case}");
        let (_, (heard, _)) = seen.recv().await.unwrap();
        assert_eq!(heard, b"", "{case}");
    } else {
        go_on(&mut client).await;
        let (_, (heard, _)) = seen.recv().await.unwrap();
        assert_eq!(heard, b"more;more;more;", "{case}");
        assert_eq!(client.rest().await.0, b"", "{case}");
    }
    assert_eq!(start.elapsed().as_secs(), 18 + 7, "{case}");
    assert!(sidecar.metric("sse_sidecar_requests_active").abs() < 0.1);
}

async fn go_on(peer: &mut TlsPeer) {
    for _ in 0..3 {
        sleep(Duration::from_secs(6)).await;
        peer.send("more;").await; // what moves is not silent
    }
}

/// Both directions end in order, one long after the other.
#[test]
fn the_other_direction_is_open_until_it_ends() {
    for how in [HalfClose::Notify, HalfClose::NotifyAndFin] {
        run(move || async move {
            let setup = Setup::new();
            let backend = tls_backend(setup.server(), move |mut peer| async move {
                peer.head().await;
                peer.send(SWITCHING).await;
                assert_eq!(peer.closed().await, Closed::Fin);
                go_on(&mut peer).await;
                half_close(&mut peer, how).await;
            })
            .await;
            let toml = setup.upstream("") + &setup.listener("");
            let sidecar = Sidecar::in_front_of(&url(backend), &toml).await;
            let mut client = setup.request(&sidecar, WEBSOCKET).await;
            client.head().await;
            let start = Instant::now();
            half_close(&mut client, how).await;
            let whole = (b"more;more;more;".to_vec(), Closed::Fin);
            assert_eq!(client.rest().await, whole, "{how:?}");
            assert_eq!(start.elapsed().as_secs(), 18);
        });
    }
}
