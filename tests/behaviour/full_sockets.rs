//! Whatever happens while the client's socket is full: an interim response, a head or an event has filled it. A client that keeps
//! reading gets every byte and the right end, and one that does not costs the upstream nothing more.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::common::{EVENTS, LAST_CHUNK, Peer, Sidecar, backend, chunk, full_sockets, moment, run};
use crate::either::{End, Http};
use crate::frames::{END_STREAM, Frame, Kind, Raw};

/// More than the kernel takes for a client that does not read.
const FILL: usize = 400_000;
const FIRST: &str = "data: 1\n\n";
const LAST: &str = "data: 2\n\n";

const TOML: &str = "server.max_response_head = 1048576\nevents.on_upstream_failure = \"event\"\n\
     timeouts.write = \"off\"\ndrain.streams = \"rotate\"\n\
     [[route]]\npath = \"/Stalled\"\ntimeouts.write = \"30s\"\n\
     [[route]]\npath = \"/Total\"\ntimeouts.total = \"10s\"\n";

/// What fills the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fill {
    Interim,
    Head,
    Event,
}

/// What happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Then {
    /// The stream continues after 5 s, and ends.
    GoesOn,
    /// The same after two heartbeats were due.
    Beats,
    /// The upstream closes the connection,
    Fin,
    /// or resets it.
    Reset,
    /// The stream has lasted long enough.
    Total,
    /// The client closes its direction,
    Leaves,
    /// or resets its connection.
    Resets,
    /// The client takes nothing for too long.
    Stalled,
    /// The stream is ended by a drain,
    Rotates,
    /// or with the process.
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Case {
    client: Http,
    fill: Fill,
    then: Then,
}

impl fmt::Display for Case {
    /// The path of its request.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{:?}/{:?}/{:?}", self.then, self.fill, self.client)
    }
}

fn cases(thens: &[Then]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &then in thens {
        for fill in [Fill::Interim, Fill::Head, Fill::Event] {
            for client in [Http::One, Http::Two] {
                cases.push(Case { client, fill, then });
            }
        }
    }
    cases
}

impl Case {
    /// What the upstream says first.
    fn says(self) -> Vec<u8> {
        let fill = "x".repeat(FILL);
        let (_, fields) = EVENTS.split_once("\r\n").unwrap();
        let head = match self.fill {
            Fill::Interim => {
                format!("HTTP/1.1 103 Early Hints\r\nLink: {fill}\r\n\r\n{EVENTS}")
            }
            Fill::Head => format!("HTTP/1.1 200 OK\r\nX: {fill}\r\n{fields}"),
            Fill::Event => EVENTS.to_owned(),
        };
        [head.into_bytes(), chunk(self.first())].concat()
    }

    /// The events of that.
    fn first(self) -> String {
        match self.fill {
            Fill::Interim | Fill::Head => FIRST.to_owned(),
            Fill::Event => format!("data: {}\n\n{FIRST}", "x".repeat(FILL)),
        }
    }

    /// What the client gets from the first byte of the body on.
    fn assert_seen(self, seen: &str, end: End) {
        let expected = self.first();
        let beats = seen.matches(": heartbeat\n").count();
        assert!(beats <= 1, "{self}: {beats} heartbeats");
        let seen = seen.replace(": heartbeat\n", "");
        let shown = &seen[seen.len().saturating_sub(300)..];
        match self.then {
            Then::GoesOn | Then::Beats => {
                assert!(seen == expected + LAST, "{self}: {shown}");
                assert_eq!(end, End::Clean, "{self}");
            }
            Then::Fin => {
                let failure = seen.strip_prefix(&expected);
                let failure = failure.unwrap_or_else(|| panic!("{self}: {shown}"));
                assert!(failure.starts_with("event: error\n"), "{self}: {failure}");
                assert!(failure.contains("upstream_closed"), "{self}: {failure}");
                assert_eq!(end, End::Cut, "{self}");
            }
            Then::Reset => {
                // The kernel drops what was not read yet.
                let (seen, _) = seen.split_once("event: error\n").unwrap_or((&seen, ""));
                assert!(expected.starts_with(seen), "{self}: {shown}");
                assert_eq!(end, End::Cut, "{self}");
            }
            Then::Total | Then::Rotates => {
                assert!(expected.starts_with(&seen), "{self}: {shown}");
                assert!(seen.is_empty() || seen.ends_with("\n\n"), "{self}: {shown}");
                assert_eq!(end, End::Clean, "{self}");
            }
            Then::Leaves | Then::Resets | Then::Stalled | Then::Cut => {
                assert!(expected.starts_with(&seen), "{self}: {shown}");
                assert_eq!(end, End::Cut, "{self}");
            }
        }
    }
}

