//! Configurations in files, with the files that they name.

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::*;

/// A folder with a configuration, certificates and keys, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("config-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        for name in ["one", "two"] {
            let CertifiedKey { cert, signing_key } =
                generate_simple_self_signed([name.to_owned()]).unwrap();
            fs::write(folder.join(format!("{name}.crt")), cert.pem()).unwrap();
            fs::write(
                folder.join(format!("{name}.key")),
                signing_key.serialize_pem(),
            )
            .unwrap();
        }
        fs::write(
            folder.join("half.crt"),
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
        )
        .unwrap();
        fs::write(folder.join("noise.crt"), pem("CERTIFICATE")).unwrap();
        fs::write(folder.join("noise.key"), pem("PRIVATE KEY")).unwrap();
        Self(folder)
    }

    fn load(&self, toml: &str) -> Result<(Config, Vec<Problem>), Problems> {
        let file = self.0.join("sidecar.toml");
        fs::write(&file, toml).unwrap();
        config::load(Some(&file), &Overrides::default())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// PEM around something else.
fn pem(label: &str) -> String {
    format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n")
}

#[test]
fn paths_start_at_the_folder_of_the_file() {
    let folder = Folder::new("good");
    let (config, warnings) = folder
            .load(
                "listener = [{ tls = { certificate = 'one.crt', private_key = 'one.key', client_ca = 'two.crt' } }]
                 upstream = { url = 'https://app', tls = { ca = 'one.crt', certificate = 'two.crt', private_key = 'two.key' } }",
            )
            .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings, []);
    let tls = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!(tls.identity.certificate, folder.0.join("one.crt"));
    let tls = config.upstreams().next().unwrap().tls.as_ref().unwrap();
    assert_eq!(tls.ca, Some(folder.0.join("one.crt")));
    assert_eq!(tls.server_name, PeerName::Fixed("app".try_into().unwrap()));
}

#[test]
fn errors_are_reported_with_their_position() {
    let folder = Folder::new("bad");
    for (key, file, other, said) in [
        (
            "certificate",
            "no.crt",
            "private_key = 'one.key'",
            "cannot be read: No such file",
        ),
        (
            "certificate",
            "one.key",
            "private_key = 'one.key'",
            "holds no certificate in PEM form",
        ),
        (
            "certificate",
            "half.crt",
            "private_key = 'one.key'",
            "is broken: ",
        ),
        (
            "certificate",
            "noise.crt",
            "private_key = 'one.key'",
            "cannot be used: ",
        ),
        (
            "private_key",
            "no.key",
            "certificate = 'one.crt'",
            "cannot be read: No such file",
        ),
        (
            "private_key",
            "one.crt",
            "certificate = 'one.crt'",
            "holds no private key in PEM form",
        ),
        (
            "private_key",
            "noise.key",
            "certificate = 'one.crt'",
            "cannot be used: ",
        ),
        (
            "private_key",
            "two.key",
            "certificate = 'one.crt'",
            "does not belong to the certificate",
        ),
    ] {
        for (header, prefix) in [
            ("[[listener]]", "listener[0].tls"),
            ("[upstream]", "upstream.tls"),
        ] {
            let toml = format!(
                "{header}\nurl = 'https://app'\ntls.{key} = '{file}'\ntls.{other}\ntls.ca = 'one.crt'"
            );
            let toml = if header == "[upstream]" {
                toml
            } else {
                let without = toml
                    .replace("url = 'https://app'\n", "")
                    .replace("\ntls.ca = 'one.crt'", "");
                format!("upstream.url = 'http://app'\n{without}")
            };
            let problems = folder.load(&toml).unwrap_err();
            let [problem] = problems.iter().collect::<Vec<_>>()[..] else {
                panic!("{problems}")
            };
            assert_eq!(problem.key, Some(format!("{prefix}.{key}")), "{problem}");
            assert!(
                problem.message.contains(&format!("{file}` {said}")),
                "{problem}"
            );
            assert_eq!(problem.place.as_ref().unwrap().line, 3);
            assert!(problem.help.is_some());
        }
    }
    for file in ["no.crt", "one.key", "noise.crt"] {
        for toml in [
            format!("upstream.url = 'https://app'\nupstream.tls.ca = '{file}'"),
            format!(
                "upstream.url = 'http://app'\nlistener = [{{ tls = {{ certificate = 'one.crt', private_key = 'one.key', client_ca = '{file}' }} }}]"
            ),
        ] {
            let problems = folder.load(&toml).unwrap_err();
            assert_eq!(problems.iter().count(), 1, "{problems}");
            assert!(problems.to_string().contains("ca: `"), "{problems}");
        }
    }
}
