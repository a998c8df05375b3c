//! How changed files are noticed.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::field;
use super::{Backend, Folder, ask, rejections, who};

#[test]
fn a_config_map_is_followed_without_a_signal() {
    let (old, new) = (Backend::named("old"), Backend::named("new"));
    let folder = Folder::new("");
    // As a kubelet writes it: `config.toml` leads through `..data`, which is swapped.
    let publish = |version: &str, toml: &str| {
        let data = folder.0.join(version);
        fs::create_dir(&data).unwrap();
        fs::write(data.join("config.toml"), toml).unwrap();
        symlink(version, folder.0.join("..data_tmp")).unwrap();
        fs::rename(folder.0.join("..data_tmp"), folder.0.join("..data")).unwrap();
    };
    publish("..1", &old.config(""));
    fs::remove_file(folder.file()).unwrap();
    symlink("..data/config.toml", folder.file()).unwrap();
    let mut sidecar = folder.start();
    let mut kept = sidecar.connect();
    assert_eq!(ask(&mut kept), "old");

    // An invalid one is reported once, however often it is checked.
    publish("..2", "");
    sidecar.wait_for("the previous one stays active");
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(rejections(&sidecar), 1);
    assert_eq!(ask(&mut kept), "old");

    publish("..3", &new.config(""));
    fs::remove_dir_all(folder.0.join("..1")).unwrap();
    sidecar.wait_for("configuration reloaded");
    assert_eq!(ask(&mut kept), "new");
    let told = |text: &str| {
        sidecar
            .seen
            .iter()
            .filter(|line| line.contains(text))
            .count()
    };
    assert_eq!(told("the previous one stays active"), 1);
}

#[test]
fn a_certificate_that_is_not_there_yet_is_waited_for() {
    let (plain, folder) = (Backend::named("x"), Folder::new(""));
    folder.write(&plain.config(""));
    let mut sidecar = folder.start();
    let secure = plain.config("").replace("http://", "https://");
    let secure = format!("upstream.tls.ca = \"ca.crt\"\n{secure}");
    folder.write(&secure);
    sidecar.signal("HUP");
    let line = sidecar.wait_for("ca.crt");
    assert_eq!(field(&line, "key").unwrap(), "upstream.tls.ca");
    assert_eq!(who(&sidecar), "x");
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.0.join("ca.crt"), pair.cert.pem()).unwrap();
    // Without a signal, and the file is unchanged.
    sidecar.wait_for("configuration reloaded");
    assert_eq!(sidecar.status()["config_rejected"], Value::Array(vec![]));
    let status = sidecar.ask_admin("/status.json");
    assert!(status.contains("ca.crt"), "{status}");
}

#[test]
fn sighup_has_certificates_looked_at_at_once() {
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = Folder::new("");
    let write = |pair: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        fs::write(folder.0.join("tls.crt"), pair.cert.pem()).unwrap();
        fs::write(folder.0.join("tls.key"), pair.signing_key.serialize_pem()).unwrap();
    };
    write(&pair());
    let toml = Backend::named("x").config("")
        + "tls = { certificate = \"tls.crt\", private_key = \"tls.key\" }";
    folder.write(&toml);
    let mut sidecar = folder.start();
    let renewed = pair();
    write(&renewed);
    let since = Instant::now();
    sidecar.signal("HUP");
    sidecar.wait_for("certificates changed");
    assert!(since.elapsed() < Duration::from_secs(4), "not by polling");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(renewed.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let session = rustls::ClientConnection::new(client.into(), name).unwrap();
    let mut client = rustls::StreamOwned::new(session, sidecar.connect());
    write!(client, "GET / HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    client.read_exact(&mut [0; 15]).unwrap();
}
