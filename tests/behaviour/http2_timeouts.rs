//! How long an HTTP/2 connection may be silent, and how much may come on it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use crate::common::{Closed, Peer, Sidecar, backend as raw_backend, moment, run};
use crate::either::{Asker, Connection, End, Http, Teller, backend, request};
use crate::frames::{ACK, END_HEADERS, Frame, Kind, PREFACE, PSEUDO, Raw, block};

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;

/// An event stream that is silent.
async fn silence(teller: Teller) {
    let mut teller = teller;
    teller.open_events().await;
    sleep(Duration::from_secs(100_000)).await;
}

#[test]
fn a_client_that_answers_nothing_is_gone() {
    for answers in [false, true] {
        for upstream in [Http::One, Http::Two] {
            run(move || async move {
                let (gone, mut seen) = moment();
                let url = backend(upstream, move |mut teller: Teller| {
                    let gone = gone.clone();
                    async move {
                        teller.open_events().await;
                        gone(teller.cancelled().await);
                    }
                })
                .await;
                let toml = "heartbeat.interval = \"off\"\ntimeouts.read = \"off\"";
                let sidecar = Sidecar::in_front_of(&url, toml).await;
                let mut client = Raw::connect(&sidecar).await;
                client.settings(&[]).await;
                client.send(Frame::get(1, "/")).await;
                let start = Instant::now();
                let mut pings = 0;
                while start.elapsed() < Duration::from_secs(200) && seen.is_empty() {
                    let read = tokio::time::timeout(Duration::from_secs(20), client.next()).await;
                    let Ok(frame) = read else { continue };
                    if frame.is(Kind::Ping) && frame.flags == 0 {
                        pings += 1;
                        if !answers {
                            break;
                        }
                        client
                            .send(Frame::new(Kind::Ping, ACK, 0, frame.payload))
                            .await;
                    }
                }
                if answers {
                    assert_eq!(pings, 6, "one in thirty seconds");
                    return assert!(seen.is_empty());
                }
                let (at, how) = seen.recv().await.unwrap();
                assert!(how.is_proper());
                let after = (at - start).as_secs_f64();
                assert!((45.0..45.1).contains(&after), "{after}");
                assert_ne!(client.peer.closed().await, Closed::Cut);
                assert!((sidecar.ends("client_gone", "client") - 1.0).abs() < 0.1);
            });
        }
    }
}

#[test]
fn an_upstream_that_answers_nothing_is_gone() {
    for opens in [false, true] {
        run(move || async move {
            let address = raw_backend(move |peer: Peer| async move {
                let mut raw = Raw { peer };
                raw.peer.until("SM\r\n\r\n").await;
                raw.send(Frame::new(Kind::Settings, 0, 0, [])).await;
                raw.next_of(Kind::Headers).await;
                if opens {
                    let mut head = vec![0x88]; // :status: 200
                    head.extend(block(&[("content-type", "text/event-stream")]));
                    raw.send(Frame::new(Kind::Headers, END_HEADERS, 1, head))
                        .await;
                }
                raw.peer.closed().await;
            })
            .await;
            let toml = "heartbeat.interval = \"off\"\ntimeouts.read = \"off\"";
            let sidecar = Sidecar::in_front_of(&format!("h2c://{address}"), toml).await;
            let start = Instant::now();
            let mut asker = Asker::ask(&sidecar, Http::One).await;
            let head = asker.head().await;
            if opens {
                assert_eq!(asker.rest().await, (String::new(), End::Cut));
            } else {
                assert!(head.contains(" 502 "), "{head}");
            }
            let after = start.elapsed().as_secs_f64();
            assert!((45.0..45.1).contains(&after), "{after}");
        });
    }
}