/// A client that does not read yet.
struct Client {
    case: Case,
    peer: Peer,
}

impl Client {
    async fn ask(sidecar: &Sidecar, case: Case) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut peer = Peer::new(socket.connect(sidecar.address).await.unwrap());
        if case.client == Http::One {
            let head = format!("GET {case} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
            peer.send(head).await;
            return Self { case, peer };
        }
        let mut raw = Raw { peer };
        raw.settings(&[(4, 1 << 30)]).await;
        raw.send(Frame::window_update(0, 1 << 30)).await;
        raw.send(Frame::get(1, &case.to_string())).await;
        Self {
            case,
            peer: raw.peer,
        }
    }

    /// Reads all there is.
    async fn read(mut self) {
        let mut bytes = Vec::new();
        let mut end = End::Cut;
        let mut frames = Frames::default();
        while self
            .peer
            .stream
            .read_buf(&mut bytes)
            .await
            .is_ok_and(|length| length > 0)
        {
            if self.case.client == Http::Two && frames.take(&mut bytes) {
                end = frames.end;
                break;
            }
        }
        let body = match self.case.client {
            Http::Two => frames.body,
            Http::One => {
                let (body, is_whole) = body_of(&bytes);
                end = if is_whole { End::Clean } else { End::Cut };
                body
            }
        };
        self.case
            .assert_seen(&String::from_utf8(body).unwrap(), end);
    }
}

/// The body after the heads, and whether its end is there.
fn body_of(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    loop {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            return (Vec::new(), false);
        };
        let (head, rest) = bytes.split_at(end + 4);
        bytes = rest;
        if !head.starts_with(b"HTTP/1.1 103 ") {
            break;
        }
    }
    let (mut body, mut chunked) = (bytes.to_vec(), sse_sidecar::wire::Chunked::new());
    let (kept, _) = chunked.decode_in_place(&mut body, |_| {}).unwrap();
    assert_eq!(chunked.failure(), None);
    body.truncate(kept);
    (body, chunked.is_done())
}

/// The body on the one stream of a connection.
struct Frames {
    body: Vec<u8>,
    end: End,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            body: Vec::new(),
            end: End::Cut,
        }
    }
}

impl Frames {
    /// Takes the whole frames off `bytes`; whether the stream has ended.
    fn take(&mut self, bytes: &mut Vec<u8>) -> bool {
        while let Some((frame, length)) = Frame::first(bytes) {
            bytes.drain(..length);
            if frame.is(Kind::Data) {
                self.body.extend(frame.payload);
                if frame.flags & END_STREAM != 0 {
                    self.end = End::Clean;
                    return true;
                }
            } else if frame.is(Kind::RstStream) {
                return true;
            }
        }
        false
    }
}

/// A sidecar whose clients' sockets are full, and what its upstream does when it continues.
struct Setup {
    sidecar: Sidecar,
    clients: Vec<Client>,
    go: watch::Sender<bool>,
    /// The upstream's connections that were closed by the sidecar, and when.
    gone: tokio::sync::mpsc::UnboundedReceiver<(Instant, String)>,
}

