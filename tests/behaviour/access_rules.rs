//! Who may call, by address and by password.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use crate::certificates::Folder;
use crate::common::{EVENTS, Sidecar, backend, moment, run};
use crate::either::{Connection, request};

/// A sidecar whose backend opens an event stream for every request, and those requests.
async fn guarded(
    toml: &str,
) -> (
    Sidecar,
    tokio::sync::mpsc::UnboundedReceiver<(tokio::time::Instant, String)>,
) {
    let (came, seen) = moment();
    let backend = backend(move |mut peer| {
        let came = came.clone();
        async move {
            came(peer.head().await);
            peer.send(EVENTS).await;
            peer.closed().await;
        }
    })
    .await;
    (Sidecar::start(backend, toml).await, seen)
}

/// The head of the answer to a request with these fields.
async fn answer(sidecar: &Sidecar, fields: &str) -> String {
    let request = format!("GET /events HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    sidecar.request(&request).await.head().await
}

const TRUSTING: &str = "[server]\ntrusted_proxies = ['127.0.0.1']\n";

#[test]
fn an_address_without_access_gets_403_and_the_backend_nothing() {
    run(|| async {
        let rules = "[access]\nrules = ['deny 192.0.2.66', 'allow 192.0.2.0/24', 'deny all']\n";
        let (sidecar, mut seen) = guarded(&format!("{TRUSTING}{rules}")).await;
        for (client, status) in [
            ("192.0.2.1", "200"),
            ("10.0.0.1, 192.0.2.1", "200"),
            ("192.0.2.66", "403"),
            ("192.0.2.1, 10.0.0.1", "403"),
            ("192.0.2.1, unknown", "403"),
        ] {
            let head = answer(&sidecar, &format!("X-Forwarded-For: {client}\r\n")).await;
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status}")),
                "{client}: {head}"
            );
            assert_eq!(seen.try_recv().is_ok(), status == "200", "{client}");
        }
        let http2 = Connection::to(&sidecar).await;
        let denied = request("GET").header("x-forwarded-for", "192.0.2.66");
        let denied = http2.get(denied).await.unwrap();
        assert_eq!(denied.head.status, 403);
        let body = String::from_utf8(denied.body).unwrap();
        assert!(body.contains("\"reason\":\"access_denied\""), "{body}");
        let upgrade =
            "X-Forwarded-For: 192.0.2.66\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        assert!(answer(&sidecar, upgrade).await.starts_with("HTTP/1.1 403"));
        assert!(seen.try_recv().is_err());
        let refused = "sse_sidecar_refused_total{reason=\"access_denied\",side=\"client\"}";
        assert!((sidecar.metric(refused) - 5.0).abs() < 0.5);
    });
}

#[test]
fn a_route_has_rules_of_its_own() {
    run(|| async {
        let toml = "[access]\nrules = ['deny all']\n[[route]]\npath = '/events'\naccess.rules = ['allow 127.0.0.0/8', 'deny all']\n";
        let (sidecar, _seen) = guarded(toml).await;
        assert!(answer(&sidecar, "").await.starts_with("HTTP/1.1 200"));
        let elsewhere = sidecar
            .request("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .head()
            .await;
        assert!(elsewhere.starts_with("HTTP/1.1 403"), "{elsewhere}");
    });
}

/// A folder with a file of users, and the configuration that asks for them.
fn users(users: &[(&str, &str)]) -> (Folder, PathBuf, String) {
    let folder = Folder::new();
    let file = folder.join("users.htpasswd");
    write_users(&file, users);
    let toml = format!("[access]\nbasic_auth = '{}'\n", file.display());
    (folder, file, toml)
}

fn write_users(file: &std::path::Path, users: &[(&str, &str)]) {
    let cheapest = 4;
    let lines = users.iter().map(|(name, password)| {
        let hash = bcrypt::hash(password, cheapest).unwrap();
        format!("{name}:{hash}\n")
    });
    std::fs::write(file, lines.collect::<String>()).unwrap();
}

fn basic(name: &str, password: &str) -> String {
    use base64::Engine;
    let token = format!("{name}:{password}");
    let token = base64::engine::general_purpose::STANDARD.encode(token);
    format!("Authorization: Basic {token}\r\n")
}

#[test]
fn whoever_has_no_password_is_asked_for_one() {
    run(|| async {
        let (_folder, _file, toml) = users(&[("ann", "secret"), ("bob", "b:c")]);
        let (sidecar, mut seen) = guarded(&toml).await;
        for fields in [
            String::new(),
            "Authorization: Bearer x\r\n".to_owned(),
            basic("ann", "wrong"),
            basic("ann", ""),
            basic("bob", "secret"),
            basic("eve", "secret"),
            basic("ann", "secret").repeat(2),
        ] {
            let head = answer(&sidecar, &fields).await;
            assert!(head.starts_with("HTTP/1.1 401"), "{fields}: {head}");
            assert!(head.contains("www-authenticate: Basic realm="), "{head}");
            assert!(seen.try_recv().is_err(), "{fields}");
        }
        // The second time it is known again.
        for fields in [
            basic("ann", "secret"),
            basic("bob", "b:c"),
            basic("ann", "secret"),
        ] {
            let head = answer(&sidecar, &fields).await;
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            let (_, sent) = seen.try_recv().unwrap();
            assert!(
                sent.contains(fields.trim_end()),
                "the backend sees who it is: {sent}"
            );
        }
        let http2 = Connection::to(&sidecar).await;
        let refused = http2.get(request("GET")).await.unwrap().head;
        assert_eq!(refused.status, 401);
        assert!(refused.headers.contains_key("www-authenticate"));
    });
}

#[test]
fn a_changed_file_of_users_is_taken_up_and_a_bad_one_is_not() {
    run(|| async {
        let (_folder, file, toml) = users(&[("ann", "secret"), ("bob", "word")]);
        let (sidecar, _seen) = guarded(&toml).await;
        let status = async |name, password| {
            let head = answer(&sidecar, &basic(name, password)).await;
            head.split(' ').nth(1).unwrap().to_owned()
        };
        assert_eq!(status("ann", "secret").await, "200");
        assert_eq!(status("bob", "word").await, "200");
        write_users(&file, &[("ann", "changed")]);
        sleep(Duration::from_secs(6)).await;
        assert_eq!(status("ann", "secret").await, "401", "it was known");
        assert_eq!(status("ann", "changed").await, "200");
        assert_eq!(status("bob", "word").await, "401");
        std::fs::write(&file, "ann:plain\n").unwrap();
        sleep(Duration::from_secs(6)).await;
        assert_eq!(status("ann", "changed").await, "200");
        assert_eq!(status("ann", "plain").await, "401");
        std::fs::remove_file(&file).unwrap();
        sleep(Duration::from_secs(6)).await;
        assert_eq!(status("ann", "changed").await, "200");
    });
}

#[test]
fn an_unreadable_file_admits_no_user() {
    run(|| async {
        let toml = "[access]\nbasic_auth = '/no/such/file'\n";
        let (sidecar, mut seen) = guarded(toml).await;
        for fields in [String::new(), basic("ann", "secret"), basic("", "")] {
            let head = answer(&sidecar, &fields).await;
            assert!(head.starts_with("HTTP/1.1 401"), "{head}");
        }
        assert!(seen.try_recv().is_err());
    });
}
