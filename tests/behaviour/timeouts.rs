//! Every timeout, with its status or ending, its reason and its counter.

use std::time::Duration;

use crate::common::full_sockets;
use crate::common::{
    Closed, EVENTS, GET_EVENTS, LAST_CHUNK, Sidecar, backend, backend_that_says, chunk, moment,
    run, unanswering, watched,
};
use tokio::time::{Instant, sleep};

fn refused(sidecar: &Sidecar, reason: &str, side: &str) -> bool {
    (sidecar.metric(&format!(
        "sse_sidecar_refused_total{{reason=\"{reason}\",side=\"{side}\"}}"
    )) - 1.0)
        .abs()
        < 0.1
}

fn cancelled(sidecar: &Sidecar, phase: &str) -> bool {
    (sidecar.metric(&format!(
        "sse_sidecar_upstream_cancels_total{{phase=\"{phase}\"}}"
    )) - 1.0)
        .abs()
        < 0.1
}

#[test]
fn connect() {
    run(|| async {
        let (address, _queue) = unanswering();

        let sidecar = Sidecar::start(address, "").await;
        let start = Instant::now();
        let mut client = sidecar.get_events().await;
        assert!(client.head().await.starts_with("HTTP/1.1 504 "));
        assert_eq!(start.elapsed().as_secs(), 5);
        assert!(
            client
                .until("}")
                .await
                .contains(r#""reason":"upstream_connect_timeout""#)
        );
        assert!(refused(&sidecar, "upstream_connect_timeout", "upstream"));
    });
}

#[test]
fn response_head() {
    run(|| async {
        let (backend, mut seen) = watched("").await;
        let sidecar = Sidecar::start(backend, "").await;
        let start = Instant::now();
        let mut client = sidecar.get_events().await;
        assert!(client.head().await.starts_with("HTTP/1.1 504 "));
        assert_eq!(start.elapsed().as_secs(), 120);
        assert!(
            client
                .until("}")
                .await
                .contains(r#""reason":"upstream_head_timeout""#)
        );
        assert_eq!(
            (seen.recv().await.unwrap().0 - start).as_secs(),
            120,
            "the upstream is cancelled"
        );
        assert!(refused(&sidecar, "upstream_head_timeout", "upstream"));
        assert!(cancelled(&sidecar, "waiting_for_head"));
    });
}

#[test]
fn response_head_does_not_run_while_the_request_is_still_coming() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.until("cccc").await;
            sleep(Duration::from_secs(5)).await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
        })
        .await;
        let sidecar = Sidecar::start(backend, "timeouts.response_head = \"10s\"").await;
        let mut client = sidecar
            .request("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 12\r\n\r\n")
            .await;
        for part in ["aaaa", "bbbb", "cccc"] {
            sleep(Duration::from_secs(50)).await;
            client.send(part).await;
        }
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn first_event() {
    run(|| async {
        let backend =
            backend_that_says([EVENTS.as_bytes(), &chunk(": only a comment\n\n")].concat()).await;
        let sidecar = Sidecar::start(backend, "timeouts.first_event = \"20s\"").await;
        let start = Instant::now();
        let mut client = sidecar.get_events().await;
        client.head().await;
        let (body, complete) = client.chunks().await;
        assert_eq!(start.elapsed().as_secs(), 20);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            ": only a comment\n\n: heartbeat\n"
        );
        assert!(!complete, "an abort, not a clean end");
        assert!((sidecar.ends("upstream_first_event_timeout", "upstream") - 1.0).abs() < 0.1);
    });
}

#[test]
fn first_event_is_satisfied_by_one() {
    run(|| async {
        let backend = backend_that_says([EVENTS.as_bytes(), &chunk("data: x\n\n")].concat()).await;
        let sidecar = Sidecar::start(backend, "timeouts.first_event = \"20s\"").await;
        let mut client = sidecar.get_events().await;
        client.head().await;
        let start = Instant::now();
        assert!(!client.chunks().await.1);
        assert_eq!(
            start.elapsed().as_secs(),
            120,
            "it is the read clock that ends it"
        );
    });
}

