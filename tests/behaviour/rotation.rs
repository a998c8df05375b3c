//! `drain.streams = "rotate"`: when the process drains, event streams end one by one, each between two of its events.

use std::time::Duration;

use sse_sidecar::exchange::snapshots;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use crate::common::{Closed, Sidecar, backend_that_says, moment, run};
use crate::either::{Asker, Connection, End, Http, Teller, WAYS, backend};

const PROMPTLY: Duration = Duration::from_millis(20);

/// `drain.timeout`.
const TIMEOUT: Duration = Duration::from_secs(100);
/// Then every stream that is between two events has ended.
const ROTATED: Duration = Duration::from_secs(80);

/// Silence is no reason for any other end.
const ROTATE: &str = "drain.streams = \"rotate\"\ntimeouts.read = \"off\"";

/// A stream of one event that stays open.
async fn silent(mut teller: Teller) {
    teller.open_events().await;
    teller.say("data: x\n\n").await;
    teller.cancelled().await;
}

/// What `asker` gets from now on but for heartbeats, how it ends, and after how long.
fn watch(mut asker: Asker) -> JoinHandle<(String, End, Duration, Asker)> {
    let start = Instant::now();
    spawn_local(async move {
        let (seen, end) = asker.rest().await;
        let seen = seen.replace(": heartbeat\n", "");
        (seen, end, start.elapsed(), asker)
    })
}

fn is(value: f64, expected: u32) -> bool {
    (value - f64::from(expected)).abs() < 0.1
}

