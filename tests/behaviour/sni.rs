//! Certificates by name, on either side, and whose certificate a client has.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sse_sidecar::tls::{self, Identity, ServerTls};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::sleep;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::certificates::{Authority, Folder, Pair};
use crate::common::{EVENTS, Peer, Sidecar, backend, moment, run};
use crate::either::{Connection, request};

/// What a client trusts, shows, and speaks.
fn client(ca: &Authority, own: Option<&Pair>, protocol: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![der(pair)], key).unwrap()
        }
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Arc::new(config)
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
}

async fn connect(
    sidecar: &Sidecar,
    config: &Arc<ClientConfig>,
    name: &str,
) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(sidecar.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(config.clone());
    connector.connect(name, stream).await.unwrap().into()
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].clone().into_owned()
}

/// A listener with the pairs in these folders, the first of them beside the list.
fn listener(folder: &Folder, names: &[&str], more: &str) -> String {
    let pair = |name: &&str| {
        let file = |file| folder.join(&format!("{name}/{file}")).display().to_string();
        format!(
            "{{ certificate = '{}', private_key = '{}' }}",
            file("tls.crt"),
            file("tls.key")
        )
    };
    let list: Vec<String> = names.iter().map(pair).collect();
    format!(
        "[[listener]]\ntls.certificates = [{}]\n{more}\n",
        list.join(", ")
    )
}

#[test]
fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for_and_a_new_one_when_it_changes() {
    run(|| async {
        let (ca, folder) = (Authority::new(), Folder::new());
        let (first, shop, wild) = (
            ca.issue("first.example"),
            ca.issue("shop.example"),
            ca.issue("*.wild.example"),
        );
        folder.write_pair("first", &first);
        folder.write_pair("shop", &shop);
        folder.write_pair("wild", &wild);
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.send(EVENTS).await;
            peer.closed().await;
        })
        .await;
        let toml = listener(&folder, &["first", "shop", "wild"], "");
        let sidecar = Sidecar::start(backend, &toml).await;
        for protocol in ["http/1.1", "h2"] {
            let config = client(&ca, None, protocol);
            for (name, expected) in [
                ("first.example", &first),
                ("shop.example", &shop),
                ("a.wild.example", &wild),
            ] {
                let stream = connect(&sidecar, &config, name).await;
                assert_eq!(shown(&stream), der(expected), "{name}");
                if protocol == "h2" {
                    let http2 = Connection::over(stream, |_| {}).await;
                    let mut asker = http2.ask("").await;
                    assert!(asker.head().await.starts_with("http/2 200"));
                } else {
                    let mut peer = Peer::over(stream);
                    peer.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await;
                    assert!(peer.head().await.starts_with("HTTP/1.1 200"));
                }
            }
            // No certificate has it: the first one is presented, which the client rejects.
            let stream = TcpStream::connect(sidecar.address).await.unwrap();
            let other = ServerName::try_from("b.a.wild.example").unwrap();
            let refused = TlsConnector::from(config).connect(other, stream).await;
            assert!(refused.unwrap_err().to_string().contains("first.example"));
        }
        let renewed = ca.issue("shop.example");
        folder.write_pair("shop", &renewed);
        sleep(Duration::from_secs(6)).await;
        let config = client(&ca, None, "http/1.1");
        assert_eq!(
            shown(&connect(&sidecar, &config, "shop.example").await),
            der(&renewed)
        );
        assert_eq!(
            shown(&connect(&sidecar, &config, "first.example").await),
            der(&first)
        );
    });
}