#[test]
fn read_ends_a_stream_that_heartbeats_kept_alive() {
    run(|| async {
        let (backend, mut seen) =
            watched([EVENTS.as_bytes(), &chunk("data: x\n\n")].concat()).await;
        let sidecar = Sidecar::start(backend, "").await;
        let start = Instant::now();
        let mut client = sidecar.get_events().await;
        client.head().await;
        let (body, complete) = client.chunks().await;
        assert_eq!(start.elapsed().as_secs(), 120);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            format!("data: x\n\n{}", ": heartbeat\n".repeat(7))
        );
        assert!(!complete);
        assert_eq!((seen.recv().await.unwrap().0 - start).as_secs(), 120);
        assert!((sidecar.ends("upstream_read_timeout", "upstream") - 1.0).abs() < 0.1);
        assert!(cancelled(&sidecar, "streaming"));
    });
}

#[test]
fn read_cuts_an_ordinary_body() {
    run(|| async {
        let backend = backend_that_says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf ").await;
        let sidecar = Sidecar::start(backend, "timeouts.read = \"7s\"").await;
        let start = Instant::now();
        let mut client = sidecar.request("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
        client.head().await;
        assert_eq!(client.rest().await, (b"half ".to_vec(), Closed::Fin));
        assert_eq!(start.elapsed().as_secs(), 7);
        assert!(cancelled(&sidecar, "body"));
    });
}

#[test]
fn total_ends_cleanly_between_events() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            peer.send(EVENTS).await;
            for part in ["data: a", "\n\nda", "ta: b\n", "\ndata: c\n\n"]
                .iter()
                .cycle()
            {
                peer.send(chunk(part)).await;
                sleep(Duration::from_secs(1)).await;
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "timeouts.total = \"100s\"").await;
        let start = Instant::now();
        let mut client = sidecar.get_events().await;
        client.head().await;
        let (body, complete) = client.chunks().await;
        let seconds = start.elapsed().as_secs();
        assert!((90..=104).contains(&seconds), "{seconds}");
        assert!(complete, "a planned end is a clean one");
        assert!(body.ends_with(b"\n\n"));
        assert!((sidecar.ends("total", "proxy") - 1.0).abs() < 0.1);
    });
}

#[test]
fn request_head_of_a_silent_connection() {
    run(|| async {
        let sidecar = Sidecar::start(backend_that_says("").await, "").await;
        let start = Instant::now();
        let mut client = sidecar.connect().await;
        assert_eq!(client.rest().await, (Vec::new(), Closed::Fin));
        assert_eq!(start.elapsed().as_secs(), 10);
    });
}

#[test]
fn request_head_of_a_slow_one() {
    run(|| async {
        let sidecar = Sidecar::start(backend_that_says("").await, "").await;
        let mut client = sidecar.connect().await;
        let start = Instant::now();
        for part in ["GET / ", "HTTP/1.1\r\n", "Host: t\r\n", "X: "] {
            client.send(part).await;
            sleep(Duration::from_secs(2)).await;
        }
        assert!(client.head().await.starts_with("HTTP/1.1 408 "));
        assert_eq!(start.elapsed().as_secs(), 10);
        assert!(
            client
                .until("}")
                .await
                .contains(r#""reason":"request_head_timeout""#)
        );
        assert!(refused(&sidecar, "request_head_timeout", "client"));
    });
}

#[test]
fn request_body() {
    run(|| async {
        let (backend, mut seen) = watched("").await;
        let sidecar = Sidecar::start(backend, "").await;
        let start = Instant::now();
        let mut client = sidecar
            .request("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhalf ")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 408 "));
        assert_eq!(start.elapsed().as_secs(), 60);
        assert!(
            client
                .until("}")
                .await
                .contains(r#""reason":"request_body_timeout""#)
        );
        assert_eq!((seen.recv().await.unwrap().0 - start).as_secs(), 60);
        assert!(refused(&sidecar, "request_body_timeout", "client"));
    });
}

#[test]
fn keep_alive() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            loop {
                peer.head().await;
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.connect().await;
        for _ in 0..3 {
            client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
            client.head().await;
            client.until("ok").await;
            sleep(Duration::from_secs(70)).await;
        }
        let start = Instant::now();
        assert_eq!(client.rest().await, (Vec::new(), Closed::Fin));
        assert_eq!(start.elapsed().as_secs(), 5);
    });
}

