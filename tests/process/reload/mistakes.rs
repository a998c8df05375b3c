//! A configuration that cannot be used, or not without a restart.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::super::{Sidecar, field, read_until, sidecar_takes};
use super::{Backend, Folder, ask, eventually, metric, rejections, who};

#[test]
fn a_file_with_errors_is_ignored_and_reported_until_it_is_fixed() {
    let (old, new) = (Backend::named("old"), Backend::named("new"));
    let folder = Folder::new(&old.config(""));
    let mut sidecar = folder.start();
    assert_eq!(metric(&sidecar, "last_reload_successful"), 1);
    let began = metric(&sidecar, "last_reload_success_timestamp_seconds");
    folder.write(&new.config("timeouts.raed = \"5s\"\nheartbeat.interval = 15"));
    sidecar.signal("HUP");
    assert!(
        sidecar
            .wait_for("the previous one stays active")
            .contains("\"problems\":2")
    );
    let line = sidecar.wait_for("unknown key");
    assert_eq!(field(&line, "key").unwrap(), "timeouts.raed");
    assert_eq!(field(&line, "help").unwrap(), "did you mean `read`?");
    assert_eq!(
        field(&line, "file").unwrap(),
        folder.file().to_str().unwrap()
    );
    assert!(line.contains("\"line\":1"), "{line}");
    assert!(sidecar.line().contains("heartbeat.interval"));
    assert_eq!(who(&sidecar), "old");
    let rejected = &sidecar.status()["config_rejected"];
    assert_eq!(rejected[0]["key"], "timeouts.raed");
    assert_eq!(rejected[0]["help"], "did you mean `read`?");
    assert_eq!(rejected[1]["line"], 2);
    assert!(rejections(&sidecar) > 0);
    assert_eq!(metric(&sidecar, "last_reload_successful"), 0);

    // What may be part of a secret is not for the status page.
    folder.write(&new.config("route = [{ header = X-Key-hush }]"));
    sidecar.signal("HUP");
    sidecar.wait_for("not valid TOML");
    let status = sidecar.ask_admin("/status.json");
    assert!(status.contains("not valid TOML") && !status.contains("hush"));

    fs::remove_file(folder.file()).unwrap();
    sidecar.signal("HUP");
    sidecar.wait_for("cannot be read");
    assert_eq!(who(&sidecar), "old");

    folder.reload(&mut sidecar, &new.config(""));
    assert_eq!(who(&sidecar), "new");
    assert_eq!(sidecar.status()["config_rejected"], Value::Array(vec![]));
    assert_eq!(metric(&sidecar, "last_reload_successful"), 1);
    assert!(metric(&sidecar, "reloads_total{result=\"applied\"}") > 0);
    assert!(metric(&sidecar, "last_reload_success_timestamp_seconds") >= began);
}

#[test]
fn keys_that_need_a_restart_are_named_and_the_rest_is_applied() {
    let (old, new) = (Backend::named("old"), Backend::named("new"));
    let before = "server = { workers = 1, max_connections = 10 }\nlog.format = \"json\"\n";
    let folder = Folder::new(&old.config(before));
    let mut sidecar = folder.start();
    let after = "server = { workers = 2, max_connections = 1 }\nlog.format = \"text\"\n";
    let other = new
        .config(after)
        .replace("[[listener]]\naddress = \"127.0.0.1:0\"", "");
    let other = other + "[[listener]]\naddress = \"127.0.0.1:1\"\nproxy_protocol = true\n";
    folder.reload(&mut sidecar, &other);
    let mut named = Vec::new();
    for _ in 0..4 {
        let line = sidecar.wait_for("takes effect with the next restart");
        assert!(line.contains("\"line\":"), "{line}");
        named.push(field(&line, "key").unwrap());
    }
    let keys = [
        "listener[0].address",
        "listener[0].proxy_protocol",
        "server.workers",
        "log.format",
    ];
    assert_eq!(named, keys);
    let status = sidecar.status();
    let waiting = status["config_waiting"].as_array().unwrap();
    let waiting: Vec<_> = waiting
        .iter()
        .map(|key| key["key"].as_str().unwrap())
        .collect();
    assert_eq!(waiting, keys);
    let shown = status["config"].as_str().unwrap();
    assert!(shown.contains("workers = 1\n") && shown.contains("max_connections = 1\n"));
    assert!(shown.contains("format = \"json\"") && !shown.contains("127.0.0.1:1\""));
    assert_eq!(status["max_connections"], 1);

    let mut only = sidecar.connect();
    assert_eq!(ask(&mut only), "new");
    assert!(!sidecar_takes(&sidecar), "one connection is enough by now");
    drop(only);
    eventually("the place is free", || sidecar_takes(&sidecar));

    // Back to what it was: nothing waits.
    folder.reload(&mut sidecar, &old.config(before));
    assert_eq!(sidecar.status()["config_waiting"], Value::Array(vec![]));
}

#[test]
fn without_a_file_there_is_nothing_to_reload_and_a_drain_is_not_ended_by_it() {
    let backend = Backend::named("x");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sidecar"));
    let url = format!("http://{}", backend.address);
    command.args(["--upstream", &url, "--listen", "127.0.0.1:0"]);
    let mut sidecar = Sidecar::spawn(command.args(["--admin", "127.0.0.1:0"]));
    sidecar.signal("HUP");
    sidecar.wait_for("nothing to reload");
    let mut stream = sidecar.get("/events");
    read_until(&mut stream, "data: x\n\n");
    sidecar.signal("TERM");
    sidecar.wait_for("still accepting");
    sidecar.signal("HUP");
    assert_eq!(who(&sidecar), "x", "it goes on");
    sidecar.signal("TERM");
    assert_eq!(sidecar.exit().code(), Some(0));
}
