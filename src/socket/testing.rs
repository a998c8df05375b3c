//! Two ends of a TLS connection with small socket buffers, for tests of writers.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use socket2::SockRef;
use tokio::io::AsyncWrite;
use tokio::net::UnixStream;

use super::Socket;

/// The server's end and the client's.
pub(crate) async fn tls_pair() -> (Socket, Socket) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key);
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (near, far) = UnixStream::pair().unwrap();
    SockRef::from(&near).set_send_buffer_size(4096).unwrap();
    let (near, far) = tokio::join!(
        Socket::Unix(near).accept_tls(Arc::new(server.unwrap())),
        Socket::Unix(far).connect_tls(Arc::new(client), "localhost".try_into().unwrap()),
    );
    (near.unwrap(), far.unwrap())
}

/// Writes to a socket of [`tls_pair`] until something that was written waits. Returns how much was.
pub(crate) async fn fill(writer: &mut (impl AsyncWrite + Unpin)) -> usize {
    let mut length = 0;
    poll_fn(|cx| {
        loop {
            let Poll::Ready(written) = Pin::new(&mut *writer).poll_write(cx, &[b'x'; 1000]) else {
                panic!("nothing waits, and no more is taken");
            };
            length += written.unwrap();
            if Pin::new(&mut *writer).poll_flush(cx).is_pending() {
                return Poll::Ready(length);
            }
        }
    })
    .await
}
