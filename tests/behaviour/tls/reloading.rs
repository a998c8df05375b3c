//! Files that change.

use std::io;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sse_sidecar::tls;
use sse_sidecar::tls::{ClientTls, PeerName};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::{GET, PLAIN, STREAM, Setup, certificate, server, shown, speak, tls_backend, url};
use crate::certificates::Authority;
use crate::common::{GET_EVENTS, Sidecar, backend, run, watched};

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
fn invalid_files_are_ignored_and_reported_once() {
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
fn files_are_checked_on_request_and_as_long_as_they_are_in_use() {
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
