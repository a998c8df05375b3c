//! TLS on either side. The test's own ends speak it through tokio-rustls.

use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use sse_sidecar::tls::{self, ClientTls, PeerName};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::certificates::{Authority, Folder, Pair};
use crate::common::full_sockets;
use crate::common::{
    Closed, EVENTS, GET_EVENTS, LAST_CHUNK, Peer, Sidecar, backend, chunk, moment, run, watched,
};

static VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&version::TLS12], &[&version::TLS13]];

pub(crate) type TlsPeer = Peer<TlsStream<TcpStream>>;

/// A CA whose certificate is trusted on all sides, and a folder with it, and with a certificate of `localhost` for the sidecar.
pub(crate) struct Setup {
    ca: Authority,
    folder: Folder,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let (ca, folder) = (Authority::new(), Folder::new());
        folder.write("ca.crt", &ca.pem());
        folder.write_pair("own", &ca.issue("localhost"));
        Self { ca, folder }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The listener of the sidecar, with `more` keys of its TLS.
    pub(crate) fn listener(&self, more: &str) -> String {
        format!(
            "[[listener]]\ntls.certificate = '{}'\ntls.private_key = '{}'\n{more}\n",
            self.path("own/tls.crt"),
            self.path("own/tls.key")
        )
    }

    pub(crate) fn upstream(&self, more: &str) -> String {
        format!("[upstream]\ntls.ca = '{}'\n{more}\n", self.path("ca.crt"))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der()).unwrap();
        roots
    }

    pub(crate) fn client(
        &self,
        versions: &'static [&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_protocol_versions(versions);
        Arc::new(
            builder
                .with_root_certificates(self.roots())
                .with_no_client_auth(),
        )
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        server(&self.ca.issue("localhost"))
    }

    /// A connection to `sidecar` on which `request` was sent.
    pub(crate) async fn request(&self, sidecar: &Sidecar, request: &str) -> TlsPeer {
        let mut client = connect(sidecar, self.client(rustls::ALL_VERSIONS)).await;
        client.send(request).await;
        client
    }
}

fn parsed(pair: &Pair) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    (
        vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()],
        PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
    )
}

fn server(pair: &Pair) -> Arc<ServerConfig> {
    let (chain, key) = parsed(pair);
    let builder = ServerConfig::builder().with_no_client_auth();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

async fn try_connect(sidecar: &Sidecar, config: Arc<ClientConfig>) -> io::Result<TlsPeer> {
    let stream = TcpStream::connect(sidecar.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    Ok(Peer::over(stream.into()))
}

async fn connect(sidecar: &Sidecar, config: Arc<ClientConfig>) -> TlsPeer {
    try_connect(sidecar, config).await.unwrap()
}

/// A backend over TLS; a handshake that fails is none of its business.
pub(crate) async fn tls_backend<F: Future<Output = ()> + 'static>(
    config: Arc<ServerConfig>,
    script: impl Fn(TlsPeer) -> F + Clone + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(config);
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (acceptor, script) = (acceptor.clone(), script.clone());
            spawn_local(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    script(Peer::over(stream.into())).await;
                }
            });
        }
    });
    address
}

pub(crate) fn url(backend: SocketAddr) -> String {
    format!("https://localhost:{}", backend.port())
}

