//! Nobody reads another's stream, and nobody finds out that there is one.

use std::time::Duration;

use tokio::time::sleep;

use crate::common::{EVENTS, LAST_CHUNK, Peer, Sidecar, chunk, run};
use crate::kept::{Backends, GRACE, event, get, id_of, with};

async fn begun(toml: &str, shown: &str) -> (Sidecar, Backends, Peer, String) {
    let mut backends = Backends::start().await;
    let sidecar = Sidecar::start(backends.address, toml).await;
    let mut client = sidecar.request(&with(&get(""), shown)).await;
    let mut backend = backends.next().await;
    backend
        .send([EVENTS.as_bytes(), &chunk(event(1)), &chunk(event(2))].concat())
        .await;
    client.head().await;
    let mut seen = String::new();
    while !seen.contains("data: 2") || seen.matches("id: ").count() < 2 {
        seen += &client.chunk().await;
    }
    (sidecar, backends, backend, id_of(&seen).replace(".2", ".1"))
}

/// Whether whoever shows this gets the stream; whoever does not gets what an unknown cursor gets.
async fn gets(sidecar: &Sidecar, backends: &mut Backends, id: &str, shown: &str) -> bool {
    let mut client = sidecar.request(&with(&get(id), shown)).await;
    sleep(Duration::from_millis(10)).await;
    if backends.no_more() {
        let head = client.head().await;
        if head.starts_with("HTTP/1.1 400 ") {
            return false; // what MCP takes for an unknown cursor
        }
        assert!(head.contains("sse-sidecar-resumed: 1\r\n"), "{head}");
        assert!(client.chunk().await.starts_with("data: 2\n"));
        return true;
    }
    false
}

#[test]
fn a_cursor_alone_is_not_enough() {
    run(|| async {
        let shown = "Cookie: sid=1; theme=dark\r\nAuthorization: Bearer a";
        let (sidecar, mut backends, mut backend, id) = begun(GRACE, shown).await;
        for other in [
            "Cookie: sid=1; theme=dark\r\nAuthorization: Bearer b",
            "Cookie: sid=2; theme=dark\r\nAuthorization: Bearer a",
            "Cookie: sid=1; theme=dark",
            "Authorization: Bearer a",
            "X-Nothing: 1",
            "Cookie: sid=1; theme=dark\r\nAuthorization: Bearer a\r\nMcp-Session-Id: 1",
        ] {
            assert!(!gets(&sidecar, &mut backends, &id, other).await, "{other}");
        }
        let foreign = sidecar.metric("sse_sidecar_resumes_total{result=\"foreign\"}");
        assert!((foreign - 6.0).abs() < 0.1, "{foreign}");
        assert!(gets(&sidecar, &mut backends, &id, shown).await);
        backend.send(LAST_CHUNK).await;
    });
}

#[test]
fn one_cookie_can_be_what_counts() {
    run(|| async {
        let toml = format!("{GRACE}\nresume.identity = [\"cookie:sid\"]");
        let (sidecar, mut backends, mut backend, id) = begun(&toml, "Cookie: sid=1; n=1").await;
        assert!(gets(&sidecar, &mut backends, &id, "Cookie: n=2; sid=1").await);
        assert!(
            gets(
                &sidecar,
                &mut backends,
                &id,
                "Cookie: sid=1\r\nAuthorization: x"
            )
            .await
        );
        assert!(!gets(&sidecar, &mut backends, &id, "Cookie: sid=12").await);
        backend.send(LAST_CHUNK).await;
    });
}

#[test]
fn ids_of_the_backends_own_count_for_those_who_show_who_they_are() {
    for (shown, is_replayed) in [("Cookie: sid=1", true), ("X-Nothing: 1", false)] {
        run(move || async move {
            let mut backends = Backends::start().await;
            let sidecar = Sidecar::start(backends.address, GRACE).await;
            let mut client = sidecar.request(&with(&get(""), shown)).await;
            let mut backend = backends.next().await;
            let own = |id: &str| chunk(format!("id: {id}\ndata: {id}\n\n"));
            backend
                .send([EVENTS.as_bytes(), &own("a"), &own("b"), &own("c")].concat())
                .await;
            client.head().await;
            let mut seen = String::new();
            while !seen.ends_with("data: c\n\n") {
                seen += &client.chunk().await;
            }
            assert!(!seen.contains("id: _"), "{seen}");
            drop(client);
            sleep(Duration::from_millis(10)).await;
            let mut client = sidecar.request(&with(&get("b"), shown)).await;
            sleep(Duration::from_millis(10)).await;
            if is_replayed {
                assert!(backends.no_more(), "one request");
                client.head().await;
                assert_eq!(client.chunk().await, "id: c\ndata: c\n\n");
                backend.send(own("d")).await;
                assert_eq!(client.chunk().await, "id: d\ndata: d\n\n");
                // Another page of the same user is another stream, and one that is not kept goes to the backend as it is.
                for (target, id) in [("/other", "b"), ("/events", "z")] {
                    let request = with(&get(id), shown).replace("/events", target);
                    let mut other = sidecar.request(&request).await;
                    let (head, mut peer) = backends.next_head().await;
                    assert!(head.contains(&format!("Last-Event-ID: {id}\r\n")), "{head}");
                    peer.send([EVENTS.as_bytes(), LAST_CHUNK.as_bytes()].concat())
                        .await;
                    other.head().await;
                }
            } else {
                let (head, mut peer) = backends.next_head().await;
                assert!(head.contains("Last-Event-ID: b\r\n"), "{head}");
                peer.send([EVENTS.as_bytes(), LAST_CHUNK.as_bytes()].concat())
                    .await;
                backend.closed().await; // it could not be found again
                return;
            }
            backend.send(LAST_CHUNK).await;
        });
    }
}
