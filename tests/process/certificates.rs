//! When certificates expire: reported at the start, when they are replaced, and by the admin port.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::{Sidecar, backend, config};

/// A listener's certificate and its key.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    pair: KeyPair,
}

impl Files {
    fn new() -> Self {
        let path = |name: &str| {
            let name = format!("expiry-{}-{name}", std::process::id());
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
        };
        let pair = KeyPair::generate().unwrap();
        let files = Self {
            certificate: path("tls.crt"),
            key: path("tls.key"),
            pair,
        };
        fs::write(&files.key, files.pair.serialize_pem()).unwrap();
        files
    }

    /// A certificate that is good from 2020 to the beginning of this year.
    fn write(&self, last_year: i32) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        let pem = params.self_signed(&self.pair).unwrap().pem();
        fs::write(&self.certificate, pem).unwrap();
    }

    fn config(&self) -> String {
        let Self {
            certificate, key, ..
        } = self;
        let tls = format!(
            "tls = {{ certificate = '{}', private_key = '{}' }}",
            certificate.display(),
            key.display()
        );
        config(backend(), "") + &tls
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = (
            fs::remove_file(&self.certificate),
            fs::remove_file(&self.key),
        );
    }
}

#[test]
fn an_expired_certificate_is_reported_until_it_is_renewed() {
    let files = Files::new();
    files.write(2021);
    let mut sidecar = Sidecar::start(&files.config());
    let said = sidecar.seen.join("\n");
    assert!(said.contains("expired at 2021-01-01 00:00 UTC"), "{said}");
    let file = files.certificate.to_str().unwrap();
    let series = |seconds: u64| {
        format!(
            "sse_sidecar_certificate_expiry_timestamp_seconds{{file=\"{file}\",owner=\"listener\"}} {seconds}\n"
        )
    };
    let metrics = sidecar.ask_admin("/metrics");
    assert!(metrics.contains(&series(1_609_459_200)), "{metrics}");
    let certificate = |sidecar: &Sidecar| sidecar.status()["certificates"][0].clone();
    let shown = certificate(&sidecar);
    assert_eq!(shown["standing"], "expired");
    assert_eq!(
        (&shown["file"], &shown["owner"]),
        (&file.into(), &"listener".into())
    );
    assert!(shown["expires_in_s"].as_i64() < Some(0));

    files.write(2120);
    sidecar.signal("HUP");
    sidecar.wait_for("certificates changed");
    assert_eq!(certificate(&sidecar)["standing"], "good");
    let metrics = sidecar.ask_admin("/metrics");
    assert!(metrics.contains(&series(4_733_510_400)), "{metrics}");

    files.write(2022);
    sidecar.signal("HUP");
    let line = sidecar.wait_for("certificate expired at 2022-01-01");
    assert!(line.contains("\"WARN\"") && line.contains(file), "{line}");
}