impl Setup {
    async fn new(thens: &[Then]) -> Self {
        let (go, begin) = watch::channel(false);
        let (cancelled, gone) = moment();
        let cases = cases(thens);
        let by_path: HashMap<_, _> = cases.iter().map(|case| (case.to_string(), *case)).collect();
        let address = backend(move |mut peer| {
            let (mut begin, cancelled, by_path) =
                (begin.clone(), cancelled.clone(), by_path.clone());
            async move {
                let head = peer.head().await;
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let case = by_path[&path];
                if peer.stream.write_all(&case.says()).await.is_err() {
                    return cancelled(path); // it was dropped before it was read
                }
                begin.wait_for(|begin| *begin).await.unwrap();
                match case.then {
                    Then::GoesOn => sleep(Duration::from_secs(5)).await,
                    Then::Beats => sleep(Duration::from_secs(32)).await,
                    Then::Fin => return sleep(Duration::from_secs(5)).await,
                    Then::Reset => {
                        sleep(Duration::from_secs(5)).await;
                        return peer.reset();
                    }
                    _ => {
                        peer.closed().await;
                        return cancelled(path);
                    }
                }
                peer.send([&chunk(LAST)[..], LAST_CHUNK.as_bytes()].concat())
                    .await;
                peer.closed().await;
            }
        })
        .await;
        let sidecar = Sidecar::start(address, TOML).await;
        let mut clients = Vec::new();
        for case in cases {
            clients.push(Client::ask(&sidecar, case).await);
        }
        assert_eq!(full_sockets(&sidecar).await, clients.len());
        go.send_replace(true);
        Self {
            sidecar,
            clients,
            go,
            gone,
        }
    }

    /// Has what is left of the clients read.
    async fn read(self) -> Sidecar {
        tokio::time::resume(); // the kernel needs a while, and a paused clock would advance
        let mut reading = JoinSet::new();
        for client in self.clients {
            reading.spawn_local(client.read());
        }
        while let Some(read) = reading.join_next().await {
            read.unwrap();
        }
        drop(self.go);
        self.sidecar
    }
}

#[test]
fn a_client_that_keeps_reading_gets_every_byte_and_the_right_end() {
    run(|| async {
        let thens = [
            Then::GoesOn,
            Then::Beats,
            Then::Fin,
            Then::Reset,
            Then::Total,
        ];
        let setup = Setup::new(&thens).await;
        // Less than the time after which a client of HTTP/2 that answers no PING is gone.
        sleep(Duration::from_secs(40)).await;
        setup.read().await;
    });
}

#[test]
fn a_drain_ends_streams_that_nobody_reads_in_order() {
    run(|| async {
        let setup = Setup::new(&[Then::Rotates]).await;
        setup.sidecar.drain(Duration::from_secs(20));
        sleep(Duration::from_secs(19)).await;
        setup.read().await;
    });
}

#[test]
fn who_leaves_is_dropped_at_once() {
    run(|| async {
        let mut setup = Setup::new(&[Then::Leaves, Then::Resets]).await;
        sleep(Duration::from_secs(1)).await;
        let left = Instant::now();
        let mut stay = Vec::new();
        let clients = std::mem::take(&mut setup.clients);
        let all = clients.len();
        for client in clients {
            if client.case.then == Then::Resets {
                client.peer.reset();
                continue;
            }
            let socket = socket2::SockRef::from(&client.peer.stream);
            socket.shutdown(std::net::Shutdown::Write).unwrap();
            stay.push(client);
        }
        for _ in 0..all {
            let (at, path) = setup.gone.recv().await.unwrap();
            assert!(
                at - left < Duration::from_millis(5),
                "{path}: {:?}",
                at - left
            );
        }
        setup.clients = stay;
        setup.read().await;
    });
}

#[test]
fn who_takes_nothing_is_dropped_in_time() {
    run(|| async {
        let mut setup = Setup::new(&[Then::Stalled]).await;
        let start = Instant::now();
        for _ in 0..setup.clients.len() {
            let (at, path) = setup.gone.recv().await.unwrap();
            let after = (at - start).as_secs_f64();
            assert!((29.0..38.0).contains(&after), "{path}: {after}");
        }
        setup.read().await;
    });
}

#[test]
fn the_process_does_not_wait_for_stalled_clients_at_its_end() {
    run(|| async {
        let mut setup = Setup::new(&[Then::Cut]).await;
        setup.sidecar.drain(Duration::from_secs(1));
        sleep(Duration::from_secs(2)).await;
        setup.sidecar.cut();
        let start = Instant::now();
        for _ in 0..setup.clients.len() {
            let (at, path) = setup.gone.recv().await.unwrap();
            assert!(
                at - start < Duration::from_millis(1100),
                "{path}: {:?}",
                at - start
            );
        }
        setup.read().await;
    });
}