#[test]
fn write_drops_a_client_that_takes_nothing() {
    run(|| async {
        let (gone, mut seen) = moment();
        let backend = backend(move |mut peer| {
            let gone = gone.clone();
            async move {
                use tokio::io::AsyncWriteExt;
                peer.head().await;
                peer.send(EVENTS).await;
                let event = chunk(format!("data: {}\n\n", "x".repeat(10_000)));
                let mut sent = 0_usize;
                while peer.stream.write_all(&event).await.is_ok() {
                    sent += event.len();
                }
                gone(sent);
            }
        })
        .await;
        let sidecar = Sidecar::start(backend, "").await;
        let mut client = sidecar.get_events().await;
        full_sockets(&sidecar).await;
        let start = Instant::now();
        let (at, sent) = seen.recv().await.unwrap();
        let after = (at - start).as_secs_f64();
        assert!((29.9..38.0).contains(&after), "{after}");
        assert!(
            sent < 64 * 1024 * 1024,
            "back-pressure reaches the backend: {sent}"
        );
        assert!((sidecar.ends("client_stalled", "client") - 1.0).abs() < 0.1);
        assert!(cancelled(&sidecar, "streaming"));
        assert_eq!(
            client.closed().await,
            Closed::Reset,
            "the kernel holds nothing on"
        );
    });
}

/// A client whose kernel takes little reads a little now and then, so slowly that its socket never takes more within the time.
#[test]
fn write_does_not_drop_a_client_that_reads_slowly() {
    use tokio::io::AsyncReadExt;
    run(|| async {
        const LENGTH: usize = 400_000;
        // What the kernel may need to open a window: an acknowledgement can be delayed by 40 ms.
        const DELAY: Duration = Duration::from_millis(60);
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n{}",
            "x".repeat(LENGTH)
        );
        let backend = backend_that_says(response).await;
        let sidecar = Sidecar::start(backend, "timeouts.write = \"2s\"").await;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut client = crate::common::Peer::new(socket.connect(sidecar.address).await.unwrap());
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
        client.head().await;
        let mut left = LENGTH - client.take().len();
        let mut block = [0; 5000];
        while left > 0 {
            sleep(Duration::from_secs(1)).await;
            std::thread::sleep(DELAY);
            left -= client.stream.read(&mut block).await.unwrap();
        }
    });
}

#[test]
fn off_is_off() {
    run(|| async {
        let backend = backend(|mut peer| async move {
            peer.head().await;
            sleep(Duration::from_secs(100_000)).await;
            peer.send(EVENTS).await;
            sleep(Duration::from_secs(100_000)).await;
            peer.send(chunk("data: x\n\n")).await;
            peer.send(LAST_CHUNK).await;
        })
        .await;
        let toml = r#"
            heartbeat.interval = "off"
            timeouts = { response_head = "off", read = "off", request_head = "off" }
        "#;
        let sidecar = Sidecar::start(backend, toml).await;
        let mut client = sidecar.connect().await;
        sleep(Duration::from_secs(1000)).await;
        client.send(GET_EVENTS).await;
        client.head().await;
        assert_eq!(client.chunk().await, "data: x\n\n");
        assert_eq!(client.chunk().await, "");
    });
}
