//! A backend may fail in any phase and in any way. Before the head that is a status, after it an
//! abort behind all that came; it is counted by its name, and the next request is answered.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::common::{
    Closed, EVENTS, LAST_CHUNK, Peer, Sidecar, backend as raw_backend, chunk, run, unanswering,
};
use crate::either::{Asker, End, Http, Teller, WAYS, serve, url};
use crate::frames::{ACK, END_HEADERS, END_STREAM, Frame, Kind, Raw, block};

/// What a backend does after what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Fin,
    Reset,
    /// It says nothing any more, and keeps the connection open.
    Hang,
    /// The stream alone is reset.
    StreamReset,
}

const FAULTS: [Fault; 3] = [Fault::Fin, Fault::Reset, Fault::Hang];

/// What the client sees of what the backend says.
#[derive(Debug, Clone, Copy)]
enum Seen {
    /// No head.
    Nothing,
    /// A head, these bytes, and no end.
    Cut(&'static str),
    Whole,
}

const CLOCKS: &str =
    "heartbeat.interval = \"off\"\ntimeouts = { response_head = \"7s\", read = \"9s\" }";
const EVENT: &str = "data: x\n\n";

/// The response to the next request.
fn whole_http1() -> Vec<u8> {
    [EVENTS.as_bytes(), &chunk(EVENT), LAST_CHUNK.as_bytes()].concat()
}

fn head_http2(stream: u32) -> Frame {
    let mut head = vec![0x88]; // :status: 200
    head.extend(block(&[("content-type", "text/event-stream")]));
    Frame::new(Kind::Headers, END_HEADERS, stream, head)
}

fn whole_http2(stream: u32) -> Vec<u8> {
    let body = Frame::new(Kind::Data, END_STREAM, stream, EVENT);
    [head_http2(stream).bytes(), body.bytes()].concat()
}

/// Answers the first request with `says` and then does as `fault` says; answers all others.
async fn backend(http: Http, says: Vec<u8>, fault: Fault) -> SocketAddr {
    let first = Rc::new(Cell::new(true));
    raw_backend(move |peer| {
        let (says, first) = (says.clone(), first.clone());
        async move {
            match http {
                Http::One => one(peer, says, fault, first.replace(false)).await,
                Http::Two => two(peer, says, fault, &first).await,
            }
        }
    })
    .await
}

async fn one(mut peer: Peer, says: Vec<u8>, fault: Fault, fails: bool) {
    peer.head().await;
    if !fails {
        peer.send(whole_http1()).await;
        peer.closed().await;
        return;
    }
    peer.send(says).await;
    sleep(Duration::from_secs(1)).await;
    match fault {
        Fault::Fin => {}
        Fault::Reset => peer.reset(),
        Fault::Hang | Fault::StreamReset => assert_eq!(peer.closed().await, Closed::Fin),
    }
}

async fn two(mut peer: Peer, says: Vec<u8>, fault: Fault, first: &Cell<bool>) {
    peer.until("SM\r\n\r\n").await;
    let mut raw = Raw { peer };
    raw.send(Frame::new(Kind::Settings, 0, 0, [])).await;
    loop {
        let frame = raw.next().await;
        if frame.is(Kind::Ping) {
            let pong = Frame::new(Kind::Ping, ACK, 0, frame.payload);
            raw.send(pong).await;
            continue;
        }
        if !frame.is(Kind::Headers) {
            continue;
        }
        if !first.replace(false) {
            raw.peer.send(whole_http2(frame.stream)).await;
            continue;
        }
        raw.peer.send(says.clone()).await;
        sleep(Duration::from_secs(1)).await;
        match fault {
            Fault::Fin => return,
            Fault::Reset => return raw.peer.reset(),
            Fault::Hang => {}
            Fault::StreamReset => raw.send(Frame::reset(frame.stream)).await,
        }
    }
}

/// What a backend with HTTP/1 has said in each phase.
fn phases_http1() -> Vec<(&'static str, Vec<u8>, Seen)> {
    let event = chunk(EVENT);
    let say = |parts: &[&[u8]]| [&[EVENTS.as_bytes()], parts].concat().concat();
    vec![
        ("no head", vec![], Seen::Nothing),
        (
            "half a head",
            EVENTS.as_bytes()[..30].to_vec(),
            Seen::Nothing,
        ),
        ("a head", say(&[]), Seen::Cut("")),
        ("half a size", say(&[b"1"]), Seen::Cut("")),
        ("half a chunk", say(&[b"100\r\ndata"]), Seen::Cut("data")),
        (
            "a chunk but for its end",
            say(&[&event[..event.len() - 2]]),
            Seen::Cut(EVENT),
        ),
        ("an event", say(&[&event]), Seen::Cut(EVENT)),
        (
            "half an event",
            say(&[&event, &chunk("data: y")]),
            Seen::Cut("data: x\n\ndata: y"),
        ),
        (
            "half a last chunk",
            say(&[&event, b"0\r\n"]),
            Seen::Cut(EVENT),
        ),
        ("all", whole_http1(), Seen::Whole),
    ]
}

/// The same with HTTP/2, and whether a frame is unfinished.
fn phases_http2() -> Vec<(&'static str, Vec<u8>, Seen, bool)> {
    let head = head_http2(1).bytes();
    let data = |data: &str| Frame::new(Kind::Data, 0, 1, data).bytes();
    let event = data(EVENT);
    let say = |parts: &[&[u8]]| [&[&head[..]], parts].concat().concat();
    let half = [event.clone(), data("data: y")].concat();
    vec![
        ("no head", vec![], Seen::Nothing, false),
        ("half a head", head[..20].to_vec(), Seen::Nothing, true),
        ("a head", say(&[]), Seen::Cut(""), false),
        (
            "half a frame",
            say(&[&event, &event[..14]]),
            Seen::Cut(EVENT),
            true,
        ),
        ("an event", say(&[&event]), Seen::Cut(EVENT), false),
        (
            "half an event",
            say(&[&half]),
            Seen::Cut("data: x\n\ndata: y"),
            false,
        ),
        ("all", whole_http2(1), Seen::Whole, false),
    ]
}

/// One request meets a backend that fails so, and then another.
async fn meet(client: Http, upstream: Http, says: Vec<u8>, fault: Fault, seen: Seen) {
    let address = backend(upstream, says, fault).await;
    let sidecar = Sidecar::in_front_of(&url(upstream, address), CLOCKS).await;
    let start = Instant::now();
    let mut asker = Asker::ask(&sidecar, client).await;
    let head = asker.head().await;
    let hangs = fault == Fault::Hang;
    let (reason, seconds) = match seen {
        Seen::Nothing => {
            let (status, reason, seconds) = if hangs {
                (" 504 ", "upstream_head_timeout", 7)
            } else {
                (" 502 ", "upstream_closed_before_head", 1)
            };
            assert!(head.contains(status), "{head}");
            let (body, end) = asker.rest_of_length(&head).await;
            assert!(body.contains(reason), "{body}");
            assert_eq!(end, End::Clean);
            (reason, seconds)
        }
        Seen::Cut(bytes) => {
            assert_eq!(asker.rest().await, (bytes.to_owned(), End::Cut));
            match fault {
                Fault::Fin | Fault::StreamReset => ("upstream_closed", 1),
                Fault::Reset => ("upstream_failed", 1),
                Fault::Hang => ("upstream_read_timeout", 9),
            }
        }
        Seen::Whole => {
            assert_eq!(asker.rest().await, (EVENT.to_owned(), End::Clean));
            ("complete", 0)
        }
    };
    assert_eq!(start.elapsed().as_secs(), seconds);
    sleep(Duration::from_millis(1)).await;
    let family = if matches!(seen, Seen::Nothing) {
        "refused_total"
    } else {
        "stream_ends_total"
    };
    let side = if reason == "complete" {
        "none"
    } else {
        "upstream"
    };
    let series =
        format!("sse_sidecar_{family}{{reason=\"{reason}\",route=\"any\",side=\"{side}\"}}");
    let metrics = String::from_utf8(sidecar.metrics.text()).unwrap();
    let counted: Vec<_> = metrics
        .lines()
        .filter(|line| line.contains("route=") && line.contains("reason="))
        .filter(|line| !line.ends_with(" 0"))
        .collect();
    assert_eq!(counted, [format!("{series} 1")]);
    let failures = sidecar.metric("sse_sidecar_upstream_failures_total");
    let is_failure = side == "upstream";
    assert!((failures - f64::from(is_failure)).abs() < 0.1, "{failures}");

    // A connection on which all was well is kept for a while, and may hang then.
    sleep(Duration::from_secs(7)).await;
    let mut next = match asker {
        Asker::One(_) => Asker::ask(&sidecar, client).await,
        Asker::Two { connection, .. } => connection.ask("").await,
    };
    assert!(next.head().await.contains(" 200 "));
    assert_eq!(next.rest().await, (EVENT.to_owned(), End::Clean));
    assert!(sidecar.metric("sse_sidecar_requests_active").abs() < 0.1);
}

#[test]
fn a_backend_with_http_1_fails_in_every_phase() {
    for client in [Http::One, Http::Two] {
        for (phase, says, seen) in phases_http1() {
            for fault in FAULTS {
                let says = says.clone();
                run(move || {
                    println!("{fault:?} after {phase}, client {client:?}");
                    meet(client, Http::One, says, fault, seen)
                });
            }
        }
    }
}

#[test]
fn a_backend_with_http_2_fails_in_every_phase() {
    for client in [Http::One, Http::Two] {
        for (phase, says, seen, unfinished) in phases_http2() {
            for fault in FAULTS.into_iter().chain([Fault::StreamReset]) {
                if unfinished && !matches!(fault, Fault::Fin | Fault::Reset) {
                    continue; // the connection is of no use after it
                }
                let says = says.clone();
                run(move || {
                    println!("{fault:?} after {phase}, client {client:?}");
                    meet(client, Http::Two, says, fault, seen)
                });
            }
        }
    }
}

/// Asks; the head of what is answered.
async fn ask(sidecar: &Sidecar, client: Http) -> String {
    let mut asker = Asker::ask(sidecar, client).await;
    let head = asker.head().await;
    if head.contains(" 200 ") {
        assert_eq!(asker.rest().await, (EVENT.to_owned(), End::Clean));
        return head;
    }
    let (body, end) = asker.rest_of_length(&head).await;
    assert_eq!(end, End::Clean);
    head + &body
}

#[test]
fn a_backend_that_takes_no_connection_or_ends_it_at_once() {
    for (client, upstream) in WAYS {
        run(move || async move {
            let (address, _queue) = unanswering();
            let sidecar = Sidecar::in_front_of(&url(upstream, address), CLOCKS).await;
            let start = Instant::now();
            let answer = ask(&sidecar, client).await;
            assert!(answer.contains(" 504 ") && answer.contains("upstream_connect_timeout"));
            assert_eq!(start.elapsed().as_secs(), 5);
        });
        for how in [Fault::Fin, Fault::Reset] {
            run(move || async move {
                let address = raw_backend(move |peer| async move {
                    if how == Fault::Reset {
                        peer.reset();
                    }
                })
                .await;
                let sidecar = Sidecar::in_front_of(&url(upstream, address), CLOCKS).await;
                let start = Instant::now();
                for _ in 0..3 {
                    let answer = ask(&sidecar, client).await;
                    let told = "upstream_closed_before_head";
                    assert!(
                        answer.contains(" 502 ") && answer.contains(told),
                        "{answer}"
                    );
                }
                assert_eq!(start.elapsed().as_secs(), 0);
            });
        }
    }
}

/// A port that stays ours, with a backend on it or without.
struct Place {
    /// Bound, and not listening.
    _socket: TcpSocket,
    address: SocketAddr,
}

impl Place {
    fn take() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        Self {
            _socket: socket,
            address,
        }
    }

