//! The same over HTTP/2, where a reset of the stream can be told from the loss of its connection.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::common::{EVENTS, LAST_CHUNK, Sidecar, chunk, run};
use crate::either::{Connection, request};
use crate::kept::{Backends, event, id_of};

fn get(id: &str) -> http::Request<()> {
    let mut get = request("GET").header("accept", "text/event-stream");
    if !id.is_empty() {
        get = get.header("last-event-id", id);
    }
    get.body(()).unwrap()
}

async fn data(body: &mut h2::RecvStream) -> Option<Bytes> {
    let data = body.data().await?.ok()?;
    let _ = body.flow_control().release_capacity(data.len());
    Some(data)
}

#[test]
fn a_reset_is_a_stop_where_the_route_says_so() {
    for (on_reset, loses_connection, is_kept) in [
        ("keep", false, true),
        ("cancel", false, false),
        ("keep", true, true),
        ("cancel", true, true),
    ] {
        run(move || async move {
            let mut backends = Backends::start().await;
            let toml = format!("resume.grace = \"2s\"\nresume.on_reset = \"{on_reset}\"");
            let sidecar = Sidecar::start(backends.address, &toml).await;
            let socket = std::net::TcpStream::connect(sidecar.address).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.set_nodelay(true).unwrap();
            let same = tokio::net::TcpStream::from_std(socket.try_clone().unwrap()).unwrap();
            let connection = Connection::over(same, |_| {}).await;
            let (response, _) = connection.send(get(""), false).await.unwrap();
            let mut backend = backends.next().await;
            backend
                .send([EVENTS.as_bytes(), &chunk(event(1))].concat())
                .await;
            let mut body = response.await.unwrap().into_body();
            let seen = data(&mut body).await.unwrap();
            let id = id_of(str::from_utf8(&seen).unwrap());
            let left = Instant::now();
            if loses_connection {
                socket.shutdown(std::net::Shutdown::Both).unwrap();
            }
            drop(body); // which resets the stream
            if is_kept {
                sleep(Duration::from_millis(100)).await;
                backend.send(chunk(event(2))).await;
                sleep(Duration::from_millis(10)).await;
                let again = Connection::to(&sidecar).await;
                let (response, _) = again.send(get(&id), false).await.unwrap();
                let response = response.await.unwrap();
                assert_eq!(response.headers()["sse-sidecar-resumed"], "1");
                let mut body = response.into_body();
                let seen = data(&mut body).await.unwrap();
                assert!(
                    seen.starts_with(b"data: 2\n"),
                    "{on_reset} {loses_connection}"
                );
                backend.send(LAST_CHUNK).await;
                while data(&mut body).await.is_some() {}
                assert!(backends.no_more());
            } else {
                backend.closed().await;
                assert!(left.elapsed() < Duration::from_millis(5), "{on_reset}");
            }
        });
    }
}

#[test]
fn a_stream_that_its_client_does_not_read_is_superseded_and_stopped_too() {
    run(|| async {
        let mut backends = Backends::start().await;
        let toml = "resume.grace = \"30s\"\nresume.history = \"8MiB\"\ntimeouts.write = \"off\"";
        let sidecar = Sidecar::start(backends.address, toml).await;
        let connection = Connection::to(&sidecar).await;
        let (response, _) = connection.send(get(""), false).await.unwrap();
        let mut backend = backends.next().await;
        backend
            .send([EVENTS.as_bytes(), &chunk(event(1))].concat())
            .await;
        let mut body = response.await.unwrap().into_body();
        let seen = data(&mut body).await.unwrap();
        let id = id_of(str::from_utf8(&seen).unwrap());
        // Far more than its window takes.
        let long = format!("data: {}\n\n", "x".repeat(2 * 1024 * 1024));
        backend.send(chunk(&long)).await;
        let again = Connection::to(&sidecar).await;
        let (response, _) = again.send(get(&id), false).await.unwrap();
        let mut second = response.await.unwrap().into_body();
        let mut length = 0;
        while length < long.len() {
            length += data(&mut second).await.unwrap().len();
        }
        let asked = Instant::now();
        let stop = http::Request::delete("http://t/events").header("last-event-id", &id);
        let (response, _) = again.send(stop.body(()).unwrap(), false).await.unwrap();
        assert_eq!(response.await.unwrap().status(), 204);
        backend.closed().await;
        assert!(asked.elapsed() < Duration::from_millis(5));
        while data(&mut second).await.is_some() {}
        drop(body);
    });
}
