//! Connections of all kinds, and too many of them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{DEADLINE, Sidecar, backend, config, read_until, sidecar_takes};

#[test]
fn it_speaks_tls_and_closes_what_is_too_much() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name: &str| {
        let name = format!("process-{}-{name}", std::process::id());
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
    };
    let (certificate, key) = (path("tls.crt"), path("tls.key"));
    fs::write(&certificate, pair.cert.pem()).unwrap();
    fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let tls = format!("tls = {{ certificate = {certificate:?}, private_key = {key:?} }}");
    let mut sidecar = Sidecar::start(&(config(backend(), "server.max_connections = 1") + &tls));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let session = rustls::ClientConnection::new(client.into(), name).unwrap();
    let mut client = rustls::StreamOwned::new(session, sidecar.connect());
    let get = "GET /plain HTTP/1.1\r\nHost: t\r\n\r\n";
    client.write_all(get.as_bytes()).unwrap();
    let mut answer = vec![0; 15];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, b"HTTP/1.1 200 OK");
    while !answer.ends_with(b"\r\n\r\nok") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }

    let mut refused = sidecar.connect();
    assert_eq!(refused.read(&mut [0]).unwrap(), 0, "without a word");
    let metrics = sidecar.ask_admin("/metrics");
    let counted = "sse_sidecar_refused_total{reason=\"too_many_connections\",side=\"proxy\"} 1";
    assert!(metrics.contains(counted), "{metrics}");

    sidecar.signal("INT");
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "closed in order");
    assert_eq!(sidecar.exit().code(), Some(0));
    let _ = (fs::remove_file(certificate), fs::remove_file(key));
}

#[test]
fn sockets_of_both_kinds_on_both_sides() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (front, back) = (
        directory.join(format!("front-{}", std::process::id())),
        directory.join(format!("back-{}", std::process::id())),
    );
    let _ = fs::remove_file(&back);
    let listener = std::os::unix::net::UnixListener::bind(&back).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).unwrap();
            stream
                .write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: unix\n\n",
                )
                .unwrap();
        }
    });
    // A file that an earlier process left behind is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(&front));
    let toml = format!(
        "admin.listen = \"off\"\nupstream.url = \"unix:{}\"\n[[listener]]\naddress = \"unix:{}\"\n",
        back.display(),
        front.display()
    );
    let mut sidecar = Sidecar::start(&toml);
    let mut client = UnixStream::connect(&front).unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\ndata: unix\n\n"), "{answer}");
    sidecar.signal("INT");
    assert_eq!(sidecar.exit().code(), Some(0));
    assert!(!front.exists(), "the socket's file is removed");
}

#[test]
fn a_proxy_protocol_header_on_a_unix_socket() {
    let front =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("proxied-{}", std::process::id()));
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let toml = format!(
        "admin.listen = \"off\"\nupstream.url = \"http://{}\"\n[[listener]]\naddress = \"unix:{}\"\nproxy_protocol = true\n",
        backend.local_addr().unwrap(),
        front.display()
    );
    std::thread::spawn(move || {
        for stream in backend.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 1024];
            let length = stream.read(&mut head).unwrap();
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
            stream.write_all(&head[..length]).unwrap();
        }
    });
    let mut sidecar = Sidecar::start(&toml);
    for (header, says) in [
        (
            "PROXY TCP4 192.0.2.60 192.0.2.1 56324 443\r\n",
            "\r\nx-forwarded-for: 192.0.2.60\r\n",
        ),
        ("PROXY UNKNOWN\r\n", "\r\nforwarded: for=unknown;"),
    ] {
        let mut client = UnixStream::connect(&front).unwrap();
        write!(client, "{header}GET / HTTP/1.0\r\nHost: t\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(says), "{answer}");
    }
    // A connection without its PROXY header does not delay the end.
    let mut silent = UnixStream::connect(&front).unwrap();
    silent.write_all(b"PROXY ").unwrap();
    sidecar.signal("INT");
    assert_eq!(sidecar.exit().code(), Some(0));
}

#[test]
fn too_many_connections_are_rejected_and_no_open_one_suffers() {
    let sidecar = Sidecar::start(&config(backend(), "server.max_connections = 2"));
    let mut first = sidecar.get("/events");
    read_until(&mut first, "data: x\n\n\r\n");
    let mut second = sidecar.get("/plain");
    read_until(&mut second, "\r\n\r\nok");
    let mut third = sidecar.get("/plain");
    let answer = read_until(&mut third, "}\n");
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: "),
        "{answer}"
    );
    write!(second, "GET /plain HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    read_until(&mut second, "\r\n\r\nok");
    drop(second);
    // The place is free as soon as the worker has seen the connection close.
    let deadline = Instant::now() + DEADLINE;
    while !sidecar_takes(&sidecar) {
        assert!(Instant::now() < deadline, "the place never becomes free");
    }
}

#[test]
fn running_out_of_file_descriptors_costs_no_stream_no_cpu_and_one_warning() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("descriptors-{}.toml", std::process::id()));
    fs::write(&file, config(backend(), "server.workers = 2")).unwrap();
    let program = env!("CARGO_BIN_EXE_sse-sidecar");
    let limited = format!("ulimit -n 50 && exec {program} --config {}", file.display());
    let mut sidecar = Sidecar::spawn(Command::new("sh").args(["-c", &limited]));
    let mut ticking = sidecar.get("/ticks");
    read_until(&mut ticking, "data: tick\n\n");
    let mut held: Vec<_> = (0..60).map(|_| sidecar.connect()).collect();
    sidecar.wait_for("cannot accept connections");
    for _ in 0..20 {
        assert!(sidecar.ask_admin("/live").ends_with("live\n"), "probed");
    }

    let (before, since) = (cpu_time(sidecar.child.id()), Instant::now());
    while since.elapsed() < Duration::from_secs(1) {
        read_until(&mut ticking, "data: tick\n\n");
    }
    let used = cpu_time(sidecar.child.id()).saturating_sub(before);
    assert!(used < Duration::from_millis(200), "{used:?} in a second");

    // Each connection that closes makes room for a waiting one, and then there is none for the next.
    while let Some(connection) = held.pop() {
        drop(connection);
        std::thread::sleep(Duration::from_millis(20));
    }
    let deadline = Instant::now() + DEADLINE;
    while !sidecar
        .seen
        .iter()
        .any(|line| line.contains("accepting connections again"))
    {
        assert!(Instant::now() < deadline, "it never says so");
        assert!(sidecar_takes(&sidecar));
        sidecar.seen.extend(sidecar.log.try_iter());
    }
    read_until(&mut ticking, "data: tick\n\n");
    let warnings = |text| {
        sidecar
            .seen
            .iter()
            .filter(|line| line.contains(text))
            .count()
    };
    // One for each time that there was room again: on a busy machine several may have left before the next was let in.
    assert_eq!(
        warnings("cannot accept"),
        warnings("accepting connections again")
    );
}

/// The CPU time that a process has used.
fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, from_third) = stat.rsplit_once(") ").unwrap();
    let field = |number: usize| from_third.split(' ').nth(number - 3).unwrap();
    let ticks: u64 = [14, 15]
        .map(|n| field(n).parse::<u64>().unwrap())
        .iter()
        .sum();
    Duration::from_millis(10 * ticks)
}