#[test]
fn a_silent_connection_is_closed_in_time() {
    let settings = Frame::new(Kind::Settings, 0, 0, []).bytes();
    let half = Frame::new(Kind::Headers, 1, 1, block(&PSEUDO)).bytes();
    let whole = Frame::get(1, "/").bytes();
    for (name, sent, seconds, has_begun) in [
        ("nothing", vec![], 10, false),
        ("a piece of the preface", PREFACE[..9].to_vec(), 10, false),
        ("the preface", PREFACE.to_vec(), 75, true),
        ("its settings", [PREFACE, &settings].concat(), 75, true),
        (
            "half a head",
            [PREFACE, &settings, &half].concat(),
            75,
            true,
        ),
        ("a request", [PREFACE, &settings, &whole].concat(), 76, true),
    ] {
        run(move || async move {
            let url = backend(Http::Two, |mut teller: Teller| async move {
                sleep(Duration::from_secs(1)).await;
                teller.open(200, "text/plain").await;
                teller.end().await;
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let mut client = Raw::connect(&sidecar).await;
            client.peer.send(sent).await;
            let start = Instant::now();
            let (frames, closed) = client.rest().await;
            assert_eq!(start.elapsed().as_secs(), seconds, "after {name}");
            assert_eq!(closed, Closed::Fin, "after {name}");
            let codes: Vec<_> = frames
                .iter()
                .filter(|frame| frame.is(Kind::GoAway))
                .map(Frame::code)
                .collect();
            assert_eq!(
                codes,
                if has_begun { vec![NO_ERROR] } else { vec![] },
                "after {name}"
            );
        });
    }
}

#[test]
fn an_old_connection_gets_no_new_requests_and_finishes_those_it_has() {
    run(|| async {
        let url = backend(Http::Two, silence).await;
        let toml =
            "timeouts.connection_age = \"100s\"\ntimeouts.read = \"off\"\ntimeouts.total = \"off\"";
        let sidecar = Sidecar::in_front_of(&url, toml).await;
        let client = Connection::to(&sidecar).await;
        let start = Instant::now();
        let mut stream = client.ask("").await;
        stream.head().await;
        for _ in 0..10 {
            assert_eq!(stream.data().await.unwrap().unwrap(), ": heartbeat\n");
        }
        assert_eq!(start.elapsed().as_secs(), 150);
        let refused = client.send(request("GET").body(()).unwrap(), false).await;
        assert!(
            refused.is_err_and(
                |error| error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)
            )
        );
        Connection::to(&sidecar).await.ask("").await.head().await;
    });
}

#[test]
fn the_head_of_a_request_is_limited() {
    for (toml, fields, length, status) in [
        ("", 90, 10, 200),
        ("", 101, 10, 431),
        ("server.max_request_headers = 10", 11, 10, 431),
        ("server.max_request_headers = 1000", 900, 10, 200),
        ("", 1, 65_000, 200),
        ("", 1, 66_000, 431),
        ("server.max_request_head = 2000", 1, 2000, 431),
        ("server.max_request_head = 200000", 2, 90_000, 200),
    ] {
        run(move || async move {
            let url = backend(Http::Two, |mut teller: Teller| async move {
                teller.open(200, "text/plain").await;
                teller.end().await;
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, toml).await;
            let client = Connection::to(&sidecar).await;
            for _ in 0..2 {
                let mut asked = request("GET");
                for n in 0..fields {
                    asked = asked.header(format!("x-{n}"), "x".repeat(length));
                }
                let (seen, body, ended) = client.get(asked).await.unwrap().summary();
                assert_eq!((seen, ended), (status, true), "{toml} {fields} {length}");
                if status == 431 && length == 10 {
                    assert!(body.contains("request_head_too_large"), "{body}");
                }
            }
            assert_eq!(client.get(request("GET")).await.unwrap().head.status, 200);
        });
    }
}

#[test]
fn the_requests_of_one_connection_are_limited() {
    for acknowledges in [true, false] {
        run(move || async move {
            let asked = Rc::new(Cell::new(0));
            let counted = asked.clone();
            let url = backend(Http::Two, move |teller| {
                counted.set(counted.get() + 1);
                silence(teller)
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, "server.max_streams = 3").await;
            let mut client = Raw::connect(&sidecar).await;
            client.peer.send(PREFACE).await;
            client.send(Frame::new(Kind::Settings, 0, 0, [])).await;
            if acknowledges {
                client.send(Frame::new(Kind::Settings, ACK, 0, [])).await;
            }
            for stream in 0..10 {
                client.send(Frame::get(2 * stream + 1, "/")).await;
            }
            for _ in 3..10 {
                assert_eq!(client.next_of(Kind::RstStream).await.code(), REFUSED_STREAM);
            }
            sleep(Duration::from_secs(1)).await;
            assert_eq!(asked.get(), 3);
            // A finished one makes room for another.
            client.send(Frame::reset(1)).await;
            sleep(Duration::from_secs(1)).await;
            client.send(Frame::get(101, "/")).await;
            sleep(Duration::from_secs(1)).await;
            assert_eq!(asked.get(), 4);
        });
    }
}

#[test]
fn a_client_that_respects_the_limit_gets_everything_in_turn() {
    run(|| async {
        let (open, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let shown = most.clone();
        let url = backend(Http::One, move |mut teller: Teller| {
            let (open, most) = (open.clone(), most.clone());
            async move {
                open.set(open.get() + 1);
                most.set(most.get().max(open.get()));
                sleep(Duration::from_secs(1)).await;
                teller.open(200, "text/plain").await;
                open.set(open.get() - 1);
                teller.end().await;
            }
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, "server.max_streams = 3").await;
        let client = Connection::to(&sidecar).await;
        client.get(request("GET")).await.unwrap();
        let asking: Vec<_> = (0..20)
            .map(|_| {
                let client = client.clone();
                spawn_local(async move { client.get(request("GET")).await.unwrap().summary() })
            })
            .collect();
        for answer in asking {
            assert_eq!(answer.await.unwrap(), (200, String::new(), true));
        }
        assert_eq!(shown.get(), 3);
    });
}
