//! Connections to upstreams that speak HTTP/2: shared, left when the upstream says so, and opened again.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use h2::Reason;
use h2::server::Builder;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use crate::common::{Peer, Sidecar, run};
use crate::either::{Connection, End, Http, Teller, WAYS, request, url};

/// A backend's connections, from outside.
#[derive(Default)]
struct Control {
    tasks: RefCell<Vec<JoinHandle<()>>>,
    /// To be notified for a GOAWAY on all of them.
    leave: Rc<Notify>,
}

impl Control {
    fn connections(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Closes all of them.
    fn restart(&self) {
        for task in &*self.tasks.borrow() {
            task.abort();
        }
    }
}

/// A backend that serves its connections as `settings` say, and gives `script` each request with its connection's number.
async fn backend<F: Future<Output = ()> + 'static>(
    settings: impl Fn(&mut Builder) + Clone + 'static,
    script: impl Fn(usize, Teller) -> F + Clone + 'static,
) -> (String, Rc<Control>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url(Http::Two, listener.local_addr().unwrap());
    let control = Rc::new(Control::default());
    let shown = control.clone();
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (settings, script) = (settings.clone(), script.clone());
            let (number, leave) = (control.connections(), control.leave.clone());
            let serving = spawn_local(async move {
                let mut builder = Builder::new();
                settings(&mut builder);
                let Ok(mut connection) = builder.handshake(stream).await else {
                    return;
                };
                loop {
                    let accepted = tokio::select! {
                        accepted = connection.accept() => accepted,
                        () = leave.notified() => {
                            connection.graceful_shutdown();
                            continue;
                        }
                    };
                    let Some(Ok((request, respond))) = accepted else {
                        return;
                    };
                    let body = None;
                    spawn_local(script(
                        number,
                        Teller::Two {
                            request,
                            respond,
                            body,
                        },
                    ));
                }
            });
            control.tasks.borrow_mut().push(serving);
        }
    });
    (url, shown)
}

/// Answers with the number of the connection.
async fn tell(number: usize, mut teller: Teller) {
    teller.open(200, "text/plain").await;
    teller.say(&number.to_string()).await;
    teller.end().await;
}

/// What `get` of a client brings: the number of the upstream's connection, where all is well.
async fn ask(client: &Connection) -> String {
    let response = client.get(request("GET")).await.unwrap();
    let (status, body, ended) = response.summary();
    assert!(status == 200 && ended, "{status} {body}");
    body
}

#[test]
fn requests_that_come_together_share_a_connection() {
    run(|| async {
        let (url, control) = backend(
            |_| {},
            |number, mut teller: Teller| async move {
                teller.open_events().await;
                teller.say(&number.to_string()).await;
                sleep(Duration::from_secs(1000)).await;
            },
        )
        .await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        let mut streams = Vec::new();
        for _ in 0..2 {
            let client = Connection::to(&sidecar).await;
            for _ in 0..75 {
                streams.push(client.ask("").await);
            }
        }
        for stream in &mut streams {
            assert!(stream.head().await.contains("200"));
        }
        assert_eq!(control.connections(), 2, "a hundred on each");
    });
}

#[test]
fn no_connection_gets_more_streams_than_its_upstream_allows() {
    run(|| async {
        let few = |builder: &mut Builder| {
            builder.max_concurrent_streams(5);
        };
        let (url, control) = backend(few, |number, mut teller: Teller| async move {
            sleep(Duration::from_secs(1)).await;
            teller.open(200, "text/plain").await;
            sleep(Duration::from_secs(1)).await;
            teller.say(&number.to_string()).await;
            teller.end().await;
        })
        .await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        for round in 0..2 {
            let client = Connection::to(&sidecar).await;
            let asking: Vec<_> = (0..23)
                .map(|_| {
                    let client = client.clone();
                    spawn_local(async move { ask(&client).await })
                })
                .collect();
            let mut counts = [0; 5];
            for answer in asking {
                counts[answer.await.unwrap().parse::<usize>().unwrap()] += 1;
            }
            assert_eq!(counts, [5, 5, 5, 5, 3], "in round {round}");
        }
        assert_eq!(control.connections(), 5);
    });
}

