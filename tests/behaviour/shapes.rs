//! A backend that looks at each request and says what the test wants of it, and a client's one connection: whichever HTTP they speak.

use h2::RecvStream;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::TcpListener;
use tokio::task::spawn_local;

use crate::common::{Peer, Sidecar};
use crate::either::{Connection, Http, Teller, serve, url};

/// A request as a backend saw it, and what it answers.
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) length: Option<String>,
    pub(crate) coding: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// What a backend says of a request.
#[derive(Default)]
pub(crate) struct Says {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(&'static str, String)>,
    /// `None` where a head is all.
    pub(crate) body: Option<String>,
}

/// A backend that answers each request, however many come on a connection. Returns its URL.
pub(crate) async fn backend(http: Http, answer: fn(&Seen) -> Says) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            spawn_local(async move {
                match http {
                    Http::One => answer_http1(Peer::new(stream), answer).await,
                    Http::Two => {
                        stream.set_nodelay(true).unwrap();
                        serve(stream, &|teller| answer_http2(teller, answer)).await;
                    }
                }
            });
        }
    });
    url(http, address)
}

async fn answer_http1(mut peer: Peer, answer: fn(&Seen) -> Says) {
    while let Some(head) = peer.try_head().await {
        let field = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            let mut values = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
            let value = values.next().map(|(_, value)| value.to_owned());
            assert!(values.next().is_none(), "two of {name} in {head}");
            value
        };
        let (length, coding) = (field("content-length"), field("transfer-encoding"));
        let body = match (&length, &coding) {
            (_, Some(_)) => peer.chunks().await.0,
            (Some(length), None) => peer.bytes(length.parse().unwrap()).await,
            (None, None) => Vec::new(),
        };
        let mut words = head.split(' ').map(str::to_owned);
        let seen = Seen {
            method: words.next().unwrap(),
            path: words.next().unwrap(),
            length,
            coding,
            body,
        };
        let says = answer(&seen);
        let field = |(name, value): &(_, _)| format!("{name}: {value}\r\n");
        let fields: String = says.fields.iter().map(field).collect();
        let body = says.body.unwrap_or_default();
        peer.send(format!("HTTP/1.1 {} X\r\n{fields}\r\n{body}", says.status))
            .await;
    }
}

async fn answer_http2(teller: Teller, answer: fn(&Seen) -> Says) {
    let Teller::Two {
        request,
        mut respond,
        ..
    } = teller
    else {
        unreachable!()
    };
    let (head, body) = request.into_parts();
    let field = |name| {
        head.headers
            .get(name)
            .map(|value: &HeaderValue| value.to_str().unwrap().to_owned())
    };
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        length: field("content-length"),
        coding: field("transfer-encoding"),
        body: all_of(body).await,
    };
    let says = answer(&seen);
    let mut response = Response::builder().status(says.status);
    for (name, value) in says.fields {
        response = response.header(name, value);
    }
    let response = response.body(()).unwrap();
    let mut sending = respond
        .send_response(response, says.body.is_none())
        .unwrap();
    if let Some(body) = says.body {
        sending.send_data(body.into(), true).unwrap();
    }
}

async fn all_of(mut body: RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    all
}

/// A client's one connection.
pub(crate) enum Client {
    One(Peer),
    Two(Connection),
}

impl Client {
    pub(crate) async fn connect(sidecar: &Sidecar, http: Http) -> Self {
        match http {
            Http::One => Self::One(sidecar.connect().await),
            Http::Two => Self::Two(Connection::to(sidecar).await),
        }
    }
}

/// A response's head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
}

impl Head {
    pub(crate) fn of(text: &str) -> Self {
        let mut lines = text.trim_end().lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let mut fields = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let name: http::HeaderName = name.parse().unwrap();
            fields.append(name, value.parse().unwrap());
        }
        Self {
            status: status.parse().unwrap(),
            fields,
        }
    }
}

/// What a body holds that says nothing.
pub(crate) const OK: &str = "ok";
