//! What the process holds of uploads over HTTP/2 that its backend does not read: the windows bound the bytes, h2's books the frames.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::{Sidecar, resident_kib};

const STREAMS: u32 = 100;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// A connection's window, in bytes.
const WINDOW: usize = 4 * 1024 * 1024;
/// More than what one connection may make the process hold, in KiB.
const MOST: usize = 48 * 1024;

/// A client that sends what no library would.
struct Client(TcpStream);

impl Client {
    /// With a hundred requests whose bodies are to come.
    fn begin(sidecar: &Sidecar) -> Self {
        let mut client = Self(sidecar.connect());
        client
            .0
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        client.send(&frame(SETTINGS, 0, 0, &[]));
        client.send(&frame(SETTINGS, ACK, 0, &[]));
        // HPACK, static table: POST, http, /; and an authority.
        let head = [&[0x83, 0x86, 0x84, 0x41, 1][..], b"t"].concat();
        let heads = streams().flat_map(|stream| frame(HEADERS, END_HEADERS, stream, &head));
        client.send(&heads.collect::<Vec<_>>());
        client
    }

    fn send(&mut self, frames: &[u8]) {
        self.0.write_all(frames).unwrap();
    }

    /// Waits until everything sent has been read: a PING is answered only after that.
    fn is_taken(&mut self) {
        self.send(&frame(PING, 0, 0, &[0; 8]));
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).unwrap();
            assert_ne!(head[3], GOAWAY, "it gives up: {payload:?}");
            if head[3] == PING {
                return;
            }
        }
    }
}

fn streams() -> impl Iterator<Item = u32> + Clone {
    (0..STREAMS).map(|n| 2 * n + 1)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[test]
fn a_client_makes_the_process_hold_a_bounded_amount() {
    let padded = [&[255, 0][..], &[0; 255]].concat();
    // So many frames as h2 just books: 65,793 of a byte.
    for (what, flags, payload, frames) in [
        (
            "all of the window",
            0,
            vec![0; 16 * 1024],
            WINDOW / (16 * 1024),
        ),
        ("frames of a byte", 0, vec![0], 65_000),
        ("frames of a byte and padding", PADDED, padded, 16_000),
    ] {
        // Its kernel accepts connections, and no TLS handshake follows: no request gets as far as its body.
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", backend.local_addr().unwrap());
        let sidecar = Sidecar::start(&format!(
            "upstream.url = \"{url}\"\ntimeouts.connect = \"1000s\"\nadmin.listen = \"off\"\nserver.workers = 1\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\n"
        ));
        let mut client = Client::begin(&sidecar);
        client.is_taken();
        let before = resident_kib(sidecar.child.id());
        let mut streams = streams().cycle();
        let mut left = frames;
        while left > 0 {
            let some = left.min(1000);
            let more = streams.by_ref().take(some);
            let more = more.flat_map(|stream| frame(DATA, flags, stream, &payload));
            client.send(&more.collect::<Vec<_>>());
            client.is_taken();
            left -= some;
        }
        let held = resident_kib(sidecar.child.id()).saturating_sub(before);
        println!("{what}: {held} KiB");
        assert!(held < MOST, "{what}: {held} KiB");
    }
}
