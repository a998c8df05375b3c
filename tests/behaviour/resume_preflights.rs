//! A page of another origin may send `Last-Event-ID` where its backend lets it ask for events, although the backend knows nothing of ids.

use crate::common::{Sidecar, run};
use crate::kept::{Backends, GRACE};

#[test]
fn the_backend_is_asked_without_it_and_its_yes_holds_for_it() {
    for (allows, toml, is_mended) in [
        (
            "Access-Control-Allow-Origin: https://a.test\r\nAccess-Control-Allow-Headers: content-type\r\n",
            GRACE,
            true,
        ),
        ("Access-Control-Allow-Origin: *\r\n", GRACE, true),
        ("", GRACE, false),
        ("Access-Control-Allow-Origin: *\r\n", "", false),
    ] {
        run(move || async move {
            let mut backends = Backends::start().await;
            let sidecar = Sidecar::start(backends.address, toml).await;
            let request = "OPTIONS /events HTTP/1.1\r\nHost: t\r\nOrigin: https://a.test\r\nAccess-Control-Request-Method: POST\r\n\
                           Access-Control-Request-Headers: content-type,last-event-id\r\n\r\n";
            let mut client = sidecar.request(request).await;
            let (head, mut backend) = backends.next_head().await;
            assert_eq!(head.contains("last-event-id"), toml.is_empty(), "{head}");
            assert!(head.contains("content-type"), "{head}");
            backend
                .send(format!("HTTP/1.1 204 No Content\r\n{allows}\r\n"))
                .await;
            let head = client.head().await.to_lowercase();
            assert_eq!(head.contains("last-event-id"), is_mended, "{head}");
        });
    }
}