/// Sends `close_notify` and nothing else.
pub(crate) async fn say_goodbye(peer: &mut TlsPeer) {
    match &mut peer.stream {
        TlsStream::Client(stream) => stream.get_mut().1.send_close_notify(),
        TlsStream::Server(stream) => stream.get_mut().1.send_close_notify(),
    }
    peer.stream.flush().await.unwrap();
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n";
const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe first part";
const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
const CLOSE: &str = "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";

/// What a backend does in `an_event_stream_passes_with_its_heartbeats`.
async fn speak<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(mut peer: Peer<S>) {
    let head = peer.head().await.to_lowercase();
    assert!(head.contains("x-forwarded-proto: https"), "{head}");
    assert!(head.contains(";proto=https\r\n"), "{head}");
    peer.send(EVENTS).await;
    for n in 0..5 {
        peer.send(chunk(format!("data: {n}\n\n"))).await;
        sleep(Duration::from_secs(20)).await;
    }
    peer.send(LAST_CHUNK).await;
    peer.closed().await;
}

#[test]
fn an_event_stream_passes_with_its_heartbeats() {
    for versions in VERSIONS {
        for encrypted_upstream in [false, true] {
            run(move || async move {
                let setup = Setup::new();
                let sidecar = if encrypted_upstream {
                    let backend = tls_backend(setup.server(), speak).await;
                    let toml = setup.upstream("") + &setup.listener("");
                    Sidecar::in_front_of(&url(backend), &toml).await
                } else {
                    let backend = backend(speak).await;
                    Sidecar::start(backend, &setup.listener("")).await
                };
                let mut client = connect(&sidecar, setup.client(versions)).await;
                client.send(GET_EVENTS).await;
                client.head().await;
                let start = Instant::now();
                for n in 0..5 {
                    assert_eq!(client.chunk().await, format!("data: {n}\n\n"));
                    assert_eq!(start.elapsed(), Duration::from_secs(20 * n));
                    assert_eq!(client.chunk().await, ": heartbeat\n");
                    assert_eq!(start.elapsed(), Duration::from_secs(20 * n + 15));
                }
                assert_eq!(client.chunk().await, "");
            });
        }
    }
}

#[test]
fn an_encrypted_upstream_of_a_plain_listener() {
    run(|| async {
        let setup = Setup::new();
        let backend = tls_backend(setup.server(), |mut peer| async move {
            let head = peer.head().await.to_lowercase();
            assert!(head.contains("x-forwarded-proto: http\r\n"), "{head}");
            peer.send(STREAM).await;
            sleep(Duration::from_secs(1)).await;
            peer.send("data: y\n\n").await;
            peer.stream.shutdown().await.unwrap();
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        let (body, complete) = client.chunks().await;
        assert_eq!(body, b"data: x\n\ndata: y\n\n");
        assert!(complete);
    });
}

#[test]
fn a_client_that_leaves_cancels_its_request() {
    for says in ["", STREAM, PLAIN] {
        for pipelined in [false, true] {
            for how in ["in order", "close_notify", "FIN", "RST"] {
                if pipelined && how == "close_notify" {
                    continue; // it is behind bytes that nobody may read yet
                }
                run(move || async move {
                    let setup = Setup::new();
                    let (backend, mut seen) = watched(says).await;
                    let sidecar = Sidecar::start(backend, &setup.listener("")).await;
                    let mut client = setup.request(&sidecar, GET_EVENTS).await;
                    if !says.is_empty() {
                        client.head().await;
                    }
                    sleep(Duration::from_millis(10)).await;
                    if pipelined {
                        client.send(GET).await;
                        sleep(Duration::from_millis(10)).await;
                    }
                    let left = Instant::now();
                    match how {
                        "in order" => client.stream.shutdown().await.unwrap(),
                        "close_notify" => say_goodbye(&mut client).await,
                        "FIN" => drop(client),
                        "RST" => {
                            let (stream, _) = client.stream.get_ref();
                            let socket = socket2::SockRef::from(stream);
                            socket.set_linger(Some(Duration::ZERO)).unwrap();
                            drop(client);
                        }
                        _ => unreachable!(),
                    }
                    let case = format!("{says:?}, {pipelined}, {how}");
                    let seen = timeout(Duration::from_secs(1), seen.recv()).await;
                    let (at, _) = seen
                        .unwrap_or_else(|_| panic!("never seen: {case}"))
                        .unwrap();
                    assert_eq!(at, left, "{case}");
                });
            }
        }
    }
}

/// How a backend ends a response over TLS.
#[derive(Debug, Clone, Copy)]
enum Ends {
    InOrder,
    /// Without `close_notify`.
    Cut,
}

#[test]
fn what_an_upstream_leaves_unfinished() {
    let whole = [
        EVENTS.as_bytes(),
        &chunk("data: x\n\n"),
        LAST_CHUNK.as_bytes(),
    ]
    .concat();
    let no_last_chunk = [EVENTS.as_bytes(), &chunk("data: x\n\n")].concat();
    let close = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it".to_vec();
    let half = [STREAM.as_bytes(), b"data: ha"].concat();
    let length = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
    for (says, ends, complete) in [
        (whole, Ends::Cut, true),
        (no_last_chunk, Ends::Cut, false),
        (STREAM.as_bytes().to_vec(), Ends::InOrder, true),
        (STREAM.as_bytes().to_vec(), Ends::Cut, true),
        (half.clone(), Ends::InOrder, true),
        (half, Ends::Cut, false),
        (PLAIN.as_bytes().to_vec(), Ends::InOrder, false),
        (close.clone(), Ends::InOrder, true),
        (close, Ends::Cut, false),
        (length, Ends::Cut, true),
    ] {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let says = says.clone();
            run(move || async move {
                let case = format!("{} {ends:?} {version}", says.escape_ascii());
                let setup = Setup::new();
                let backend = tls_backend(setup.server(), move |mut peer| {
                    let says = says.clone();
                    async move {
                        peer.head().await;
                        peer.send(says).await;
                        sleep(Duration::from_secs(1)).await;
                        if let Ends::InOrder = ends {
                            peer.stream.shutdown().await.unwrap();
                        }
                    }
                })
                .await;
                let toml = setup.upstream("") + &setup.listener("");
                let sidecar = Sidecar::in_front_of(&url(backend), &toml).await;
                let request = format!("GET / {version}\r\nHost: t\r\nConnection: close\r\n\r\n");
                let mut client = setup.request(&sidecar, &request).await;
                client.head().await;
                let (body, closed) = client.rest().await;
                match closed {
                    Closed::Fin => assert!(complete, "{case}"),
                    Closed::Cut | Closed::Reset => assert!(!complete, "{case}"),
                }
                if version == "HTTP/1.1" && body.starts_with(b"9\r\n") {
                    assert_eq!(body.ends_with(b"\r\n0\r\n\r\n"), complete, "{case}");
                }
            });
        }
    }
}

#[test]
fn what_an_upstream_leaves_unfinished_while_it_is_still_sent_to() {
    let chunked = [EVENTS.as_bytes(), &chunk("data: x\n\n")].concat();
    let half = [STREAM.as_bytes(), b"data: ha"].concat();
    for (says, complete, reason) in [
        (STREAM.as_bytes().to_vec(), true, ("complete", "none")),
        (half, false, ("upstream_closed", "upstream")),
        (chunked, false, ("upstream_closed", "upstream")),
    ] {
        run(move || async move {
            let setup = Setup::new();
            let backend = tls_backend(setup.server(), move |mut peer| {
                let says = says.clone();
                async move {
                    peer.until("the first part").await;
                    peer.send(says).await;
                    sleep(Duration::from_secs(1)).await;
                }
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
            let upload = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nthe first part";
            let mut client = sidecar.request(upload).await;
            client.head().await;
            assert_eq!(client.chunks().await.1, complete);
            assert!(
                (sidecar.ends(reason.0, reason.1) - 1.0).abs() < 0.1,
                "{reason:?}"
            );
        });
    }
}

#[test]
fn a_client_that_takes_nothing_is_dropped() {
    // Large events wait in hyper, small ones may wait in the TLS session alone.
    for size in [100_000, 100] {
        run(move || async move {
            let setup = Setup::new();
            let (stalled, mut seen) = moment();
            let backend = backend(move |mut peer| {
                let stalled = stalled.clone();
                async move {
                    peer.head().await;
                    peer.send(EVENTS).await;
                    let event = chunk(format!("data: {}\n\n", "x".repeat(size)));
                    for _ in 0..100_000_000 / size {
                        if peer.stream.write_all(&event).await.is_err() {
                            break;
                        }
                    }
                    stalled(peer.closed().await);
                }
            })
            .await;
            let sidecar = Sidecar::start(backend, &setup.listener("")).await;
            let mut client = setup.request(&sidecar, GET_EVENTS).await;
            client.head().await;
            full_sockets(&sidecar).await;
            let start = Instant::now();
            let (at, _) = seen.recv().await.unwrap();
            let after = (at - start).as_secs_f64();
            assert!((29.9..38.0).contains(&after), "{after}");
            assert!((sidecar.ends("client_stalled", "client") - 1.0).abs() < 0.1);
        });
    }
}

#[test]
fn a_handshake_that_stops_is_dropped_in_time() {
    for (says, after) in [
        (&b""[..], 10),
        // A ClientHello of which the greater part is missing.
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdef", 10),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 0),
        (b"\x00\xff\x80\x17", 0),
    ] {
        run(move || async move {
            let setup = Setup::new();
            let (backend, _seen) = watched(STREAM).await;
            let sidecar = Sidecar::start(backend, &setup.listener("")).await;
            // Another client notices nothing.
            let mut good = setup.request(&sidecar, GET_EVENTS).await;
            good.head().await;
            let mut bad = sidecar.connect().await;
            let start = Instant::now();
            bad.send(says).await;
            bad.closed().await;
            let case = says.escape_ascii();
            assert_eq!(start.elapsed(), Duration::from_secs(after), "{case}");
            assert!((sidecar.metric("sse_sidecar_tls_handshakes_failed_total") - 1.0).abs() < 0.1);
            let mut another = setup.request(&sidecar, GET_EVENTS).await;
            another.head().await;
        });
    }
}

#[test]
fn plain_http_is_told_that_this_port_speaks_tls() {
    for says in [
        "GET / HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(),
        "G".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        // As much as it likes to send: none of it resets the connection before the answer is read.
        format!("POST / HTTP/1.1\r\nHost: t\r\n\r\n{}", "x".repeat(500_000)),
    ] {
        run(move || async move {
            let setup = Setup::new();
            let (backend, _seen) = watched(STREAM).await;
            let sidecar = Sidecar::start(backend, &setup.listener("")).await;
            let mut client = sidecar.request(&says).await;
            let start = Instant::now();
            let (answer, closed) = client.rest().await;
            let answer = String::from_utf8(answer).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
                "{answer}"
            );
            assert!(answer.contains("content-type: text/plain; charset=utf-8\r\n"));
            assert!(answer.contains("connection: close\r\n"), "{answer}");
            assert!(answer.ends_with("This port speaks TLS: use https:// (tls_expected)\n"));
            assert_eq!(closed, Closed::Fin);
            assert_eq!(start.elapsed(), Duration::ZERO);
            sleep(Duration::from_secs(2)).await; // it is listened to for a second
            let refused = "sse_sidecar_refused_total{reason=\"tls_expected\",side=\"client\"}";
            assert!((sidecar.metric(refused) - 1.0).abs() < 0.1);
            assert!(sidecar.metric("sse_sidecar_tls_handshakes_failed_total") < 0.1);
            let mut another = setup.request(&sidecar, GET_EVENTS).await;
            another.head().await;
        });
    }
}

#[test]
fn a_client_that_leaves_in_the_handshake_is_let_go() {
    run(|| async {
        let setup = Setup::new();
        let (backend, _seen) = watched(STREAM).await;
        let sidecar = Sidecar::start(backend, &setup.listener("")).await;
        for (failed, says) in [(1.0, &b""[..]), (2.0, b"\x16\x03\x01\x02\x00\x01")] {
            let mut client = sidecar.connect().await;
            client.send(says).await;
            drop(client);
            sleep(Duration::from_millis(1)).await;
            let counted = sidecar.metric("sse_sidecar_tls_handshakes_failed_total");
            assert!((counted - failed).abs() < 0.1);
        }
    });
}

#[test]
fn a_client_certificate_is_required_where_its_ca_is_named() {
    run(|| async {
        let setup = Setup::new();
        let (backend, _seen) = watched(STREAM).await;
        let client_ca = format!("tls.client_ca = '{}'", setup.path("ca.crt"));
        let sidecar = Sidecar::start(backend, &setup.listener(&client_ca)).await;
        let with = |pair: &Pair| {
            let (chain, key) = parsed(pair);
            let builder = ClientConfig::builder().with_root_certificates(setup.roots());
            Arc::new(builder.with_client_auth_cert(chain, key).unwrap())
        };
        let mut right = connect(&sidecar, with(&setup.ca.issue("me"))).await;
        right.send(GET_EVENTS).await;
        assert!(right.head().await.starts_with("HTTP/1.1 200 "));

        let of_another = with(&Authority::new().issue("me"));
        for wrong in [setup.client(rustls::ALL_VERSIONS), of_another] {
            // With TLS 1.3 the client learns of it when it reads.
            let refused = match try_connect(&sidecar, wrong).await {
                Err(error) => error,
                Ok(mut client) => {
                    use tokio::io::AsyncReadExt;
                    client.stream.read(&mut [0]).await.unwrap_err()
                }
            };
            assert!(refused.to_string().contains("alert"), "{refused}");
        }
        assert!((sidecar.metric("sse_sidecar_tls_handshakes_failed_total") - 2.0).abs() < 0.1);
    });
}

#[test]
fn an_upstream_that_is_not_the_right_one_is_502() {
    run(|| async {
        let setup = Setup::new();
        let ca = &setup.ca;
        for (pair, detail) in [
            (ca.issue("elsewhere.example"), "is only valid for"),
            (Authority::new().issue("localhost"), "unknown issuer"),
            (ca.issue_expired("localhost"), "has expired"),
        ] {
            let backend = tls_backend(server(&pair), |mut peer| async move {
                peer.head().await;
                panic!("a request went to the wrong upstream");
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
            let mut client = sidecar.request(CLOSE).await;
            let head = client.head().await;
            let (body, _) = client.rest().await;
            let body = String::from_utf8(body).unwrap();
            assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
            assert!(body.contains("\"upstream_tls_failed\""), "{body}");
            assert!(body.contains(detail), "{body}");
        }
        for (says, detail) in [
            ("HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer in TLS"),
            ("", "closed the connection"),
        ] {
            let backend = backend(move |mut peer| async move {
                peer.stream.readable().await.unwrap();
                let _ = peer.stream.try_read(&mut [0; 4096]);
                peer.send(says).await;
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
            let (body, _) = sidecar.request(CLOSE).await.rest().await;
            let body = String::from_utf8(body).unwrap();
            assert!(body.contains("\"upstream_tls_failed\""), "{body}");
            assert!(body.contains(detail), "{body}");
        }
    });
}

#[test]
fn an_upstream_that_is_its_own_ca_is_named_itself() {
    run(|| async {
        let setup = Setup::new();
        let own = Authority::issue_to_itself("localhost", 2999);
        let others = Authority::issue_to_itself("localhost", 2999);
        let elsewhere = Authority::issue_to_itself("elsewhere.example", 2999);
        let expired = Authority::issue_to_itself("localhost", 2001);
        for (shown, named, accepted) in [
            (&own, &own, true),
            (&own, &others, false),
            (&elsewhere, &elsewhere, false),
            (&expired, &expired, false),
        ] {
            setup.folder.write("ca.crt", &named.certificate);
            let backend = tls_backend(server(shown), |mut peer| async move {
                peer.head().await;
                peer.send(PLAIN).await;
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
            let head = sidecar.request(GET).await.head().await;
            assert_eq!(head.starts_with("HTTP/1.1 200 "), accepted, "{head}");
        }
    });
}

#[test]
fn the_connect_clock_runs_for_the_handshake() {
    run(|| async {
        let setup = Setup::new();
        let (backend, _seen) = watched("").await; // waits for a head that is none
        let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
        let start = Instant::now();
        let (answer, _) = sidecar.request(CLOSE).await.rest().await;
        assert!(answer.starts_with(b"HTTP/1.1 504 "));
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    });
}

#[test]
fn an_upstream_is_known_by_another_name_or_by_its_address() {
    run(|| async {
        let setup = Setup::new();
        for (issued, host, more) in [
            (
                "api.example",
                "localhost",
                "tls.server_name = 'api.example'",
            ),
            ("127.0.0.1", "127.0.0.1", ""),
        ] {
            let config = server(&setup.ca.issue(issued));
            let backend = tls_backend(config, |mut peer| async move {
                peer.head().await;
                peer.send(PLAIN).await;
            })
            .await;
            let url = format!("https://{host}:{}", backend.port());
            let sidecar = Sidecar::in_front_of(&url, &setup.upstream(more)).await;
            let head = sidecar.request(GET).await.head().await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        }
    });
}

#[test]
fn an_upstream_may_ask_for_a_certificate() {
    for versions in VERSIONS {
        run(move || async move {
            let setup = Setup::new();
            let verifier = WebPkiClientVerifier::builder(Arc::new(setup.roots())).build();
            let (chain, key) = parsed(&setup.ca.issue("localhost"));
            let config = ServerConfig::builder_with_protocol_versions(versions)
                .with_client_cert_verifier(verifier.unwrap())
                .with_single_cert(chain, key)
                .unwrap();
            let backend = tls_backend(Arc::new(config), |mut peer| async move {
                peer.head().await;
                peer.send(PLAIN).await;
            })
            .await;
            let identity = format!(
                "tls.certificate = '{}'\ntls.private_key = '{}'",
                setup.path("own/tls.crt"),
                setup.path("own/tls.key")
            );
            for (more, status) in [(identity.as_str(), 200), ("", 502)] {
                let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream(more)).await;
                let mut client = sidecar.request(GET).await;
                let head = client.head().await;
                assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
                if status == 502 {
                    let body = client.until("}").await;
                    assert!(body.contains("\"upstream_tls_failed\""), "{body}");
                }
            }
        });
    }
}

/// The certificate that `client` was shown.
fn shown(client: &TlsPeer) -> CertificateDer<'static> {
    let (_, session) = client.stream.get_ref();
    session.peer_certificates().unwrap()[0].clone().into_owned()
}

fn certificate(pair: &Pair) -> CertificateDer<'static> {
    parsed(pair).0.remove(0)
}

#[test]
fn certificates_are_swapped_under_open_streams() {
    run(|| async {
        let setup = Setup::new();
        let (first, second) = (setup.ca.issue("localhost"), setup.ca.issue("localhost"));
        // As Kubernetes mounts a secret: own/tls.crt -> own/..data/tls.crt, own/..data -> a folder of this version.
        let folder = &setup.folder;
        let data = folder.join("own/..data");
        folder.write_pair("first", &first);
        folder.write_pair("second", &second);
        std::os::unix::fs::symlink(folder.join("first"), &data).unwrap();
        for name in ["tls.crt", "tls.key"] {
            std::fs::remove_file(folder.join("own").join(name)).unwrap();
            let link = folder.join("own").join(name);
            std::os::unix::fs::symlink(format!("..data/{name}"), link).unwrap();
        }
        let backend = backend(speak).await;
        let sidecar = Sidecar::start(backend, &setup.listener("")).await;
        let mut old = setup.request(&sidecar, GET_EVENTS).await;
        old.head().await;
        assert_eq!(shown(&old), certificate(&first));

        let next = folder.join("own/..data_tmp");
        std::os::unix::fs::symlink(folder.join("second"), &next).unwrap();
        std::fs::rename(next, data).unwrap();
        sleep(Duration::from_secs(6)).await;
        let new = setup.request(&sidecar, GET_EVENTS).await;
        assert_eq!(shown(&new), certificate(&second));

        for n in 0..5 {
            assert_eq!(old.chunk().await, format!("data: {n}\n\n"));
            assert_eq!(old.chunk().await, ": heartbeat\n");
        }
        assert_eq!(old.chunk().await, "");
    });
}

#[test]
fn files_that_are_no_good_change_nothing_and_are_told_of_once() {
    const UNUSABLE: &str = "certificates changed, but not to something usable";
    const TAKEN_UP: &str = "certificates changed: new connections use the new ones";
    run(|| async {
        let log = Log::default();
        let for_log = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || for_log.clone());
        let _logging = tracing::subscriber::set_default(subscriber.finish());
        // While there is one subscriber only, a line that another test's thread is the first to come by is judged by that
        // thread's, which is none, and for all.
        let _another = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
        let setup = Setup::new();
        let (first, second) = (setup.ca.issue("localhost"), setup.ca.issue("localhost"));
        setup.folder.write_pair("own", &first);
        let (backend, _seen) = watched(STREAM).await;
        let sidecar = Sidecar::start(backend, &setup.listener("")).await;
        for bad in [
            &second.certificate, // its key is not there yet
            "",
            "-----BEGIN CERTIFICATE-----\nAAAA",
        ] {
            setup.folder.write("own/tls.crt", bad);
            sleep(Duration::from_secs(11)).await;
            let client = setup.request(&sidecar, GET_EVENTS).await;
            assert_eq!(shown(&client), certificate(&first), "{bad}");
        }
        std::fs::remove_file(setup.folder.join("own/tls.key")).unwrap();
        sleep(Duration::from_secs(11)).await;
        assert_eq!(log.count(UNUSABLE), 4, "each time once");
        assert_eq!(log.count(TAKEN_UP), 0);
        setup.folder.write_pair("own", &second);
        sleep(Duration::from_secs(6)).await;
        let client = setup.request(&sidecar, GET_EVENTS).await;
        assert_eq!(shown(&client), certificate(&second));
        assert_eq!((log.count(UNUSABLE), log.count(TAKEN_UP)), (4, 1));
    });
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn count(&self, what: &str) -> usize {
        let log = self.0.lock().unwrap();
        String::from_utf8_lossy(&log).matches(what).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_upstreams_new_ca_is_believed() {
    run(|| async {
        let setup = Setup::new();
        let new = Authority::new();
        let backend = tls_backend(server(&new.issue("localhost")), |mut peer| async move {
            peer.head().await;
            peer.send(PLAIN).await;
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
        let head = sidecar.request(GET).await.head().await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        setup.folder.write("ca.crt", &new.pem());
        sleep(Duration::from_secs(6)).await;
        let head = sidecar.request(GET).await.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    });
}

#[test]
fn files_are_looked_at_when_it_is_asked_for_and_as_long_as_somebody_goes_by_them() {
    run(|| async {
        let setup = Setup::new();
        let settings = ClientTls {
            ca: Some(setup.folder.join("ca.crt")),
            identity: None,
            server_name: PeerName::Fixed("localhost".try_into().unwrap()),
        };
        let second = Duration::from_secs(1);
        let look = watch::Sender::new(());
        let (reloading, watcher) = tls::watch(settings).unwrap();
        let watching = spawn_local(watcher.run(look.subscribe()));
        let before = reloading.current();
        setup.folder.write("ca.crt", &Authority::new().pem());
        sleep(second).await;
        assert!(Arc::ptr_eq(&before, &reloading.current()));
        look.send_replace(());
        sleep(second).await;
        assert!(!Arc::ptr_eq(&before, &reloading.current()));
        drop(reloading);
        timeout(second, watching).await.unwrap().unwrap();
    });
}

#[test]
fn large_bodies_pass_unharmed_both_ways() {
    const SIZE: usize = 10_000_000;
    run(|| async {
        tokio::time::resume(); // so much takes the kernel a while, in which a paused clock would run ahead
        let setup = Setup::new();
        let body: Arc<Vec<u8>> = Arc::new((0..=250).cycle().take(SIZE).collect());
        let expected = body.clone();
        let backend = tls_backend(setup.server(), move |mut peer| {
            let body = expected.clone();
            async move {
                use tokio::io::AsyncReadExt;
                let head = peer.head().await;
                assert!(head.to_lowercase().contains("content-length: 10000000\r\n"));
                let mut seen = peer.take();
                let read = seen.len();
                seen.resize(SIZE, 0);
                peer.stream.read_exact(&mut seen[read..]).await.unwrap();
                assert!(seen == *body, "the upload is another");
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))
                    .await;
                peer.send(&*body).await;
                peer.closed().await;
            }
        })
        .await;
        let toml = setup.upstream("") + &setup.listener("");
        let sidecar = Sidecar::in_front_of(&url(backend), &toml).await;
        let head = format!(
            "POST / HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n"
        );
        let mut client = setup.request(&sidecar, &head).await;
        client.send(&*body).await;
        client.head().await;
        let (seen, closed) = client.rest().await;
        assert!(seen == *body, "the download is another");
        assert_eq!(closed, Closed::Fin);
    });
}

#[test]
fn connections_are_kept_on_both_sides() {
    run(|| async {
        let setup = Setup::new();
        let backend = tls_backend(setup.server(), |mut peer| async move {
            loop {
                peer.head().await;
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
            }
        })
        .await;
        let toml = setup.upstream("") + &setup.listener("");
        let sidecar = Sidecar::in_front_of(&url(backend), &toml).await;
        let mut client = connect(&sidecar, setup.client(rustls::ALL_VERSIONS)).await;
        client.send(GET.repeat(3)).await; // pipelined
        for _ in 0..3 {
            client.head().await;
            client.until("ok").await;
        }
        for _ in 0..3 {
            sleep(Duration::from_secs(1)).await;
            client.send(GET).await;
            client.head().await;
            client.until("ok").await;
        }
        assert!((sidecar.metric("sse_sidecar_upstream_connects_total") - 1.0).abs() < 0.1);
        assert!((sidecar.metric("sse_sidecar_upstream_reuses_total") - 5.0).abs() < 0.1);
        assert_eq!(
            client.closed().await,
            Closed::Fin,
            "`keep_alive` ends it in order"
        );
    });
}

#[test]
fn a_kept_connection_that_the_upstream_closed_is_not_used() {
    for in_order in [true, false] {
        run(move || async move {
            let setup = Setup::new();
            let backend = tls_backend(setup.server(), move |mut peer| async move {
                peer.head().await;
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
                if in_order {
                    peer.stream.shutdown().await.unwrap();
                }
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url(backend), &setup.upstream("")).await;
            let mut client = sidecar.connect().await;
            for _ in 0..3 {
                client.send(GET.replace("GET", "POST")).await;
                let head = client.head().await;
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                client.until("ok").await;
                sleep(Duration::from_millis(1)).await;
            }
        });
    }
}

#[test]
fn both_sides_agree_on_the_protocol() {
    run(|| async {
        let setup = Setup::new();
        let mut config = Arc::unwrap_or_clone(setup.server());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (agreed, mut seen) = moment();
        let backend = tls_backend(Arc::new(config), move |mut peer| {
            let (_, session) = peer.stream.get_ref();
            agreed(session.alpn_protocol().map(<[u8]>::to_vec));
            async move {
                peer.head().await;
                peer.send(PLAIN).await;
            }
        })
        .await;
        let toml = setup.upstream("") + &setup.listener("");
        let sidecar = Sidecar::in_front_of(&url(backend), &toml).await;
        for (offered, agreed) in [
            (
                &[&b"acme/1"[..], b"http/1.0", b"http/1.1"][..],
                &b"http/1.1"[..],
            ),
            (&[b"http/1.0"], b"http/1.0"), // by curl
        ] {
            let mut config = Arc::unwrap_or_clone(setup.client(rustls::ALL_VERSIONS));
            config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
            let mut client = connect(&sidecar, Arc::new(config)).await;
            let (_, session) = client.stream.get_ref();
            assert_eq!(session.alpn_protocol(), Some(agreed));
            client.send(GET).await;
            assert!(client.head().await.starts_with("HTTP/1.1 200 "));
            assert_eq!(seen.recv().await.unwrap().1, Some(b"http/1.1".to_vec()));
        }
    });
}

#[test]
fn a_refused_request_is_told_so() {
    run(|| async {
        let setup = Setup::new();
        let (backend, _seen) = watched("").await;
        let sidecar = Sidecar::start(backend, &setup.listener("")).await;
        let mut client = setup
            .request(&sidecar, "GET / HTTP/1.1\nbare: LF\n\n")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 400 "));
        assert_eq!(client.closed().await, Closed::Fin);
    });
}

#[test]
fn a_connection_that_changes_its_protocol() {
    run(|| async {
        let setup = Setup::new();
        let backend = tls_backend(setup.server(), |mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst")
                .await;
            for n in 0..100 {
                peer.send(format!("ping {n};")).await;
                peer.until(&format!("pong {n};")).await;
            }
            assert_eq!(peer.closed().await, Closed::Fin);
            peer.send("last words").await;
            peer.stream.shutdown().await.unwrap();
        })
        .await;
        let toml = setup.upstream("") + &setup.listener("");
        let sidecar = Sidecar::in_front_of(&url(backend), &toml).await;
        let offer =
            "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let mut client = setup.request(&sidecar, offer).await;
        assert!(client.head().await.starts_with("HTTP/1.1 101 "));
        client.until("first").await;
        for n in 0..100 {
            client.until(&format!("ping {n};")).await;
            client.send(format!("pong {n};")).await;
        }
        say_goodbye(&mut client).await;
        assert_eq!(client.rest().await, (b"last words".to_vec(), Closed::Fin));
    });
}
