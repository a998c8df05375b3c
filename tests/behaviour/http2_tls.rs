//! HTTP/2 over TLS, chosen by ALPN, on either side.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ALL_VERSIONS, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::common::{Peer, Sidecar, moment, run};
use crate::either::{Connection, End, Http, Teller, backend, request, serve};
use crate::frames::{Frame, Kind, Raw};
use crate::tls::{Setup, url};

const PROMPTLY: Duration = Duration::from_millis(5);

/// A client's settings that offer `protocols`.
pub(crate) fn offering(setup: &Setup, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(&setup.client(ALL_VERSIONS));
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Arc::new(config)
}

/// A socket whose inbound bytes are kept too.
pub(crate) struct Recorded {
    stream: TcpStream,
    seen: Rc<RefCell<Vec<u8>>>,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.seen
            .borrow_mut()
            .extend_from_slice(&buf.filled()[start..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection to `sidecar`, and what comes on it before it is decrypted.
pub(crate) async fn connect(
    sidecar: &Sidecar,
    config: Arc<ClientConfig>,
) -> (TlsStream<Recorded>, Rc<RefCell<Vec<u8>>>) {
    let stream = TcpStream::connect(sidecar.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let seen = Rc::new(RefCell::default());
    let recorded = Recorded {
        stream,
        seen: seen.clone(),
    };
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(config)
        .connect(name, recorded)
        .await
        .unwrap();
    (stream, seen)
}

/// How many records of TLS are in `bytes`.
fn records(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut count = 0;
    while rest.len() >= 5 {
        let length = usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        rest = &rest[5 + length..];
        count += 1;
    }
    count
}

#[test]
fn the_client_chooses() {
    for (offers, chosen) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        run(move || async move {
            let setup = Setup::new();
            let url = backend(Http::One, |mut teller: Teller| async move {
                assert!(teller.asked().contains("x-forwarded-proto: https"));
                teller.open_events().await;
                teller.say("data: x\n\n").await;
                sleep(Duration::from_secs(20)).await;
                teller.end().await;
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, &setup.listener("")).await;
            let (stream, _) = connect(&sidecar, offering(&setup, offers)).await;
            let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(protocol.as_deref(), chosen.map(str::as_bytes));
            if chosen == Some("h2") {
                let mut asker = Connection::over(stream, |_| {}).await.ask("").await;
                asker.head().await;
                assert_eq!(
                    asker.rest().await,
                    ("data: x\n\n: heartbeat\n".to_owned(), End::Clean)
                );
            } else {
                let mut client = Peer::over(stream);
                client.send(crate::common::GET_EVENTS).await;
                client.head().await;
                assert_eq!(
                    client.chunks().await,
                    (b"data: x\n\n: heartbeat\n".to_vec(), true)
                );
            }
        });
    }
}

#[test]
fn a_client_that_leaves_cancels_its_requests() {
    for how in ["RST_STREAM", "close_notify", "FIN", "RST"] {
        for opened in [false, true] {
            run(move || async move {
                let setup = Setup::new();
                let (gone, mut seen) = moment();
                let url = backend(Http::Two, move |mut teller: Teller| {
                    let gone = gone.clone();
                    async move {
                        if opened {
                            teller.open_events().await;
                        }
                        gone(teller.cancelled().await);
                    }
                })
                .await;
                let sidecar = Sidecar::in_front_of(&url, &setup.listener("")).await;
                let (stream, _) = connect(&sidecar, offering(&setup, &["h2"])).await;
                let mut client = Raw {
                    peer: Peer::over(stream),
                };
                client.settings(&[]).await;
                client.send(Frame::get(1, "/")).await;
                if opened {
                    client.next_of(Kind::Headers).await;
                }
                sleep(Duration::from_secs(1)).await;
                let left = Instant::now();
                match how {
                    "RST_STREAM" => client.send(Frame::reset(1)).await,
                    "close_notify" => {
                        let stream = &mut client.peer.stream;
                        stream.get_mut().1.send_close_notify();
                        stream.flush().await.unwrap();
                    }
                    "FIN" => client
                        .peer
                        .stream
                        .get_mut()
                        .0
                        .stream
                        .shutdown()
                        .await
                        .unwrap(),
                    _ => {
                        let socket = socket2::SockRef::from(&client.peer.stream.get_ref().0.stream);
                        socket.set_linger(Some(Duration::ZERO)).unwrap();
                        drop(client);
                    }
                }
                let seen = tokio::time::timeout(Duration::from_secs(1), seen.recv()).await;
                let (at, cancelled) = seen
                    .unwrap_or_else(|_| panic!("never seen: {how}, {opened}"))
                    .unwrap();
                assert!(at - left < PROMPTLY && cancelled.is_proper(), "{how}");
            });
        }
    }
}

#[test]
fn what_is_written_in_one_turn_leaves_in_one_record() {
    run(|| async {
        let setup = Setup::new();
        let start = Instant::now();
        let url = backend(Http::Two, move |mut teller: Teller| async move {
            teller.open_events().await;
            let event = format!("data: {}\n\n", "x".repeat(500));
            for n in 1..=3 {
                sleep_until(start + Duration::from_secs(n)).await;
                teller.say(&event).await;
            }
            sleep(Duration::from_secs(1000)).await;
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, &setup.listener("")).await;
        let (stream, seen) = connect(&sidecar, offering(&setup, &["h2"])).await;
        let mut client = Raw {
            peer: Peer::over(stream),
        };
        client.settings(&[]).await;
        for stream in 0..20 {
            client.send(Frame::get(2 * stream + 1, "/")).await;
        }
        for _ in 0..20 {
            client.next_of(Kind::Headers).await;
        }
        for n in 1..=3 {
            sleep_until(start + Duration::from_millis(1000 * n - 1)).await;
            seen.borrow_mut().clear();
            for _ in 0..20 {
                assert_eq!(client.next_of(Kind::Data).await.payload.len(), 508);
            }
            let records = records(&seen.borrow());
            assert_eq!(records, 1, "at second {n}");
        }
    });
}

/// A backend over TLS that prefers the first of `protocols`, with one script for both.
async fn tls_backend<F: Future<Output = ()> + 'static>(
    setup: &Setup,
    protocols: &[&str],
    script: impl Fn(Teller) -> F + Clone + 'static,
) -> (String, Rc<Cell<usize>>) {
    let mut config = rustls::ServerConfig::clone(&setup.server());
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Rc::new(Cell::new(0));
    let counted = connections.clone();
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            counted.set(counted.get() + 1);
            let (acceptor, script) = (acceptor.clone(), script.clone());
            spawn_local(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    serve(stream, &script).await;
                    return;
                }
                let mut peer = Peer::over(stream);
                let head = peer.head().await.to_lowercase();
                if head.contains("upgrade: websocket") {
                    peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
                        .await;
                    let said = peer.until("!").await;
                    peer.send(said).await;
                } else {
                    assert!(!head.contains("upgrade"), "{head}");
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none")
                        .await;
                }
                peer.closed().await;
            });
        }
    });
    (url(address), connections)
}

