//! gRPC as it looks on the wire: HTTP/2 on both sides, messages both ways at any time, the status in the trailers.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::time::{Instant, sleep, timeout};

use crate::common::{Sidecar, moment, run};
use crate::either::{Connection, Http, Teller, Whole, backend};

const PROMPTLY: Duration = Duration::from_millis(5);

/// A message with its prefix.
fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), text.as_bytes()]
        .concat()
        .into()
}

fn status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        "grpc-status".parse().unwrap(),
        HeaderValue::from_static(code),
    )])
}

/// The backend's side of a call.
struct Call {
    up: RecvStream,
    respond: SendResponse<Bytes>,
}

impl Call {
    fn of(teller: Teller) -> Self {
        let Teller::Two {
            request, respond, ..
        } = teller
        else {
            unreachable!()
        };
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers()["content-type"], "application/grpc");
        assert_eq!(request.headers()["grpc-timeout"], "1S");
        let up = request.into_body();
        Self { up, respond }
    }

    fn open(&mut self) -> SendStream<Bytes> {
        let head = Response::builder().header("content-type", "application/grpc");
        self.respond
            .send_response(head.body(()).unwrap(), false)
            .unwrap()
    }
}

/// The next message; `None` at the end. Each comes in a frame of its own.
async fn next(stream: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    loop {
        match stream.data().await? {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                stream.flow_control().release_capacity(data.len()).unwrap();
                return Some(Ok(data));
            }
            Err(error) => return Some(Err(error)),
        }
    }
}

/// A sidecar, a backend behind it that does with each call what `script` says, and a client.
async fn call<F: Future<Output = ()> + 'static>(
    toml: &str,
    script: impl Fn(Call) -> F + 'static,
) -> (ResponseFuture, SendStream<Bytes>) {
    let url = backend(Http::Two, move |teller| script(Call::of(teller))).await;
    let sidecar = Sidecar::in_front_of(&url, toml).await;
    let request = Request::builder()
        .method("POST")
        .uri("http://test/package.Service/Method")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "1S");
    let client = Connection::to(&sidecar).await;
    client.send(request.body(()).unwrap(), true).await.unwrap()
}

#[test]
fn calls_of_each_kind_with_few_messages() {
    for (up, down) in [(1, 1), (3, 1), (1, 3), (0, 0), (3, 3)] {
        run(move || async move {
            let (response, mut upload) = call("", move |mut call| async move {
                for n in 0..up {
                    assert_eq!(
                        next(&mut call.up).await.unwrap().unwrap(),
                        message(&n.to_string())
                    );
                }
                assert!(next(&mut call.up).await.is_none());
                let mut sending = call.open();
                for n in 0..down {
                    sending.send_data(message(&n.to_string()), false).unwrap();
                }
                sending.send_trailers(status("0")).unwrap();
            })
            .await;
            for n in 0..up {
                upload.send_data(message(&n.to_string()), false).unwrap();
            }
            upload.send_data(Bytes::new(), true).unwrap();
            let whole = Whole::of(response).await.unwrap();
            assert_eq!(whole.head.headers["content-type"], "application/grpc");
            let expected: Vec<_> = (0..down).flat_map(|n| message(&n.to_string())).collect();
            assert_eq!(
                (whole.body, whole.end.unwrap()),
                (expected, Some(status("0")))
            );
        });
    }
}

#[test]
fn messages_pass_both_ways_before_either_side_has_ended() {
    run(|| async {
        let (response, mut upload) = call("", |mut call| async move {
            let mut sending = call.open();
            while let Some(said) = next(&mut call.up).await {
                sleep(Duration::from_secs(1)).await;
                sending.send_data(said.unwrap(), false).unwrap();
            }
            sending.send_trailers(status("0")).unwrap();
        })
        .await;
        let mut down = timeout(PROMPTLY, response)
            .await
            .unwrap()
            .unwrap()
            .into_body();
        for n in 0..5 {
            let said = message(&format!("message {n}"));
            let start = Instant::now();
            upload.send_data(said.clone(), false).unwrap();
            assert_eq!(next(&mut down).await.unwrap().unwrap(), said);
            assert!(start.elapsed() < Duration::from_secs(1) + PROMPTLY);
        }
        upload.send_data(Bytes::new(), true).unwrap();
        assert!(next(&mut down).await.is_none());
        assert_eq!(down.trailers().await.unwrap(), Some(status("0")));
    });
}

#[test]
fn a_response_of_trailers_only() {
    run(|| async {
        let (response, mut upload) = call("", |mut call| async move {
            let head = Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "12");
            call.respond
                .send_response(head.body(()).unwrap(), true)
                .unwrap();
        })
        .await;
        upload.send_data(message("x"), false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "12");
        assert!(
            response.body().is_end_stream(),
            "it would be no such response otherwise"
        );
    });
}

