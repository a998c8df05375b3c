//! The command line: what it answers, and its exit codes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use sse_sidecar::cli::{self, ConfigSource, Demo};
use sse_sidecar::config::Override;

fn sidecar(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sidecar"));
    command.args(args).env_clear();
    command
}

/// The exit code, stdout and stderr.
fn outcome(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A file of `tests/config` or of the root, as an absolute path.
fn file(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(path)
        .to_str()
        .unwrap()
        .to_owned()
}

mod arguments {
    use super::*;

    fn parsed(args: &[&str]) -> cli::Command {
        cli::Command::from_args([&["sse-sidecar"], args].concat()).unwrap()
    }

    fn given(value: &str, flag: &str) -> Override {
        Override {
            source: flag.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn run_is_the_default() {
        let mut settings = ConfigSource {
            config: Some(PathBuf::from("a.toml")),
            ..ConfigSource::default()
        };
        settings.overrides.upstream = Some(given("http://a", "--upstream"));
        settings.overrides.listen = vec![
            given("127.0.0.1:1", "--listen"),
            given("unix:/a", "--listen"),
        ];
        let flags = [
            "--config",
            "a.toml",
            "--upstream",
            "http://a",
            "--listen",
            "127.0.0.1:1",
            "--listen",
            "unix:/a",
        ];
        assert_eq!(parsed(&flags), cli::Command::Run(settings.clone()));
        assert_eq!(
            parsed(&[&["run"], &flags[..]].concat()),
            cli::Command::Run(settings)
        );
        assert_eq!(parsed(&[]), cli::Command::Run(ConfigSource::default()));
    }

    #[test]
    fn the_demo_has_a_port() {
        assert_eq!(parsed(&["demo"]), cli::Command::Demo(Demo { port: 8090 }));
        assert_eq!(
            parsed(&["demo", "--port", "0"]),
            cli::Command::Demo(Demo { port: 0 })
        );
    }

    #[test]
    fn help_and_version() {
        let (code, stdout, stderr) = outcome(&mut sidecar(&["--help"]));
        assert_eq!((code, stderr.as_str()), (0, ""));
        for word in [
            "run",
            "check",
            "demo",
            "health",
            "--config",
            "--listen",
            "--upstream",
            "--upstream-host",
            "SSE_SIDECAR_UPSTREAM_HOST",
            "--admin",
            "--log-level",
            "SSE_SIDECAR_UPSTREAM",
        ] {
            assert!(stdout.contains(word), "{word} is not in\n{stdout}");
        }
        let (code, stdout, _) = outcome(&mut sidecar(&["--version"]));
        assert_eq!(
            (code, stdout),
            (0, format!("sse-sidecar {}\n", env!("CARGO_PKG_VERSION")))
        );
    }

    #[test]
    fn an_unknown_flag_names_the_nearest() {
        let (code, stdout, stderr) = outcome(&mut sidecar(&["--upsteam", "http://a"]));
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert!(
            stderr.contains("unexpected argument '--upsteam'") && stderr.contains("'--upstream'"),
            "{stderr}"
        );
    }

    #[test]
    fn an_unknown_command_names_the_nearest() {
        let (code, _, stderr) = outcome(&mut sidecar(&["chek"]));
        assert_eq!(code, 2);
        assert!(stderr.contains("'check'"), "{stderr}");
    }
}

mod check {
    use super::*;

    #[test]
    fn a_good_file_is_one_line() {
        let example = file("config.example.toml");
        let (code, stdout, stderr) = outcome(&mut sidecar(&["check", "--config", &example]));
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert_eq!(stdout, format!("{example} is valid: 1 listener, 1 route\n"));
    }

    #[test]
    fn warnings_do_not_make_it_fail() {
        let path = file("tests/config/warnings/drain-longer-than-grace.toml");
        let (code, stdout, stderr) = outcome(&mut sidecar(&["check", "--config", &path]));
        assert_eq!(code, 0);
        assert_eq!(
            stdout,
            format!("{path} is valid: 1 listener, 1 route, 1 warning\n")
        );
        assert!(stderr.starts_with("warning: drain.timeout: "), "{stderr}");
    }

    #[test]
    fn every_problem_is_reported() {
        let path = file("tests/config/invalid/five-problems.toml");
        let (code, stdout, stderr) = outcome(&mut sidecar(&["check", "--config", &path]));
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert_eq!(stderr.matches("error: ").count(), 5, "{stderr}");
        assert!(stderr.ends_with("\n\n5 errors\n"), "{stderr}");
    }

    #[test]
    fn the_files_it_names_are_looked_at() {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("missing-certificate.toml");
        let toml = "upstream.url = 'http://a'\n[[listener]]\ntls.certificate = 'no.crt'\ntls.private_key = 'no.key'";
        fs::write(&path, toml).unwrap();
        for command in ["check", "run"] {
            let path = path.to_str().unwrap();
            let (code, _, stderr) = outcome(&mut sidecar(&[command, "--config", path]));
            assert_eq!(code, 2);
            let missing = env!("CARGO_TARGET_TMPDIR").to_owned() + "/no.crt";
            assert!(
                stderr.starts_with(&format!(
                    "error: listener[0].tls.certificate: `{missing}` cannot be read: No such file"
                )),
                "{stderr}"
            );
            assert!(stderr.contains("missing-certificate.toml:3:"), "{stderr}");
        }
    }

    #[test]
    fn an_expired_certificate_is_refused_and_one_that_is_about_to_is_not() {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let key = KeyPair::generate().unwrap();
        fs::write(folder.join("check.key"), key.serialize_pem()).unwrap();
        let toml = "[[listener]]\ntls.certificate = 'check.crt'\ntls.private_key = 'check.key'\n[upstream]\nurl = 'https://localhost'\ntls.certificate = 'check.crt'\ntls.private_key = 'check.key'\n";
        let file = folder.join("expiring.toml");
        fs::write(&file, toml).unwrap();
        let check = |first, last| {
            let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            (params.not_before, params.not_after) = (first, last);
            let pem = params.self_signed(&key).unwrap().pem();
            fs::write(folder.join("check.crt"), pem).unwrap();
            let file = file.to_str().unwrap();
            outcome(&mut sidecar(&["check", "--config", file]))
        };
        let year = |year| date_time_ymd(year, 1, 1);
        let (code, _, stderr) = check(year(2020), year(2021));
        assert_eq!(code, 2);
        for table in ["listener[0]", "upstream"] {
            let said = format!("error: {table}.tls.certificate: ");
            assert!(stderr.contains(&said), "{stderr}");
        }
        assert!(
            stderr.contains("check.crt` expired at 2021-01-01 00:00 UTC"),
            "{stderr}"
        );
        assert!(stderr.ends_with("\n\n2 errors\n"), "{stderr}");

        let soon = sse_sidecar::tls::now() + 3600;
        let (code, stdout, stderr) = check(
            year(2020),
            year(1970) + Duration::from_secs(soon.unsigned_abs()),
        );
        assert_eq!(code, 0);
        assert!(
            stdout.ends_with("1 listener, 1 route, 2 warnings\n"),
            "{stdout}"
        );
        assert!(
            stderr.contains("warning: listener[0].tls.certificate: "),
            "{stderr}"
        );
        assert!(stderr.contains("check.crt` expires soon, at "), "{stderr}");

        let (code, _, stderr) = check(year(2100), year(2101));
        assert_eq!(code, 0);
        assert!(
            stderr.contains("check.crt` is not valid before 2100-01-01"),
            "{stderr}"
        );
        assert_eq!(check(year(2020), year(2120)).2, "");
    }

    #[test]
    fn without_a_file_the_flags_are_checked() {
        let (code, stdout, _) = outcome(&mut sidecar(&["check", "--upstream", "http://a"]));
        assert_eq!(
            (code, stdout.as_str()),
            (0, "the configuration is valid: 1 listener, 1 route\n")
        );
        let (code, _, stderr) = outcome(&mut sidecar(&["check"]));
        assert_eq!(code, 2);
        assert!(
            stderr.starts_with("error: upstream.url: missing"),
            "{stderr}"
        );
    }

    #[test]
    fn the_environment_is_checked_under_its_own_names() {
        let example = file("config.example.toml");
        let mut command = sidecar(&["check"]);
        command
            .env("SSE_SIDECAR_CONFIG", example)
            .env("SSE_SIDECAR_LISTEN", "127.0.0.1:1,:8080")
            .env("SSE_SIDECAR_ADMIN", "");
        let (code, _, stderr) = outcome(&mut command);
        assert_eq!(code, 2);
        assert_eq!(
            stderr,
            "error: SSE_SIDECAR_LISTEN: `:8080` is not an IP address and a port\n  = help: write `0.0.0.0:8080`\n\n1 error\n"
        );
    }

    #[test]
    fn flags_of_two_words_have_their_names() {
        let args = ["check", "--upstream", "http://a", "--upstream-host", "a b"];
        let (code, _, stderr) = outcome(&mut sidecar(&args));
        assert_eq!(code, 2);
        assert!(
            stderr.starts_with("error: --upstream-host: `a b` is not"),
            "{stderr}"
        );
        let mut command = sidecar(&args[..3]);
        command.env("SSE_SIDECAR_UPSTREAM_HOST", "a b");
        let (code, _, stderr) = outcome(&mut command);
        assert_eq!(code, 2);
        assert!(
            stderr.starts_with("error: SSE_SIDECAR_UPSTREAM_HOST: `a b`"),
            "{stderr}"
        );
    }

    #[test]
    fn an_unknown_log_level_names_the_nearest() {
        let args = ["check", "--upstream", "http://a", "--log-level", "debgu"];
        let (code, _, stderr) = outcome(&mut sidecar(&args));
        assert_eq!(code, 2);
        assert_eq!(
            stderr,
            "error: --log-level: unknown value `debgu`\n  = help: write `\"debug\"`\n\n1 error\n"
        );
    }

    #[test]
    fn a_flag_wins_over_the_environment() {
        let mut command = sidecar(&["check", "--upstream", "http://a"]);
        command.env("SSE_SIDECAR_UPSTREAM", "nonsense");
        assert_eq!(outcome(&mut command).0, 0);
    }
}

mod health {
    use super::*;

    /// An admin port that answers one request with `response`, and gives the request.
    fn admin(response: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(response.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (address, server)
    }

    #[test]
    fn alive_is_success() {
        let (address, server) = admin("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        let (code, stdout, stderr) =
            outcome(&mut sidecar(&["health", "--admin", &address.to_string()]));
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "alive\n", ""));
        assert!(server.join().unwrap().starts_with("GET /live HTTP/1.1\r\n"));
    }

    #[test]
    fn every_network_is_asked_on_the_loopback() {
        let (address, server) = admin("HTTP/1.1 200 OK\r\n\r\n");
        let mut command = sidecar(&["health"]);
        command.env("SSE_SIDECAR_ADMIN", format!("0.0.0.0:{}", address.port()));
        assert_eq!(outcome(&mut command).0, 0);
        server.join().unwrap();
    }

    #[test]
    fn another_status_is_failure() {
        let (address, _server) = admin("HTTP/1.1 503 Service Unavailable\r\n\r\n");
        let (code, _, stderr) = outcome(&mut sidecar(&["health", "--admin", &address.to_string()]));
        assert_eq!(code, 1);
        assert_eq!(
            stderr,
            format!(
                "error: the admin port `{address}` answers `HTTP/1.1 503 Service Unavailable` to `GET /live`\n"
            )
        );
    }

    #[test]
    fn no_server_is_a_failure() {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let (code, _, stderr) = outcome(&mut sidecar(&["health", "--admin", &address.to_string()]));
        assert_eq!(code, 1);
        assert!(
            stderr.starts_with(&format!(
                "error: nothing listens on the admin port `{address}`: "
            )),
            "{stderr}"
        );
    }

    #[test]
    fn silence_is_failure_after_two_seconds() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (code, _, stderr) = outcome(&mut sidecar(&["health", "--admin", &address.to_string()]));
        assert_eq!(code, 1);
        assert_eq!(
            stderr,
            format!("error: the admin port `{address}` does not answer within 2 seconds\n")
        );
    }

    #[test]
    fn the_configuration_knows_the_port() {
        let (address, server) = admin("HTTP/1.1 200 OK\r\n\r\n");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("health.toml");
        // The mistake in it does not matter here.
        fs::write(&path, format!("admin.listen = \"{address}\"\nlistner = []")).unwrap();
        let command = &mut sidecar(&["health", "--config", path.to_str().unwrap()]);
        assert_eq!(outcome(command), (0, "alive\n".to_owned(), String::new()));
        server.join().unwrap();
    }

    #[test]
    fn a_configuration_that_is_not_needed_is_not_read() {
        let command = &mut sidecar(&["health", "--config", "no/such.toml", "--admin", "off"]);
        assert!(outcome(command).2.contains("the admin port is `off`"));
    }

    #[test]
    fn off_cannot_be_asked() {
        let (code, _, stderr) = outcome(&mut sidecar(&["health", "--admin", "off"]));
        assert_eq!(code, 2);
        assert!(stderr.contains("the admin port is `off`"), "{stderr}");
    }
}