#[test]
fn a_backend_gets_the_clients_certificate_and_no_other() {
    run(|| async {
        let (ca, folder) = (Authority::new(), Folder::new());
        folder.write("ca.crt", &ca.pem());
        folder.write_pair("own", &ca.issue("localhost"));
        let (came, mut seen) = moment();
        let backend = backend(move |mut peer| {
            let came = came.clone();
            async move {
                while let Some(head) = peer.try_head().await {
                    came(head.to_lowercase());
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .await;
                }
            }
        })
        .await;
        let forward = "[access]\nforward_certificate = true\n";
        let client_ca = format!(
            "tls.client_ca = '{}'\n{forward}",
            folder.join("ca.crt").display()
        );
        let sidecar = Sidecar::start(backend, &listener(&folder, &["own"], &client_ca)).await;
        let me = ca.issue("me");
        let forged = "Client-Cert: :Zm9yZ2Vk:\r\nClient-Cert-Chain: :Zm9yZ2Vk:\r\nClient_Cert: :Zm9yZ2Vk:\r\nConnection: Client-Cert\r\n";
        let expected = base64::engine::general_purpose::STANDARD
            .encode(der(&me))
            .to_lowercase();
        let expected = format!("\r\nclient-cert: :{expected}:\r\n");

        let stream = connect(&sidecar, &client(&ca, Some(&me), "http/1.1"), "localhost").await;
        let mut peer = Peer::over(stream);
        peer.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{forged}\r\n"))
            .await;
        peer.head().await;
        let head = seen.recv().await.unwrap().1;
        assert!(head.contains(&expected), "{head}");
        assert!(!head.contains("zm9yz2vk"), "{head}");

        let stream = connect(&sidecar, &client(&ca, Some(&me), "h2"), "localhost").await;
        let http2 = Connection::over(stream, |_| {}).await;
        http2
            .get(request("GET").header("client-cert", ":Zm9yZ2Vk:"))
            .await
            .unwrap();
        let head = seen.recv().await.unwrap().1;
        assert!(
            head.contains(&expected) && !head.contains("zm9yz2vk"),
            "{head}"
        );

        for toml in ["", forward] {
            let plain = Sidecar::start(backend, toml).await;
            let mut peer = plain
                .request(&format!("GET / HTTP/1.1\r\nHost: a\r\n{forged}\r\n"))
                .await;
            peer.head().await;
            let head = seen.recv().await.unwrap().1;
            assert!(
                !head.contains("client-cert") && !head.contains("client_cert"),
                "{head}"
            );
            let trusting = format!("{toml}\n[server]\ntrusted_proxies = ['127.0.0.1']\n");
            let behind = Sidecar::start(backend, &trusting).await;
            let told = "GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: :Zm9yZ2Vk:\r\n\r\n";
            behind.request(told).await.head().await;
            let head = seen.recv().await.unwrap().1;
            assert!(head.contains("client-cert: :zm9yz2vk:"), "{head}");
        }
    });
}

/// A backend that has a certificate for each of two names, and says which name was asked for.
async fn two_names(folder: &Folder) -> std::net::SocketAddr {
    let identity = |name: &str| Identity {
        certificate: folder.join(&format!("{name}/tls.crt")),
        private_key: folder.join(&format!("{name}/tls.key")),
    };
    let settings = ServerTls {
        identity: identity("one"),
        others: vec![identity("two")],
        client_ca: None,
    };
    let (config, _watcher) = tls::watch(settings).unwrap();
    let mut config = Arc::unwrap_or_clone(config.current());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Its session tickets and its response are two small writes: the second would wait for an acknowledgement.
            stream.set_nodelay(true).unwrap();
            let acceptor = acceptor.clone();
            spawn_local(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let asked = stream
                    .get_ref()
                    .1
                    .server_name()
                    .unwrap_or("nobody")
                    .to_owned();
                let mut peer = Peer::over(TlsStream::from(stream));
                while peer.try_head().await.is_some() {
                    let head =
                        format!("HTTP/1.1 200 OK\r\nX-Asked: {asked}\r\nContent-Length: 0\r\n\r\n");
                    peer.send(head).await;
                }
            });
        }
    });
    address
}

#[test]
fn a_backend_is_asked_for_the_certificate_of_the_requests_host() {
    run(|| async {
        let (ca, folder) = (Authority::new(), Folder::new());
        folder.write("ca.crt", &ca.pem());
        folder.write_pair("one", &ca.issue("one.example"));
        folder.write_pair("two", &ca.issue("two.example"));
        let backend = two_names(&folder).await;
        let ca = folder.join("ca.crt").display().to_string();
        let toml = format!("[upstream]\ntls = {{ ca = '{ca}', server_name = 'from-host' }}\n");
        let sidecar = Sidecar::in_front_of(&format!("https://{backend}"), &toml).await;
        let ask = async |host: &str| {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            sidecar.request(&request).await.head().await.to_lowercase()
        };
        // Their connections are kept apart.
        for host in [
            "one.example",
            "two.example:443",
            "ONE.example.",
            "two.example",
        ] {
            let head = ask(host).await;
            let name = host.to_lowercase();
            let name = name.trim_end_matches(":443").trim_end_matches('.');
            assert!(
                head.contains(&format!("\r\nx-asked: {name}\r\n")),
                "{host}: {head}"
            );
        }
        let connects = sidecar.metric("sse_sidecar_upstream_connects_total");
        assert!((connects - 2.0).abs() < 0.5, "{connects}");
        for host in ["three.example", "a_b..c", "127.0.0.1"] {
            let head = ask(host).await;
            assert!(head.starts_with("http/1.1 502 "), "{host}: {head}");
        }
        // The backend sees the host that it is asked for.
        let toml = format!("{toml}host = 'two.example'\n");
        let named = Sidecar::in_front_of(&format!("https://{backend}"), &toml).await;
        let head = named
            .request("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .head()
            .await;
        assert!(
            head.to_lowercase().contains("x-asked: two.example"),
            "{head}"
        );
    });
}