#[test]
fn a_status_may_come_before_the_client_has_said_all() {
    run(|| async {
        let (response, mut upload) = call("", |mut call| async move {
            next(&mut call.up).await.unwrap().unwrap();
            let mut sending = call.open();
            sending.send_data(message("enough"), false).unwrap();
            sending.send_trailers(status("8")).unwrap();
        })
        .await;
        upload.send_data(message("x"), false).unwrap();
        let whole = Whole::of(response).await.unwrap();
        assert_eq!(
            (whole.body, whole.end.unwrap()),
            (message("enough").to_vec(), Some(status("8")))
        );
        let reset = timeout(PROMPTLY, poll_fn(|cx| upload.poll_reset(cx))).await;
        assert_eq!(
            reset.unwrap().unwrap(),
            Reason::NO_ERROR,
            "asks for no more of it"
        );
    });
}

#[test]
fn a_cancelled_call_is_cancelled_at_the_backend() {
    for opened in [false, true] {
        for half_closed in [false, true] {
            run(move || async move {
                let (gone, mut seen) = moment();
                let (response, mut upload) = call("", move |mut call| {
                    let gone = gone.clone();
                    async move {
                        next(&mut call.up).await.unwrap().unwrap();
                        if opened {
                            let mut sending = call.open();
                            sending.send_data(message("first"), false).unwrap();
                            gone(poll_fn(|cx| sending.poll_reset(cx)).await.unwrap());
                        } else {
                            gone(poll_fn(|cx| call.respond.poll_reset(cx)).await.unwrap());
                        }
                    }
                })
                .await;
                upload.send_data(message("x"), half_closed).unwrap();
                let mut response = Some(response);
                let mut down = None;
                if opened {
                    let stream = response.take().unwrap().await.unwrap().into_body();
                    next(down.insert(stream)).await.unwrap().unwrap();
                }
                sleep(Duration::from_secs(1)).await;
                let left = Instant::now();
                upload.send_reset(Reason::CANCEL);
                let (at, code) = seen.recv().await.unwrap();
                assert_eq!(
                    code,
                    Reason::CANCEL,
                    "opened: {opened}, half closed: {half_closed}"
                );
                assert!(at - left < PROMPTLY);
            });
        }
    }
}

#[test]
fn the_backends_reset_is_passed_on_with_its_code() {
    for code in [
        Reason::REFUSED_STREAM,
        Reason::ENHANCE_YOUR_CALM,
        Reason::CANCEL,
        Reason::INTERNAL_ERROR,
        Reason::INADEQUATE_SECURITY,
    ] {
        run(move || async move {
            let (response, mut upload) = call("", move |mut call| async move {
                let mut sending = call.open();
                sending.send_data(message("first"), false).unwrap();
                sleep(Duration::from_secs(1)).await;
                sending.send_reset(code);
            })
            .await;
            upload.send_data(message("x"), false).unwrap();
            let whole = Whole::of(response).await.unwrap();
            assert_eq!(whole.body, message("first"));
            let error = whole.end.unwrap_err();
            assert_eq!(error.reason(), Some(code));
            assert!(error.is_reset() && error.is_remote());
        });
        // Before the head, a status can still report it.
        run(move || async move {
            let (response, mut upload) = call("", move |mut call| async move {
                next(&mut call.up).await.unwrap().unwrap();
                call.respond.send_reset(code);
            })
            .await;
            upload.send_data(message("x"), true).unwrap();
            let (status, body, ended) = Whole::of(response).await.unwrap().summary();
            assert!(ended && status == 502, "{status}");
            assert!(body.contains("upstream_closed_before_head"), "{body}");
        });
    }
}

#[test]
fn a_deadline_of_the_sidecar_cancels_the_call_at_both_ends() {
    run(|| async {
        let (gone, mut seen) = moment();
        let (response, mut upload) = call("timeouts.read = \"10s\"", move |mut call| {
            let gone = gone.clone();
            async move {
                let mut sending = call.open();
                sending.send_data(message("first"), false).unwrap();
                gone(poll_fn(|cx| sending.poll_reset(cx)).await.unwrap());
            }
        })
        .await;
        upload.send_data(message("x"), false).unwrap();
        let start = Instant::now();
        let whole = Whole::of(response).await.unwrap();
        assert_eq!(
            whole.end.unwrap_err().reason(),
            Some(Reason::INTERNAL_ERROR)
        );
        assert_eq!(start.elapsed().as_secs(), 10);
        let (at, code) = seen.recv().await.unwrap();
        assert!(at - start < Duration::from_secs(10) + PROMPTLY);
        assert_eq!(code, Reason::CANCEL);
    });
}

#[test]
fn a_call_may_be_silent_upwards_while_it_is_answered() {
    run(|| async {
        let (response, upload) = call("", |mut call| async move {
            let mut sending = call.open();
            for _ in 0..5 {
                sleep(Duration::from_secs(50)).await;
                sending.send_data(message("tick"), false).unwrap();
            }
            sending.send_trailers(status("0")).unwrap();
        })
        .await;
        let whole = Whole::of(response).await.unwrap();
        assert_eq!(whole.end.unwrap(), Some(status("0")));
        drop(upload);
    });
}