#[test]
fn streams_end_cleanly_and_spread_over_the_window() {
    const STREAMS: usize = 200;
    for (client, upstream) in WAYS {
        run(move || async move {
            let (gone, mut seen) = moment();
            let url = backend(upstream, move |mut teller| {
                let gone = gone.clone();
                async move {
                    teller.open_events().await;
                    teller.say("data: x\n\n").await;
                    gone(teller.cancelled().await);
                }
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, ROTATE).await;
            let mut askers = Vec::new();
            let mut shared = None;
            for index in 0..STREAMS {
                if client == Http::Two && index % 50 == 0 {
                    shared = Some(Connection::to(&sidecar).await);
                }
                let mut asker = match &shared {
                    Some(connection) => connection.ask("").await,
                    None => Asker::ask(&sidecar, client).await,
                };
                asker.head().await;
                assert_eq!(asker.data().await.unwrap().unwrap(), "data: x\n\n");
                askers.push(asker);
            }
            // Read all the time: heartbeats that pile up are too many small frames for an HTTP/2 client.
            let watched: Vec<_> = askers.into_iter().map(watch).collect();
            let before = Duration::from_secs(50);
            sleep(before).await;
            assert!(seen.is_empty(), "nothing ends before the drain");
            sidecar.drain(TIMEOUT);
            let start = Instant::now();
            let mut quarters = [0; 4];
            for watched in watched {
                let (seen, end, after, asker) = watched.await.unwrap();
                let after = after.checked_sub(before).unwrap();
                assert_eq!((&*seen, end), ("", End::Clean));
                assert!(after < ROTATED + PROMPTLY, "{after:?}");
                quarters[(after.as_secs() / 20).min(3) as usize] += 1;
                if let Asker::One(mut peer) = asker {
                    let closed = timeout(PROMPTLY, peer.closed()).await;
                    assert_eq!(closed.expect("it stays open"), Closed::Fin);
                }
            }
            assert!(
                quarters.iter().all(|&streams| streams >= STREAMS / 10),
                "{quarters:?} from {client:?} to {upstream:?}"
            );
            for _ in 0..STREAMS {
                let (at, how) = seen.recv().await.unwrap();
                assert!(at - start < ROTATED + PROMPTLY && how.is_proper());
            }
            assert!(is(sidecar.ends("rotated", "proxy"), 200));
            assert!(is(sidecar.metric("sse_sidecar_cut_total"), 0));
        });
    }
}

#[test]
fn the_body_of_an_unfinished_upload_rotates_too() {
    for (client, upstream) in WAYS {
        run(move || async move {
            let url = backend(upstream, silent).await;
            let sidecar = Sidecar::in_front_of(&url, ROTATE).await;
            let mut asker = Asker::upload(&sidecar, client, "the first part").await;
            asker.head().await;
            sleep(Duration::from_secs(50)).await;
            sidecar.drain(TIMEOUT);
            let (seen, end, after, _) = watch(asker).await.unwrap();
            assert_eq!((&*seen, end), ("data: x\n\n", End::Clean));
            assert!(after < ROTATED + PROMPTLY, "{after:?}");
            assert!(is(sidecar.ends("rotated", "proxy"), 1));
        });
    }
}

/// The position of a stream when it is to end, what the backend then sends, and how much of that passes.
const HALVES: [(&str, &str, &str); 7] = [
    ("data: ha", "lf\n\ndata: y\n\n", "lf\n\n"),
    ("data: half\n", "\ndata: y\n\n", "\n"),
    ("data: half\r", "\n: c\r\n\r\ndata: y\r\n", "\n: c\r\n\r\n"),
    (
        "data: half\r",
        "data: more\r\rdata: y\r\r",
        "data: more\r\r",
    ),
    ("data: half\r\n", "\r\ndata: y\r\n\r\n", "\r\n"),
    ("id: 1\n", "data: x\n\n: c\n", "data: x\n\n"),
    ("\u{feff}data", ": x\n\n\n", ": x\n\n"),
];

#[test]
fn an_event_that_has_begun_is_finished_first() {
    for (client, upstream) in WAYS {
        for (toml, reason) in [(ROTATE, "rotated"), ("timeouts.total = \"80s\"", "total")] {
            run(move || async move {
                for (half, says, passes) in HALVES {
                    let url = backend(upstream, move |mut teller| async move {
                        teller.open_events().await;
                        teller.say(half).await;
                        sleep(Duration::from_secs(90)).await;
                        teller.say(says).await;
                        teller.cancelled().await;
                    })
                    .await;
                    let toml = format!("heartbeat.interval = \"off\"\n{toml}");
                    let sidecar = Sidecar::in_front_of(&url, &toml).await;
                    let mut asker = Asker::ask(&sidecar, client).await;
                    asker.head().await;
                    assert_eq!(asker.data().await.unwrap().unwrap(), half);
                    if reason == "rotated" {
                        sidecar.drain(TIMEOUT);
                    }
                    let are_ending = || {
                        let (streams, _) = snapshots(9);
                        streams
                            .iter()
                            .map(|stream| stream.is_ending)
                            .collect::<Vec<_>>()
                    };
                    let watched = watch(asker);
                    assert_eq!(are_ending(), [false]);
                    sleep(Duration::from_secs(85)).await;
                    assert_eq!(are_ending(), [true], "the status page shows it");
                    let (seen, end, after, _) = watched.await.unwrap();
                    assert_eq!((&*seen, end), (passes, End::Clean), "after {half:?}");
                    assert_eq!(after.as_secs(), 90);
                    assert!(is(sidecar.ends(reason, "proxy"), 1));
                }
            });
        }
    }
}

#[test]
fn a_lone_carriage_return_may_be_the_end_of_an_event() {
    for (client, upstream) in WAYS {
        run(move || async move {
            for event in ["data: x\r\r", "data: x\r\n\r", "data: x\n\n: comment\r"] {
                let url = backend(upstream, move |mut teller| async move {
                    teller.open_events().await;
                    teller.say(event).await;
                    teller.cancelled().await;
                })
                .await;
                let toml = format!("heartbeat.interval = \"off\"\n{ROTATE}");
                let sidecar = Sidecar::in_front_of(&url, &toml).await;
                let mut asker = Asker::ask(&sidecar, client).await;
                asker.head().await;
                assert_eq!(asker.data().await.unwrap().unwrap(), event);
                sidecar.drain(TIMEOUT);
                let (seen, end, after, _) = watch(asker).await.unwrap();
                assert_eq!((&*seen, end), ("", End::Clean), "after {event:?}");
                assert!(after < ROTATED + PROMPTLY, "{after:?}");
            }
        });
    }
}

#[test]
fn an_event_that_is_never_finished_is_cut_when_the_time_is_up() {
    for (client, upstream) in WAYS {
        run(move || async move {
            let url = backend(upstream, |mut teller| async move {
                teller.open_events().await;
                teller.say("data: ha").await;
                teller.cancelled().await;
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, ROTATE).await;
            let mut asker = Asker::ask(&sidecar, client).await;
            asker.head().await;
            sidecar.drain(TIMEOUT);
            let watched = watch(asker);
            sleep(TIMEOUT).await;
            assert!(!watched.is_finished());
            sidecar.cut();
            let (seen, end, after, _) = watched.await.unwrap();
            assert_eq!((&*seen, end), ("data: ha", End::Cut));
            assert!(after < TIMEOUT + PROMPTLY, "{after:?}");
            assert!(is(sidecar.ends("shutdown", "proxy"), 1));
            assert!(is(sidecar.metric("sse_sidecar_cut_total"), 1));
        });
    }
}

#[test]
fn streams_that_open_during_the_drain_rotate_within_what_is_left_of_it() {
    for (client, upstream) in WAYS {
        run(move || async move {
            let url = backend(upstream, |teller| async move {
                sleep(Duration::from_secs(60)).await;
                silent(teller).await;
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, ROTATE).await;
            let mut askers = Vec::new();
            for _ in 0..40 {
                askers.push(Asker::ask(&sidecar, client).await);
            }
            sleep(Duration::from_secs(10)).await;
            sidecar.drain(TIMEOUT);
            let drained = Instant::now();
            let mut watched = Vec::new();
            for mut asker in askers {
                let head = asker.head().await;
                let closes = head.contains("connection: close\r\n");
                assert_eq!(closes, client == Http::One, "{head}");
                watched.push(watch(asker));
            }
            assert_eq!(drained.elapsed().as_secs(), 50);
            let mut halves = [0; 2];
            for watched in watched {
                let (seen, end, after, _) = watched.await.unwrap();
                assert_eq!((&*seen, end), ("data: x\n\n", End::Clean));
                assert!(after < Duration::from_secs(40) + PROMPTLY, "{after:?}");
                halves[(after.as_secs() / 20).min(1) as usize] += 1;
            }
            assert!(halves.iter().all(|&streams| streams > 0), "{halves:?}");
            assert!(is(sidecar.ends("rotated", "proxy"), 40));
        });
    }
}

#[test]
fn each_route_has_its_own_policy() {
    let route = |path: &str, streams: &str| {
        format!("[[route]]\npath = \"{path}\"\ndrain.streams = \"{streams}\"\n")
    };
    for (toml, rotates) in [
        (String::new(), false),
        (route("/events", "rotate"), true),
        (route("/other", "rotate"), false),
        (format!("{ROTATE}\n{}", route("/events", "finish")), false),
        (format!("{ROTATE}\n{}", route("/other", "finish")), true),
    ] {
        for client in [Http::One, Http::Two] {
            let toml = toml.clone();
            run(move || async move {
                let url = backend(Http::One, silent).await;
                let sidecar = Sidecar::in_front_of(&url, &toml).await;
                let mut asker = Asker::ask(&sidecar, client).await;
                asker.head().await;
                sidecar.drain(TIMEOUT);
                let watched = watch(asker);
                sleep(Duration::from_secs(99)).await;
                assert_eq!(watched.is_finished(), rotates, "{toml}");
                sidecar.cut();
                let (_, end, ..) = watched.await.unwrap();
                assert_eq!(end, End::Clean);
                let reason = if rotates { "rotated" } else { "shutdown" };
                assert!(is(sidecar.ends(reason, "proxy"), 1), "{toml}");
            });
        }
    }
}

#[test]
fn a_stream_whose_age_is_up_sooner_ends_for_that() {
    for client in [Http::One, Http::Two] {
        run(move || async move {
            // Its moment is somewhere in 25 years.
            let years = Duration::from_secs(1_000_000_000);
            for (total, timeout, reason) in [("20s", years, "total"), ("9000s", TIMEOUT, "rotated")]
            {
                let url = backend(Http::One, silent).await;
                let toml = format!("{ROTATE}\ntimeouts.total = \"{total}\"");
                let sidecar = Sidecar::in_front_of(&url, &toml).await;
                let mut asker = Asker::ask(&sidecar, client).await;
                asker.head().await;
                sidecar.drain(timeout);
                let (_, end, after, _) = watch(asker).await.unwrap();
                assert_eq!(end, End::Clean);
                assert!(after < ROTATED + PROMPTLY, "{after:?}");
                assert!(is(sidecar.ends(reason, "proxy"), 1), "{reason}");
            }
        });
    }
}

#[test]
fn an_opaque_stream_shows_no_boundary_and_finishes() {
    for client in [Http::One, Http::Two] {
        run(move || async move {
            let says = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: x\r\n\r\ndata: x\n\n";
            let sidecar = Sidecar::start(backend_that_says(says).await, ROTATE).await;
            let mut asker = Asker::ask(&sidecar, client).await;
            asker.head().await;
            sidecar.drain(TIMEOUT);
            let watched = watch(asker);
            sleep(TIMEOUT).await;
            assert!(!watched.is_finished());
            sidecar.cut();
            let (seen, end, ..) = watched.await.unwrap();
            assert_eq!((&*seen, end), ("data: x\n\n", End::Cut));
            assert!(is(sidecar.metric("sse_sidecar_cut_total"), 1));
        });
    }
}

#[test]
fn everything_else_finishes() {
    for (client, upstream) in WAYS {
        run(move || async move {
            let url = backend(upstream, |mut teller| async move {
                teller.open(200, "application/grpc").await;
                for _ in 0..9 {
                    teller.say("data: x\n\n").await;
                    sleep(Duration::from_secs(10)).await;
                }
                teller.end().await;
                teller.cancelled().await;
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, ROTATE).await;
            let mut asker = Asker::ask(&sidecar, client).await;
            asker.head().await;
            sidecar.drain(TIMEOUT);
            let (seen, end, after, _) = watch(asker).await.unwrap();
            assert_eq!((seen, end), ("data: x\n\n".repeat(9), End::Clean));
            assert_eq!(after.as_secs(), 90);
        });
    }
}
