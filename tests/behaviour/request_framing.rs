//! A request has the same body on the other side, with every method and framing, over every pair of protocols. All go over one
//! connection of the client, so that a byte too many or too few shows in the next.

use std::future::poll_fn;

use bytes::Bytes;
use h2::SendStream;
use http::{HeaderMap, HeaderValue, Request};

use crate::common::{LAST_CHUNK, Sidecar, chunk, run};
use crate::either::{Http, WAYS, Whole};
use crate::shapes::{Client, Head, OK, Says, Seen, backend};

/// How a request's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// There is none: over HTTP/2 its head ends the stream.
    None,
    Length(usize),
    /// Chunked; over HTTP/2 frames of which the last ends the stream.
    Unknown(usize),
    /// The same, with trailers behind it.
    Trailers(usize),
}

impl Framing {
    fn length(self) -> usize {
        match self {
            Self::None => 0,
            Self::Length(length) | Self::Unknown(length) | Self::Trailers(length) => length,
        }
    }
}

/// Answers with what was seen.
fn mirror(seen: &Seen) -> Says {
    let Seen {
        method,
        length,
        coding,
        body,
        ..
    } = seen;
    let (length, coding) = (
        length.as_deref().unwrap_or("-"),
        coding.as_deref().unwrap_or("-"),
    );
    assert!(body.iter().all(|&byte| byte == b'b'));
    let told = format!("{method} {length} {coding} {}", body.len());
    let is_head = method == "HEAD";
    Says {
        status: 200,
        fields: vec![("X-Seen", told), ("Content-Length", OK.len().to_string())],
        body: (!is_head).then(|| OK.to_owned()),
    }
}

/// What a backend has to see of a request's framing, if it is this one that the client sent.
fn expected(method: &str, framing: Framing, upstream: Http) -> Vec<String> {
    let size = framing.length();
    let has_a_body = ["POST", "PUT", "PATCH"].contains(&method);
    let length = |length: &str| format!("{method} {length} - {size}");
    let unknown = match upstream {
        Http::One => format!("{method} - chunked {size}"),
        Http::Two => length("-"),
    };
    match framing {
        // A method that has a body says that it is empty (RFC 9110, section 8.6), where no END_STREAM says it.
        Framing::None if has_a_body && upstream == Http::One => vec![length("0")],
        Framing::None if has_a_body => vec![length("0"), length("-")],
        Framing::None => vec![length("-")],
        Framing::Length(size) => vec![length(&size.to_string())],
        Framing::Unknown(0) => vec![unknown, length("0"), length("-")],
        Framing::Unknown(_) | Framing::Trailers(_) => vec![unknown],
    }
}

#[test]
fn requests_keep_their_bodies_with_every_method_and_framing() {
    for (client, upstream) in WAYS {
        run(move || async move {
            let url = backend(upstream, mirror).await;
            let sidecar = Sidecar::in_front_of(&url, "").await;
            let mut connection = Client::connect(&sidecar, client).await;
            for method in [
                "GET", "HEAD", "DELETE", "POST", "PUT", "PATCH", "OPTIONS", "QUERY",
            ] {
                for framing in [
                    Framing::None,
                    Framing::Length(0),
                    Framing::Length(5),
                    Framing::Length(70_000),
                    Framing::Unknown(0),
                    Framing::Unknown(5),
                    Framing::Unknown(70_000),
                    Framing::Trailers(5),
                ] {
                    let seen = upload(&mut connection, method, framing).await;
                    let expected = expected(method, framing, upstream);
                    assert!(
                        expected.contains(&seen),
                        "{method} {framing:?} from {client:?} to {upstream:?}: {seen}, not {expected:?}"
                    );
                }
            }
        });
    }
}

/// What was seen of a request with such a body.
async fn upload(connection: &mut Client, method: &str, framing: Framing) -> String {
    let body = vec![b'b'; framing.length()];
    let seen = match connection {
        Client::One(peer) => {
            let (fields, body) = match framing {
                Framing::None => (String::new(), Vec::new()),
                Framing::Length(length) => (format!("Content-Length: {length}\r\n"), body),
                Framing::Unknown(_) | Framing::Trailers(_) => {
                    let data = if body.is_empty() {
                        Vec::new()
                    } else {
                        chunk(&body)
                    };
                    let end = match framing {
                        Framing::Trailers(_) => "0\r\nX-Sum: 7\r\n\r\n",
                        _ => LAST_CHUNK,
                    };
                    (
                        "Transfer-Encoding: chunked\r\n".to_owned(),
                        [&data[..], end.as_bytes()].concat(),
                    )
                }
            };
            let head = format!("{method} / HTTP/1.1\r\nHost: t\r\n{fields}\r\n");
            peer.send([head.as_bytes(), &body].concat()).await;
            let head = Head::of(&peer.head().await);
            if method != "HEAD" {
                assert_eq!(peer.bytes(OK.len()).await, OK.as_bytes());
            }
            head.fields
        }
        Client::Two(connection) => {
            let mut request = Request::builder().method(method).uri("http://t/");
            if let Framing::Length(length) = framing {
                request = request.header("content-length", length);
            }
            let uploads = framing != Framing::None;
            let sent = connection.send(request.body(()).unwrap(), uploads).await;
            let (response, mut sending) = sent.unwrap();
            if uploads {
                let is_last = !matches!(framing, Framing::Trailers(_));
                send_all(&mut sending, body.into(), is_last).await;
                if !is_last {
                    let trailers = [("x-sum".parse().unwrap(), HeaderValue::from_static("7"))];
                    sending
                        .send_trailers(HeaderMap::from_iter(trailers))
                        .unwrap();
                }
            }
            let whole = Whole::of(response).await.unwrap();
            let body = if method == "HEAD" { "" } else { OK };
            assert_eq!(
                whole.summary(),
                (200, body.to_owned(), true),
                "{method} {framing:?}"
            );
            whole.head.headers
        }
    };
    seen["x-seen"].to_str().unwrap().to_owned()
}

/// Sends as the window allows.
async fn send_all(stream: &mut SendStream<Bytes>, mut rest: Bytes, is_last: bool) {
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let capacity = poll_fn(|cx| stream.poll_capacity(cx))
            .await
            .unwrap()
            .unwrap();
        let part = rest.split_to(capacity.min(rest.len()));
        stream.send_data(part, false).unwrap();
    }
    if is_last {
        stream.send_data(Bytes::new(), true).unwrap();
    }
}
