//! Answers that are whole before their requests have been read: both arrive, of every size around the buffers on the way.

use std::any::Any;
use std::future::poll_fn;

use bytes::Bytes;
use h2::SendStream;
use http::Response;
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_local;

use crate::common::{Peer, Sidecar, moment, run};
use crate::either::{Connection, Http, Teller, WAYS, Whole, backend, request};

/// Sizes around the buffers.
fn sizes() -> impl Iterator<Item = usize> {
    let around = |kib: usize| [-1, 0, 1].map(|more| (kib * 1024).saturating_add_signed(more));
    [1].into_iter()
        .chain([8, 64, 128, 256].into_iter().flat_map(around))
}

/// The sizes of an answer, and of the request that it does not wait for.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    sizes().flat_map(|size| [(size, size), (1, size), (size, 300_000)])
}

#[test]
fn an_early_answer_and_its_request_arrive_whole() {
    for (client, upstream) in WAYS {
        run(move || async move {
            let (read, mut seen) = moment();
            let url = backend(upstream, move |teller| {
                let read = read.clone();
                async move { read(answer(teller).await) }
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            for (answer, upload) in pairs() {
                let case = format!("{answer} for {upload}, from {client:?} to {upstream:?}");
                let target = format!("/{answer}/{upload}");
                // What is left of a request ends with its client's connection.
                let (got, stays) = match client {
                    Http::One => ask_http1(&sidecar, &target, answer, upload).await,
                    Http::Two => ask_http2(&sidecar, &target, upload).await,
                };
                assert_eq!(got, answer, "{case}");
                assert_eq!(seen.recv().await.unwrap().1, upload, "{case}");
                drop(stays);
            }
        });
    }
}

/// Answers, and then reads the request; how long its body was.
async fn answer(teller: Teller) -> usize {
    let sizes = |path: &str| {
        let mut sizes = path
            .split('/')
            .skip(1)
            .map(|size| size.parse::<usize>().unwrap());
        (sizes.next().unwrap(), sizes.next().unwrap())
    };
    match teller {
        Teller::One { mut peer, head } => {
            let (answer, upload) = sizes(head.split(' ').nth(1).unwrap());
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {answer}\r\n\r\n");
            peer.send([head.as_bytes(), &vec![b'a'; answer]].concat())
                .await;
            let length = peer.bytes(upload).await.len();
            assert_eq!(peer.take(), b"");
            length
        }
        Teller::Two {
            request,
            mut respond,
            ..
        } => {
            let (answer, _) = sizes(request.uri().path());
            let head = Response::builder().header("content-length", answer);
            let head = head.body(()).unwrap();
            let mut stream = respond.send_response(head, false).unwrap();
            send_all(&mut stream, vec![b'a'; answer].into()).await;
            let (mut body, mut length) = (request.into_body(), 0);
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                length += data.len();
            }
            length
        }
    }
}

/// How long the answer is, and the connection.
async fn ask_http1(
    sidecar: &Sidecar,
    target: &str,
    answer: usize,
    upload: usize,
) -> (usize, Box<dyn Any>) {
    let head = format!("POST {target} HTTP/1.1\r\nHost: t\r\nContent-Length: {upload}\r\n\r\n");
    let (reading, mut writing) = sidecar.request(&head).await.stream.into_split();
    let sent = spawn_local(async move {
        writing.write_all(&vec![b'b'; upload]).await.unwrap();
        writing
    });
    let mut reading = Peer::over(tokio::io::join(reading, tokio::io::sink()));
    let head = reading.head().await.to_lowercase();
    assert!(
        head.contains(&format!("content-length: {answer}\r\n")),
        "{head}"
    );
    let length = reading.bytes(answer).await.len();
    let writing = sent.await.unwrap();
    (length, Box::new((reading, writing)))
}

async fn ask_http2(sidecar: &Sidecar, target: &str, upload: usize) -> (usize, Box<dyn Any>) {
    let client = Connection::to(sidecar).await;
    let request = request("POST").uri(format!("http://t{target}"));
    let request = request.header("content-length", upload);
    let (response, mut sending) = client.send(request.body(()).unwrap(), true).await.unwrap();
    let sent = spawn_local(async move { send_all(&mut sending, vec![b'b'; upload].into()).await });
    let whole = Whole::of(response).await.unwrap();
    assert_eq!(whole.end.unwrap(), None);
    sent.await.unwrap();
    (whole.body.len(), Box::new(client))
}

/// Sends as the window allows, and then the end.
async fn send_all(stream: &mut SendStream<Bytes>, mut rest: Bytes) {
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let capacity = poll_fn(|cx| stream.poll_capacity(cx))
            .await
            .unwrap()
            .unwrap();
        let part = rest.split_to(capacity.min(rest.len()));
        stream.send_data(part, rest.is_empty()).unwrap();
    }
}
