//! The log level of a running process: by flag, by variable, by admin request, and what a reload makes of it.

use std::io::{Read, Write};

use super::{Sidecar, backend, config, connect, field, read_until};

/// Asks the admin port for `path`; the whole answer.
fn admin(sidecar: &Sidecar, method: &str, path: &str, fields: &str) -> String {
    let address = sidecar.admin.unwrap();
    let mut client = connect(address);
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close");
    write!(client, "{head}\r\n{fields}\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

const INTENT: &str = "X-Sse-Sidecar: log\r\n";

/// Has one ordinary request answered, whose line is written at debug.
fn get(sidecar: &Sidecar, path: &str) {
    read_until(&mut sidecar.get(path), "\r\n\r\nok");
}

#[test]
fn a_request_sets_it_and_a_reload_restores_the_configured_one() {
    let mut sidecar = Sidecar::start(&config(backend(), "admin.allow_log_level = true"));
    let shown = |sidecar: &Sidecar| admin(sidecar, "GET", "/log/level", "");
    assert!(shown(&sidecar).ends_with("\r\n\r\ninfo\n"));
    get(&sidecar, "/plain/quiet");
    let set = admin(&sidecar, "PUT", "/log/level/debug", INTENT);
    assert!(
        set.starts_with("HTTP/1.1 200 ") && set.contains("\r\n\r\ndebug, until"),
        "{set}"
    );
    let line = sidecar.wait_for("log level changed");
    assert_eq!(field(&line, "from").as_deref(), Some("info"));
    assert_eq!(field(&line, "to").as_deref(), Some("debug"));
    assert_eq!(field(&line, "by").as_deref(), Some("admin request"));
    get(&sidecar, "/plain/told");
    sidecar.wait_for("/plain/told");
    assert!(
        !sidecar
            .seen
            .iter()
            .any(|line| line.contains("/plain/quiet"))
    );
    assert!(shown(&sidecar).ends_with("\r\n\r\ndebug\n"));

    sidecar.signal("HUP");
    let line = sidecar.wait_for("log level changed");
    assert_eq!(field(&line, "to").as_deref(), Some("info"));
    assert_eq!(field(&line, "by").as_deref(), Some("configuration"));
    sidecar.wait_for("configuration reloaded");
    assert!(shown(&sidecar).ends_with("\r\n\r\ninfo\n"));

    let before = sidecar.seen.len();
    get(&sidecar, "/plain/quiet/again");
    admin(&sidecar, "POST", "/log/level/error", INTENT);
    sidecar.wait_for("log level changed");
    let lines = &sidecar.seen[before..];
    assert!(
        !lines.iter().any(|line| line.contains("/plain/quiet/again")),
        "{lines:?}"
    );
    assert!(shown(&sidecar).ends_with("\r\n\r\nerror\n"));
}

#[test]
fn nobody_sets_it_by_accident() {
    let first = |answer: String| answer.lines().next().unwrap().to_owned();
    let closed = Sidecar::start(&config(backend(), ""));
    let refused = admin(&closed, "PUT", "/log/level/debug", INTENT);
    assert!(
        refused.starts_with("HTTP/1.1 403 ") && refused.contains("allow_log_level"),
        "{refused}"
    );

    let sidecar = Sidecar::start(&config(backend(), "admin.allow_log_level = true"));
    let host = sidecar.admin.unwrap();
    let same = format!("{INTENT}Origin: http://{host}\r\n");
    let other = format!("{INTENT}Origin: http://evil.example\r\n");
    for (method, path, fields, status) in [
        ("PUT", "/log/level/debug", "", "403 Forbidden"),
        ("PUT", "/log/level/debug", &*other, "403 Forbidden"),
        ("PUT", "/log/level/trace", INTENT, "404 Not Found"),
        ("GET", "/log/level/debug", INTENT, "405 Method Not Allowed"),
        ("PUT", "/log/level", INTENT, "405 Method Not Allowed"),
        ("PUT", "/log/level/warn", &*same, "200 OK"),
    ] {
        let answer = first(admin(&sidecar, method, path, fields));
        assert_eq!(
            answer,
            format!("HTTP/1.1 {status}"),
            "{method} {path} {fields}"
        );
    }
    let by_name = sidecar.ask_admin_as("evil.example", "/log/level");
    assert!(by_name.starts_with("HTTP/1.1 421 "), "{by_name}");
}

#[test]
fn a_flag_and_a_variable_override_the_file_also_after_a_reload() {
    let toml = config(backend(), "log.level = 'error'");
    for is_flag in [true, false] {
        let mut command = Sidecar::command(&toml);
        if is_flag {
            command.args(["--log-level", "debug"]);
        } else {
            command.env("SSE_SIDECAR_LOG_LEVEL", "debug");
        }
        let mut sidecar = Sidecar::spawn(&mut command);
        get(&sidecar, "/plain/one");
        sidecar.wait_for("/plain/one");
        sidecar.signal("HUP");
        sidecar.wait_for("configuration reloaded");
        get(&sidecar, "/plain/two");
        sidecar.wait_for("/plain/two");
    }
}