#[test]
fn an_upstream_that_goes_away_finishes_its_streams_and_gets_no_more() {
    run(|| async {
        let (url, control) = backend(
            |_| {},
            |number, mut teller: Teller| async move {
                if teller.asked().contains("accept") {
                    teller.open_events().await;
                    sleep(Duration::from_secs(10)).await;
                } else {
                    teller.open(200, "text/plain").await;
                }
                teller.say(&number.to_string()).await;
                teller.end().await;
            },
        )
        .await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        let client = Connection::to(&sidecar).await;
        let mut stream = client.ask("").await;
        stream.head().await;
        control.leave.notify_one();
        sleep(Duration::from_secs(1)).await;
        for _ in 0..3 {
            assert_eq!(ask(&client).await, "1");
        }
        // Nor is a request with a body lost, which cannot be sent twice.
        let (response, mut upload) = client
            .send(request("POST").body(()).unwrap(), true)
            .await
            .unwrap();
        upload.send_data("x".into(), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        assert_eq!(stream.rest().await, ("0".to_owned(), End::Clean));
        assert_eq!(control.connections(), 2);
    });
}

#[test]
fn a_refused_request_goes_out_once_more() {
    for (method, body, refusals, status) in [
        ("GET", "", 1, 200),
        ("POST", "", 1, 200), // it was not processed: "Clients MAY automatically retry" it
        ("GET", "", 2, 502),
        ("POST", "x", 1, 502),
    ] {
        run(move || async move {
            let left = Rc::new(Cell::new(0));
            let refusing = left.clone();
            let (url, _) = backend(
                |_| {},
                move |number, mut teller: Teller| {
                    let left = refusing.clone();
                    async move {
                        if left.get() > 0 {
                            left.set(left.get() - 1);
                            let Teller::Two { respond, .. } = &mut teller else {
                                unreachable!()
                            };
                            return respond.send_reset(Reason::REFUSED_STREAM);
                        }
                        tell(number, teller).await;
                    }
                },
            )
            .await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let client = Connection::to(&sidecar).await;
            for warm in [false, true] {
                left.set(refusals);
                let asked = request(method).body(()).unwrap();
                let (response, mut upload) = client.send(asked, !body.is_empty()).await.unwrap();
                if !body.is_empty() {
                    upload.send_data(body.into(), true).unwrap();
                }
                let seen = response.await.unwrap().status();
                assert_eq!(seen, status, "{method} {body:?} {refusals}, warm: {warm}");
            }
        });
    }
}

#[test]
fn a_backend_that_restarts_is_found_again() {
    run(|| async {
        let (url, control) = backend(|_| {}, tell).await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        let client = Connection::to(&sidecar).await;
        for number in 0..3 {
            assert_eq!(ask(&client).await, number.to_string());
            assert_eq!(ask(&client).await, number.to_string());
            control.restart();
            if number == 1 {
                sleep(Duration::from_secs(1)).await; // at rest, and in the midst of things
            }
        }
    });
}

#[test]
fn a_lost_connection_ends_all_its_streams_and_no_other() {
    for (client, _) in [WAYS[0], WAYS[2]] {
        run(move || async move {
            let (url, control) = backend(
                |_| {},
                |_, mut teller: Teller| async move {
                    if teller.asked().contains("accept") {
                        teller.open_events().await;
                        teller.say("data: x\n\n").await;
                    }
                    sleep(Duration::from_secs(1000)).await;
                },
            )
            .await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let mut streams = Vec::new();
            for _ in 0..3 {
                let mut stream = crate::either::Asker::ask(&sidecar, client).await;
                stream.head().await;
                streams.push(stream);
            }
            let mut waiting = sidecar
                .request("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")
                .await;
            sleep(Duration::from_millis(10)).await;
            assert_eq!(control.connections(), 1);
            control.restart();
            for stream in &mut streams {
                assert_eq!(stream.rest().await, ("data: x\n\n".to_owned(), End::Cut));
            }
            assert!(waiting.head().await.starts_with("HTTP/1.1 502 "));
            let says = waiting.until("}").await;
            assert!(says.contains("upstream_closed_before_head"), "{says}");
        });
    }
}

#[test]
fn cancelled_requests_never_cost_the_connection() {
    run(|| async {
        let (url, control) = backend(
            |_| {},
            |_, mut teller: Teller| async move {
                teller.open_events().await;
                // It hears of the end only after it has said some more.
                for _ in 0..3 {
                    teller.say("data: x\n\n").await;
                }
                let Teller::Two { body, .. } = &mut teller else {
                    unreachable!()
                };
                let body = body.as_mut().unwrap();
                while body.send_data("data: y\n\n".into(), false).is_ok() {
                    tokio::task::yield_now().await;
                }
            },
        )
        .await;
        let sidecar = Sidecar::in_front_of(&url, "").await;
        let mut patient = sidecar.get_events().await;
        patient.head().await;
        for _ in 0..50 {
            let mut streams = Vec::new();
            for _ in 0..40 {
                streams.push(sidecar.get_events().await);
            }
            for stream in &mut streams {
                stream.head().await;
            }
        }
        assert_eq!(patient.chunk().await.split_once('\n').unwrap().0, "data: x");
        assert_eq!(control.connections(), 1);
    });
}

#[test]
fn an_upstream_of_another_protocol_is_reported_as_such() {
    for says in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        run(move || async move {
            let backend = crate::common::backend(move |mut peer: Peer| async move {
                peer.send(says).await;
                peer.closed().await;
            })
            .await;
            let sidecar = Sidecar::in_front_of(&format!("h2c://{backend}"), "").await;
            let mut client = sidecar.get_events().await;
            let head = timeout(Duration::from_secs(1), client.head())
                .await
                .unwrap();
            assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
            let body = client.until("}").await;
            assert!(body.contains("upstream_invalid_head"), "{body}");
        });
    }
}