async fn two(mut teller: Teller) {
    assert!(!teller.asked().contains("upgrade"), "{}", teller.asked());
    sleep(Duration::from_secs(1)).await;
    teller.open(200, "text/plain").await;
    teller.say("two").await;
    teller.end().await;
}

#[test]
fn an_encrypted_upstream_chooses() {
    for (protocols, says, connections) in [
        (&["h2", "http/1.1"][..], "two", 1),
        (&["h2"], "two", 1),
        (&["http/1.1"], "one", 5),
        (&[], "one", 5),
    ] {
        run(move || async move {
            let setup = Setup::new();
            let (url, counted) = tls_backend(&setup, protocols, two).await;
            let sidecar = Sidecar::in_front_of(&url, &setup.upstream("")).await;
            let client = Connection::to(&sidecar).await;
            let asking: Vec<_> = (0..5)
                .map(|_| {
                    let client = client.clone();
                    spawn_local(async move { client.get(request("GET")).await.unwrap().summary() })
                })
                .collect();
            for answer in asking {
                assert_eq!(answer.await.unwrap(), (200, says.to_owned(), true));
            }
            assert_eq!(counted.get(), connections, "{protocols:?}");
        });
    }
}

const WEB_SOCKET: &str =
    "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn a_web_socket_goes_over_http1_to_an_upstream_that_prefers_http2() {
    run(|| async {
        let setup = Setup::new();
        let (url, counted) = tls_backend(&setup, &["h2", "http/1.1"], two).await;
        let sidecar = Sidecar::in_front_of(&url, &setup.upstream("")).await;
        for round in 0..2 {
            let mut socket = sidecar.request(WEB_SOCKET).await;
            assert!(socket.head().await.starts_with("HTTP/1.1 101 "));
            socket.send("hello!").await;
            assert_eq!(socket.until("!").await, "hello!");
            // What else is asked goes over HTTP/2, and still together.
            let mut clients = Vec::new();
            for _ in 0..5 {
                clients.push(sidecar.request("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await);
            }
            for client in &mut clients {
                assert!(client.head().await.starts_with("HTTP/1.1 200 "));
                assert_eq!(client.chunk().await, "two");
            }
            assert_eq!(counted.get(), 2 + round);
        }
    });
}

#[test]
fn an_h2c_upstream_sees_no_upgrade() {
    run(|| async {
        let url = backend(Http::Two, two).await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        let mut client = sidecar.request(WEB_SOCKET).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        assert_eq!(client.chunk().await, "two");
    });
}
