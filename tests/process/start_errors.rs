//! What a failed start says.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

#[test]
fn a_port_in_use_is_said_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let program = env!("CARGO_BIN_EXE_sse-sidecar");
    let arguments = [
        "--listen",
        &address,
        "--upstream",
        "http://127.0.0.1:1",
        "--admin",
        "off",
    ];
    let output = Command::new(program).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains(&format!(
            "error: cannot listen on {address}: Address already in use"
        )),
        "{said}"
    );
    assert!(said.contains("choose another address"), "{said}");
}

#[test]
fn every_error_of_a_configuration_is_reported() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("wrong-{}.toml", std::process::id()));
    fs::write(
        &file,
        "upstream.url = \"127.0.0.1:3000\"\ntimeouts.raed = \"5s\"\n",
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sse-sidecar"))
        .arg("--config")
        .arg(file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("http://127.0.0.1:3000") && said.contains("`read`"),
        "{said}"
    );
}
