//! What a client of HTTP/2 can make the sidecar hold by uploads that no backend reads.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::common::{Peer, Sidecar, backend, run, unanswering};
use crate::frames::{ACK, END_HEADERS, Frame, Kind, PSEUDO, Raw, block};

/// What a connection's streams may send together before they are read, in bytes.
const CONNECTION_WINDOW: usize = 4 * 1024 * 1024;
/// The same for one stream.
const STREAM_WINDOW: usize = 128 * 1024;
/// The largest DATA frame by default.
const LARGEST: usize = 16 * 1024;
/// A client that sends unread frames of one byte is cut at a limit: h2 counts each as 256 bytes, of 16 MiB.
const TINY_FRAMES: usize = 16 * 1024 * 1024 / 255;
const ENHANCE_YOUR_CALM: u32 = 11;
const STREAMS: u32 = 100;

/// A client that sends as much as it may.
struct Uploader {
    raw: Raw,
    /// How much it may send.
    window: usize,
    /// The same on each stream.
    windows: HashMap<u32, usize>,
    sent: usize,
}

impl Uploader {
    /// With so many requests whose bodies are to come.
    async fn begin(sidecar: &Sidecar, streams: u32) -> Self {
        let mut raw = Raw::connect(sidecar).await;
        raw.settings(&[]).await;
        let [_, scheme, authority, path] = PSEUDO;
        let head = block(&[(":method", "POST"), scheme, authority, path]);
        let numbers = (0..streams).map(|n| 2 * n + 1);
        for stream in numbers.clone() {
            let head = Frame::new(Kind::Headers, END_HEADERS, stream, head.clone());
            raw.send(head).await;
        }
        Self {
            raw,
            window: 65_535, // RFC 9113, section 6.9.2
            windows: numbers.map(|stream| (stream, STREAM_WINDOW)).collect(),
            sent: 0,
        }
    }

    /// Takes the window updates that have come, until nothing comes for a second; true if the connection is closed.
    async fn listen(&mut self) {
        while let Ok(frame) = timeout(Duration::from_secs(1), self.raw.next()).await {
            if !frame.is(Kind::WindowUpdate) {
                assert!(!frame.is(Kind::GoAway), "it gives up");
                continue;
            }
            let more = u32::from_be_bytes(frame.payload[..].try_into().unwrap()) as usize;
            match self.windows.get_mut(&frame.stream) {
                Some(window) => *window += more,
                None => self.window += more,
            }
        }
    }

    /// Sends all it may, in large frames.
    async fn send(&mut self) {
        for (&stream, window) in &mut self.windows {
            while *window > 0 && self.window > 0 {
                let length = LARGEST.min(*window).min(self.window);
                *window -= length;
                self.window -= length;
                self.sent += length;
                let data = Frame::new(Kind::Data, 0, stream, vec![0; length]);
                self.raw.send(data).await;
            }
        }
    }
}

/// A backend with HTTP/2 whose window admits no body.
async fn without_window() -> SocketAddr {
    backend(|peer: Peer| async move {
        let mut raw = Raw { peer };
        raw.peer.until("SM\r\n\r\n").await;
        let no_window = [0, 4, 0, 0, 0, 0];
        raw.send(Frame::new(Kind::Settings, 0, 0, no_window)).await;
        raw.send(Frame::new(Kind::Settings, ACK, 0, [])).await;
        raw.peer.closed().await;
    })
    .await
}

#[test]
fn unread_data_is_bounded_by_the_connections_window() {
    for streams in [1, STREAMS] {
        for connects in [true, false] {
            run(move || async move {
                let (silent, _queue) = unanswering();
                let url = if connects {
                    format!("h2c://{}", without_window().await)
                } else {
                    format!("http://{silent}")
                };
                let toml = "timeouts = { connect = \"1000s\", response_head = \"1000s\" }";
                let sidecar = Sidecar::in_front_of(&url, toml).await;
                let mut client = Uploader::begin(&sidecar, streams).await;
                loop {
                    client.listen().await;
                    let before = client.sent;
                    client.send().await;
                    if client.sent == before {
                        break;
                    }
                }
                let most = (STREAM_WINDOW * streams as usize).min(CONNECTION_WINDOW);
                // One piece of each may be on its way to the upstream.
                let on_their_way = if connects {
                    LARGEST * streams as usize
                } else {
                    0
                };
                assert!(
                    (most..=most + on_their_way).contains(&client.sent),
                    "{} of {most}, {streams} streams",
                    client.sent
                );
            });
        }
    }
}

/// Large frames between them make up for a few of the tiny ones: as many as the window lets them.
#[test]
fn a_flood_of_unread_tiny_frames_is_aborted() {
    for with_large_ones in [false, true] {
        run(move || async move {
            let (silent, _queue) = unanswering();
            let toml = "timeouts.connect = \"1000s\"";
            let sidecar = Sidecar::start(silent, toml).await;
            let mut client = Uploader::begin(&sidecar, STREAMS).await;
            client.listen().await;
            let (mut tiny, mut large) = (0, 0);
            let most = TINY_FRAMES + CONNECTION_WINDOW / 255;
            let code = 'flood: loop {
                let mut frames = Vec::new();
                for n in 0..1000 {
                    let stream = 2 * (n % STREAMS) + 1;
                    frames.extend(Frame::new(Kind::Data, 0, stream, [0]).bytes());
                }
                tiny += 1000;
                if with_large_ones && large < 200 {
                    large += 1;
                    let stream = 2 * (large % STREAMS) + 1;
                    frames.extend(Frame::new(Kind::Data, 0, stream, vec![0; LARGEST]).bytes());
                }
                // The answer to a PING comes when all before it has been taken.
                frames.extend(Frame::new(Kind::Ping, 0, 0, [0; 8]).bytes());
                client.raw.peer.send(frames).await;
                loop {
                    let frame = client.raw.next().await;
                    if frame.is(Kind::Ping) {
                        break;
                    } else if frame.is(Kind::GoAway) {
                        break 'flood frame.code();
                    }
                }
                assert!(tiny < most + 1000, "it is not cut");
            };
            assert_eq!(code, ENHANCE_YOUR_CALM);
            assert!(tiny >= TINY_FRAMES, "{tiny}");
            sleep(Duration::from_secs(1)).await;
            assert!(sidecar.metric("sse_sidecar_requests_active").abs() < 0.1);
        });
    }
}
