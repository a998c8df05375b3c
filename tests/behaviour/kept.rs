//! What the tests of streams that outlive their clients share: a backend in the test's own hands.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::spawn_local;

use crate::common::Peer;

/// Streams wait for their clients.
pub(crate) const GRACE: &str = "resume.grace = \"30s\"";

/// The connections to a backend, for the test to answer them.
pub(crate) struct Backends {
    pub(crate) address: SocketAddr,
    peers: UnboundedReceiver<Peer>,
}

impl Backends {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, peers) = unbounded_channel();
        spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if sender.send(Peer::new(stream)).is_err() {
                    return;
                }
            }
        });
        Self { address, peers }
    }

    /// The next connection, and the head of its first request.
    pub(crate) async fn next_head(&mut self) -> (String, Peer) {
        let mut peer = self.peers.recv().await.unwrap();
        let head = peer.head().await;
        (head, peer)
    }

    /// The next connection, whose first request's head has been read.
    pub(crate) async fn next(&mut self) -> Peer {
        self.next_head().await.1
    }

    /// Whether nobody has connected that was not looked at.
    pub(crate) fn no_more(&mut self) -> bool {
        self.peers.try_recv().is_err()
    }
}

/// The event with this number.
pub(crate) fn event(number: usize) -> String {
    format!("data: {number}\n\n")
}

/// A request for events, from behind `id` on if there is one.
pub(crate) fn get(id: &str) -> String {
    request("GET", id, "")
}

/// The same with POST.
pub(crate) fn post(id: &str) -> String {
    request("POST", id, "Content-Length: 2\r\n") + "{}"
}

fn request(method: &str, id: &str, fields: &str) -> String {
    let id = if id.is_empty() {
        String::new()
    } else {
        format!("Last-Event-ID: {id}\r\n")
    };
    format!(
        "{method} /events HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n{fields}{id}\r\n"
    )
}

/// The request of somebody who shows `fields`.
pub(crate) fn with(request: &str, fields: &str) -> String {
    request.replacen("\r\n", &format!("\r\n{fields}\r\n"), 1)
}

/// The last id in a part of a stream.
pub(crate) fn id_of(stream: &str) -> String {
    let id = stream.rsplit("id: ").next().unwrap();
    let id = id.lines().next().unwrap().to_owned();
    assert!(id.starts_with('_'), "{stream:?} has no id of ours");
    id
}
