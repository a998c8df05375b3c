//! Many reloads while requests are served.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::{DEADLINE, connect, read_until, resident_kib};
use super::{Backend, Folder, ask, eventually, metric};

#[test]
fn many_reloads_under_load_lose_no_request_and_leave_nothing_behind() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let rest = "server.workers = 2\nlog.level = \"warn\"\nheartbeat.interval = \"20ms\"\n";
    let route =
        |n: u32| format!("[[route]]\npath = \"/{n}\"\nupstream.url = \"http://127.0.0.{n}:1\"\n");
    let folder = Folder::new(&(one.config("server.workers = 2\n") + &route(1)));
    let mut sidecar = folder.start();
    let descriptors = || {
        let folder = format!("/proc/{}/fd", sidecar.child.id());
        let links = fs::read_dir(folder).unwrap();
        let links = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
        links.collect::<Vec<_>>()
    };
    let at_first = descriptors();
    let done = Arc::new(AtomicBool::new(false));
    let address: SocketAddr = sidecar.address.parse().unwrap();
    let load = |kept: bool| {
        let done = done.clone();
        std::thread::spawn(move || {
            let (mut client, mut asked) = (connect(address), 0);
            while !done.load(Ordering::SeqCst) {
                if !kept {
                    client = connect(address);
                }
                let name = ask(&mut client);
                assert!(name == "one" || name == "two");
                asked += 1;
            }
            asked
        })
    };
    let loads: Vec<_> = [true, true, false].map(load).into();
    let mut stream = sidecar.get("/events");
    let applied = || metric(&sidecar, "reloads_total{result=\"applied\"}");
    let threads = || {
        let folder = format!("/proc/{}/task", sidecar.child.id());
        fs::read_dir(folder).unwrap().count()
    };
    let reload = |number: u32| {
        let backend = if number.is_multiple_of(2) { &one } else { &two };
        let before = applied();
        folder.write(&(backend.config(rest) + &route(number)));
        sidecar.signal("HUP");
        eventually("it is reloaded", || applied() > before);
    };
    (1..50).for_each(&reload);
    let (before, had) = (resident_kib(sidecar.child.id()), threads());
    (50..250).for_each(&reload);
    let after = resident_kib(sidecar.child.id());
    done.store(true, Ordering::SeqCst);
    for load in loads {
        assert!(load.join().unwrap() > 50);
    }
    assert_eq!(threads(), had);
    assert!(after < before + 1024, "{before} KiB, then {after} KiB");
    read_until(&mut stream, "data: one\n\n");
    assert_eq!(sidecar.status()["upstreams"].as_array().unwrap().len(), 3);
    drop(stream);
    reload(250); // without the load's idle connections
    let deadline = Instant::now() + DEADLINE;
    while descriptors().len() > at_first.len() {
        let left = descriptors();
        assert!(
            Instant::now() < deadline,
            "at first {at_first:?}, then {left:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    sidecar.signal("INT");
    assert_eq!(sidecar.exit().code(), Some(0));
}
