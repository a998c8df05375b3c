//! The shutdown as connections with HTTP/2 see it.

use std::time::Duration;

use h2::Reason;
use tokio::time::{Instant, sleep, timeout};

use crate::common::{Closed, Peer, Sidecar, run};
use crate::either::{Connection, End, Http, Teller, WAYS, Whole, backend, request};
use crate::frames::{Frame, Kind, PREFACE};
use crate::http2_tls::{connect, offering};
use crate::tls::Setup;

const PROMPTLY: Duration = Duration::from_millis(5);

/// `drain.timeout`.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An event stream that says `path` and stays; anything else is answered after 10 s.
async fn script(mut teller: Teller) {
    let asked = teller.asked();
    if asked.contains("/slow") {
        sleep(Duration::from_secs(10)).await;
        teller.open(200, "text/plain").await;
        teller.say("ok").await;
        return teller.end().await;
    }
    teller.open_events().await;
    let says = if asked.contains("/half") {
        "data: x\n"
    } else {
        "data: x\n\n"
    };
    teller.say(says).await;
    teller.cancelled().await;
}

#[test]
fn open_requests_finish_and_no_new_ones_are_taken() {
    for upstream in [Http::One, Http::Two] {
        run(move || async move {
            let url = backend(upstream, script).await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let client = Connection::to(&sidecar).await;
            let mut stream = client.ask("").await;
            stream.head().await;
            stream.data().await.unwrap();
            let slow = request("GET").uri("http://test/slow").body(()).unwrap();
            let (response, _) = client.send(slow, false).await.unwrap();
            sleep(Duration::from_secs(1)).await;
            sidecar.drain(TIMEOUT);
            sleep(Duration::from_millis(1)).await;
            let refused = client.send(request("GET").body(()).unwrap(), false).await;
            assert!(
                refused.is_err_and(
                    |error| error.is_go_away() && error.reason() == Some(Reason::NO_ERROR)
                )
            );
            let whole = Whole::of(response).await.unwrap();
            assert_eq!(whole.summary(), (200, "ok".to_owned(), true));
            let start = Instant::now();
            assert_eq!(stream.data().await.unwrap().unwrap(), ": heartbeat\n");
            sidecar.cut();
            assert_eq!(
                stream.rest().await,
                (String::new(), End::Clean),
                "at a boundary"
            );
            assert!(start.elapsed() < Duration::from_secs(10));
            assert!((sidecar.ends("shutdown", "proxy") - 1.0).abs() < 0.1);
        });
    }
}

#[test]
fn what_is_cut_is_reset_after_every_byte_of_it() {
    for (_, upstream) in [WAYS[2], WAYS[3]] {
        run(move || async move {
            let url = backend(upstream, script).await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let client = Connection::to(&sidecar).await;
            let half = request("GET")
                .uri("http://test/half")
                .header("accept", "text/event-stream");
            let (response, _) = client.send(half.body(()).unwrap(), false).await.unwrap();
            let response = response.await.unwrap();
            sleep(Duration::from_secs(1)).await;
            sidecar.drain(TIMEOUT);
            sleep(Duration::from_secs(1)).await;
            sidecar.cut();
            let mut body = response.into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "data: x\n");
            let error = timeout(PROMPTLY, body.data())
                .await
                .unwrap()
                .unwrap()
                .unwrap_err();
            assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        });
    }
}

#[test]
fn connections_without_a_request_are_closed_at_once() {
    let settings = Frame::new(Kind::Settings, 0, 0, []).bytes();
    for (name, sent) in [
        ("nothing", vec![]),
        ("a piece of the preface", PREFACE[..9].to_vec()),
        ("the preface", PREFACE.to_vec()),
        ("its settings", [PREFACE, &settings].concat()),
    ] {
        run(move || async move {
            let url = backend(Http::Two, script).await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let mut client = sidecar.connect().await;
            client.send(&sent).await;
            sleep(Duration::from_secs(1)).await;
            sidecar.drain(TIMEOUT);
            let start = Instant::now();
            // It does not even answer the PING with which a GOAWAY comes.
            let closed = timeout(Duration::from_secs(100), client.closed()).await;
            assert_eq!(closed.expect("never closed"), Closed::Fin, "after {name}");
            assert!(
                start.elapsed() < Duration::from_secs(2),
                "after {name}: {:?}",
                start.elapsed()
            );
        });
    }
}

#[test]
fn a_connection_over_tls_that_has_not_begun_is_closed_at_once() {
    run(|| async {
        let setup = Setup::new();
        let sidecar = Sidecar::in_front_of("h2c://127.0.0.1:1", &setup.listener("")).await;
        let (stream, _) = connect(&sidecar, offering(&setup, &["h2"])).await;
        sleep(Duration::from_secs(1)).await;
        sidecar.drain(TIMEOUT);
        let mut client = Peer::over(stream);
        timeout(PROMPTLY, client.closed()).await.expect("it waits");
    });
}
