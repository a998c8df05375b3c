//! TLS on either side. The test's own ends speak it through tokio-rustls.

mod connections;
mod handshakes;
mod reloading;
mod streams;
mod upstreams;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::sleep;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::certificates::{Authority, Folder, Pair};
use crate::common::{EVENTS, LAST_CHUNK, Peer, Sidecar, chunk};

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

/// The certificate that `client` was shown.
fn shown(client: &TlsPeer) -> CertificateDer<'static> {
    let (_, session) = client.stream.get_ref();
    session.peer_certificates().unwrap()[0].clone().into_owned()
}

fn certificate(pair: &Pair) -> CertificateDer<'static> {
    parsed(pair).0.remove(0)
}
