//! A response without a body is a head and nothing more, over every pair of protocols. All go over one connection of the client, so
//! that a byte too many shows in the next.

use http::{Method, Request};

use crate::common::{Sidecar, run};
use crate::either::WAYS;
use crate::shapes::{Client, Head, OK, Says, Seen, backend};

/// Answers `/as/STATUS/LABEL/LENGTH` with a head alone, and anything else with two bytes.
fn without_body(seen: &Seen) -> Says {
    let words: Vec<_> = seen.path.split('/').skip(2).collect();
    let [status, label, length] = words[..] else {
        return Says {
            status: 200,
            fields: vec![("Content-Length", OK.len().to_string())],
            body: Some(OK.to_owned()),
        };
    };
    let label = match label {
        "events" => Some("text/event-stream"),
        "events8" => Some("Text/Event-Stream; charset=utf-8"),
        "plain" => Some("text/plain"),
        _ => None,
    };
    let label = label.map(|label| ("Content-Type", label.to_owned()));
    let length = (length != "none").then(|| ("Content-Length", length.to_owned()));
    Says {
        status: status.parse().unwrap(),
        fields: label.into_iter().chain(length).collect(),
        body: None,
    }
}

/// A response that has no body because of its status, or because HEAD asked for it: whatever its label, whatever counts as an event
/// stream, whichever protocols carry it.
#[test]
fn a_response_without_a_body_is_its_head_and_nothing_more() {
    for (client, upstream) in WAYS {
        run(move || async move {
            let url = backend(upstream, without_body).await;
            let detect = ["auto", "always", "never"];
            let route =
                |detect| format!("[[route]]\npath = \"/{detect}\"\nevents.detect = \"{detect}\"\n");
            let sidecar = Sidecar::in_front_of(&url, &detect.map(route).concat()).await;
            let mut connection = Client::connect(&sidecar, client).await;
            for detect in detect {
                for label in ["none", "events", "events8", "plain"] {
                    for (method, status, lengths) in [
                        (Method::GET, 204, &["none"][..]),
                        (Method::OPTIONS, 204, &["none"]),
                        (Method::POST, 205, &["none", "0"]),
                        (Method::GET, 304, &["none", "0"]),
                        (Method::HEAD, 200, &["none", "0", "5"]),
                        (Method::HEAD, 404, &["none", "5"]),
                        (Method::HEAD, 204, &["none"]),
                    ] {
                        for length in lengths {
                            let path = format!("/{detect}/{status}/{label}/{length}");
                            let case = format!("{method} {path}, from {client:?} to {upstream:?}");
                            let head = ask(&mut connection, &method, &path).await;
                            assert_eq!(head.status, status, "{case}: {head:?}");
                            assert!(
                                !head.fields.contains_key("transfer-encoding"),
                                "{case}: {head:?}"
                            );
                            let said = head.fields.get("content-length");
                            assert!(
                                said.is_none_or(|said| said == length || said == "0"),
                                "{case}: {head:?}"
                            );
                            assert_eq!(whole(&mut connection).await, OK, "after {case}");
                        }
                    }
                }
            }
        });
    }
}

/// Asks for what is a head alone.
async fn ask(connection: &mut Client, method: &Method, path: &str) -> Head {
    match connection {
        Client::One(peer) => {
            let length = if *method == Method::POST {
                "Content-Length: 0\r\n"
            } else {
                ""
            };
            peer.send(format!(
                "{method} {path} HTTP/1.1\r\nHost: t\r\n{length}\r\n"
            ))
            .await;
            Head::of(&peer.head().await)
        }
        Client::Two(connection) => {
            let request = Request::builder()
                .method(method)
                .uri(format!("http://t{path}"));
            let whole = connection.get(request).await.unwrap();
            assert_eq!(whole.body, b"", "{method} {path}");
            assert!(
                whole.end.as_ref().is_ok_and(Option::is_none),
                "{method} {path}: {:?}",
                whole.end
            );
            Head {
                status: whole.head.status.as_u16(),
                fields: whole.head.headers,
            }
        }
    }
}

/// Asks for two bytes.
async fn whole(connection: &mut Client) -> String {
    match connection {
        Client::One(peer) => {
            peer.send("GET /ok HTTP/1.1\r\nHost: t\r\n\r\n").await;
            let head = peer.head().await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            String::from_utf8(peer.bytes(OK.len()).await).unwrap()
        }
        Client::Two(connection) => {
            let request = Request::builder().uri("http://t/ok");
            connection.get(request).await.unwrap().summary().1
        }
    }
}
