//! Notifications to the service manager (`sd_notify`).

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use super::{DEADLINE, Sidecar, backend, config, read_until};

#[test]
fn the_service_manager_is_notified_when_it_is_ready_and_when_it_stops() {
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("notify-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let toml = config(backend(), "drain = { delay = \"1ms\", timeout = \"90s\" }");
    let mut sidecar = Sidecar::spawn(Sidecar::command(&toml).env("NOTIFY_SOCKET", &path));
    assert_eq!(news(&manager), "READY=1");
    let mut client = sidecar.get("/plain");
    assert!(read_until(&mut client, "\r\n\r\nok").starts_with("HTTP/1.1 200 OK"));
    sidecar.signal("TERM");
    assert_eq!(
        news(&manager),
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=92001000",
        "the drain's delay and timeout, and the last 2 s"
    );
    assert_eq!(sidecar.exit().code(), Some(0));
    let _ = fs::remove_file(path);
}

#[test]
fn the_service_manager_may_have_an_abstract_socket() {
    let name = format!("sse-sidecar-notify-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut command = Sidecar::command(&config(backend(), ""));
    let _sidecar = Sidecar::spawn(command.env("NOTIFY_SOCKET", format!("@{name}")));
    assert_eq!(news(&manager), "READY=1");
}

#[test]
fn a_service_manager_that_is_gone_is_no_reason_not_to_serve() {
    let mut command = Sidecar::command(&config(backend(), ""));
    let mut sidecar = Sidecar::spawn(command.env("NOTIFY_SOCKET", "/nowhere/notify"));
    sidecar.wait_for("cannot notify the service manager");
    let mut client = sidecar.get("/plain");
    assert!(read_until(&mut client, "\r\n\r\nok").starts_with("HTTP/1.1 200 OK"));
}

/// The next notification.
fn news(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = manager.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}