    /// Starts a backend there that ends with its connections when this is dropped.
    fn start(&self, http: Http) -> JoinSet<()> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(16).unwrap();
        let mut backend = JoinSet::new();
        backend.spawn_local(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn_local(async move {
                    match http {
                        Http::One => {
                            let mut peer = Peer::new(stream);
                            peer.head().await;
                            peer.send(whole_http1()).await;
                            peer.closed().await;
                        }
                        Http::Two => serve(stream, &answer).await,
                    }
                });
            }
        });
        backend
    }
}

async fn answer(mut teller: Teller) {
    teller.open_events().await;
    teller.say(EVENT).await;
    teller.end().await;
}

#[test]
fn a_backend_that_is_killed_is_502_and_200_as_soon_as_it_is_back() {
    for (client, upstream) in WAYS {
        run(move || async move {
            let place = Place::take();
            let sidecar = Sidecar::in_front_of(&url(upstream, place.address), "").await;
            let mut backend = place.start(upstream);
            for _ in 0..3 {
                assert!(ask(&sidecar, client).await.contains(" 200 "));
                // Restarted while a connection to it is kept, and while none is checked.
                backend.shutdown().await;
                backend = place.start(upstream);
                assert!(ask(&sidecar, client).await.contains(" 200 "));
                backend.shutdown().await;
                for _ in 0..2 {
                    let answer = ask(&sidecar, client).await;
                    let told = "upstream_unreachable";
                    assert!(
                        answer.contains(" 502 ") && answer.contains(told),
                        "{answer}"
                    );
                }
                backend = place.start(upstream);
            }
        });
    }
}
