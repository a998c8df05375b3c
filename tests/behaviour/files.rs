//! Routes that answer with files, over HTTP/1 and HTTP/2.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::sleep;

use crate::common::{Sidecar, backend_that_says, run};
use crate::either::{Connection, request};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nAPI";

/// A folder with a page and a large file, and a sidecar that has it below `/app` and an API beside it.
async fn site() -> (TempDir, Sidecar) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("index.html"), "the page").unwrap();
    fs::write(folder.path().join("large"), large()).unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("sub/index.html"), "the other page").unwrap();
    let sidecar = Sidecar::start(backend_that_says(OK).await, &routes(folder.path())).await;
    (folder, sidecar)
}

fn routes(root: &Path) -> String {
    let root = root.display();
    format!(
        r#"
        [[route]]
        path = "/app"
        files = {{ root = "{root}", fallback = "index.html" }}
        response_headers.set = {{ "Cache-Control" = "no-cache" }}
        timeouts.read = "40s"
        cors = {{ origins = ["https://a.test"] }}
        [[route]]
        path_exact = "/sub/index.html"
        files = {{ root = "{root}" }}
        events.detect = "always"
        "#
    )
}

fn large() -> Vec<u8> {
    (0..=255).cycle().take(1_000_000).collect()
}

/// The head and the body of the answer to a request with HTTP/1, which is the last on its connection.
async fn ask(sidecar: &Sidecar, request: &str, fields: &str) -> (String, Vec<u8>) {
    let request = format!("{request} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{fields}\r\n");
    let mut peer = sidecar.request(&request).await;
    let head = peer.head().await.to_lowercase();
    (head, peer.rest().await.0)
}

#[test]
fn a_route_has_files_and_the_next_a_backend() {
    run(|| async {
        let (_folder, sidecar) = site().await;
        let (head, body) = ask(&sidecar, "GET /app/", "Origin: https://a.test\r\n").await;
        assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
        assert_eq!(body, b"the page");
        for field in [
            "content-length: 8\r\n",
            "content-type: text/html; charset=utf-8\r\n",
            "cache-control: no-cache\r\n",
            "access-control-allow-origin: https://a.test\r\n",
        ] {
            assert!(head.contains(field), "{field} {head}");
        }
        assert_eq!(head.matches("\r\ndate: ").count(), 1, "{head}");
        assert_eq!(ask(&sidecar, "GET /other", "").await.1, b"API");
        // The whole path, for nothing is below it.
        assert_eq!(
            ask(&sidecar, "GET /sub/index.html", "").await.1,
            b"the other page"
        );

        let connection = Connection::to(&sidecar).await;
        let page = connection
            .get(request("GET").uri("http://t/app/users/7"))
            .await
            .unwrap();
        assert_eq!(page.summary(), (200, "the page".to_owned(), true));
        assert_eq!(page.head.headers["content-length"], "8");
        assert_eq!(page.head.headers.get_all("date").iter().count(), 1);
    });
}

#[test]
fn a_head_says_what_a_get_would() {
    run(|| async {
        let (_folder, sidecar) = site().await;
        let connection = Connection::to(&sidecar).await;
        for path in ["/app/", "/app/large", "/sub/index.html"] {
            let (get, _) = ask(&sidecar, &format!("GET {path}"), "").await;
            let (head, body) = ask(&sidecar, &format!("HEAD {path}"), "").await;
            let fields = |head: &str| -> Vec<String> {
                let lines = head.lines().filter(|line| !line.starts_with("date: "));
                lines
                    .filter(|line| !line.starts_with("x-request-id"))
                    .map(str::to_owned)
                    .collect()
            };
            assert_eq!(fields(&head), fields(&get), "{path}");
            assert!(body.is_empty());
            let head = connection
                .get(request("HEAD").uri(format!("http://t{path}")))
                .await
                .unwrap();
            let length = head.head.headers["content-length"].to_str().unwrap();
            assert!(
                get.contains(&format!("content-length: {length}\r\n")),
                "{get}"
            );
            assert!(head.body.is_empty() && head.end.is_ok());
        }
    });
}

#[test]
fn a_large_file_and_a_part_of_it_arrive_whole() {
    run(|| async {
        let (_folder, sidecar) = site().await;
        let (_, body) = ask(&sidecar, "GET /app/large", "").await;
        assert!(body == large());
        let (head, body) = ask(&sidecar, "GET /app/large", "Range: bytes=70000-699999\r\n").await;
        assert!(head.starts_with("http/1.1 206 "), "{head}");
        assert!(body == large()[70_000..700_000]);
        let connection = Connection::to(&sidecar).await;
        let whole = connection
            .get(request("GET").uri("http://t/app/large"))
            .await
            .unwrap();
        assert!(whole.body == large() && whole.end.is_ok());
    });
}

#[test]
fn a_client_that_has_it_gets_nothing_again() {
    run(|| async {
        let (_folder, sidecar) = site().await;
        let connection = Connection::to(&sidecar).await;
        let first = connection
            .get(request("GET").uri("http://t/app/large"))
            .await
            .unwrap();
        let tag = first.head.headers["etag"].to_str().unwrap();
        let again = request("GET")
            .uri("http://t/app/large")
            .header("if-none-match", tag);
        let again = connection.get(again).await.unwrap();
        assert_eq!(again.summary(), (304, String::new(), true));
        let (head, body) = ask(
            &sidecar,
            "GET /app/large",
            &format!("If-None-Match: {tag}\r\n"),
        )
        .await;
        assert!(
            head.starts_with("http/1.1 304 ") && !head.contains("content-length"),
            "{head}"
        );
        assert!(body.is_empty());
    });
}

#[test]
fn a_folder_is_left_for_its_page() {
    run(|| async {
        let (_folder, sidecar) = site().await;
        for (path, location) in [("/app?x=1", "./app/?x=1"), ("/app/sub", "./sub/")] {
            let (head, _) = ask(&sidecar, &format!("GET {path}"), "").await;
            assert!(head.starts_with("http/1.1 301 "), "{head}");
            assert!(
                head.contains(&format!("\r\nlocation: {location}\r\n")),
                "{head}"
            );
        }
    });
}

#[test]
fn what_is_refused_has_its_reason_and_the_routes_fields() {
    run(|| async {
        let (_folder, sidecar) = site().await;
        for (line, status, reason) in [
            ("GET /app/gone.js", "404", "no_file"),
            ("GET /app/../secret", "200", ""), // which is no path of the route, but of the backend's
            ("GET /app/%2e%2e/app/large", "404", "no_file"),
            ("GET /app/..%2flarge", "404", "no_file"),
            ("GET /app/.env", "404", "no_file"),
            ("POST /app/", "405", "file_method_refused"),
            ("OPTIONS /app/", "405", "file_method_refused"),
        ] {
            let (head, body) = ask(&sidecar, line, "Content-Length: 0\r\n").await;
            let body = String::from_utf8(body).unwrap();
            assert!(
                head.starts_with(&format!("http/1.1 {status} ")),
                "{line}: {head}"
            );
            assert!(body.contains(reason), "{line}: {body}");
            assert_eq!(
                head.contains("cache-control: no-cache\r\n"),
                status != "200",
                "{head}"
            );
            assert_eq!(
                head.contains("\r\nallow: get, head\r\n"),
                status == "405",
                "{head}"
            );
        }
        let series = "sse_sidecar_refused_total{reason=\"no_file\",side=\"client\"}";
        let refused = sidecar.metric(series);
        assert!((refused - 4.0).abs() < 0.1, "{refused}");
    });
}

#[test]
fn a_file_that_becomes_shorter_ends_as_cut() {
    run(|| async {
        let (folder, sidecar) = site().await;
        let shorten = |length| {
            let file = fs::File::options()
                .write(true)
                .open(folder.path().join("large"));
            file.unwrap().set_len(length).unwrap();
        };
        // More than all sockets take.
        shorten(50_000_000);
        let mut peer = sidecar
            .request("GET /app/large HTTP/1.1\r\nHost: t\r\n\r\n")
            .await;
        let head = peer.head().await.to_lowercase();
        assert!(head.contains("content-length: 50000000\r\n"), "{head}");
        shorten(1000);
        let (body, _) = peer.rest().await;
        assert!(body.len() < 50_000_000, "{}", body.len());

        shorten(50_000_000);
        let connection = Connection::to(&sidecar).await;
        let get = request("GET").uri("http://t/app/large").body(()).unwrap();
        let (response, _) = connection.send(get, false).await.unwrap();
        let (_, mut stream) = response.await.unwrap().into_parts();
        shorten(1000);
        let error = loop {
            match stream.data().await.unwrap() {
                Ok(data) => stream.flow_control().release_capacity(data.len()).unwrap(),
                Err(error) => break error,
            }
        };
        assert!(error.is_reset(), "{error}");
    });
}

/// The `read` timeout is not for files: the next piece is read when the client wants it.
#[test]
fn a_slow_client_gets_all_of_it() {
    run(|| async {
        let (folder, sidecar) = site().await;
        let length = 8_000_000;
        let file = fs::File::options()
            .write(true)
            .open(folder.path().join("large"));
        file.unwrap().set_len(length).unwrap();
        let connection = Connection::to(&sidecar).await;
        let get = request("GET").uri("http://t/app/large").body(()).unwrap();
        let (response, _) = connection.send(get, false).await.unwrap();
        let (_, mut stream) = response.await.unwrap().into_parts();
        let mut got = 0;
        while let Some(data) = stream.data().await {
            let data = data.unwrap();
            got += data.len() as u64;
            stream.flow_control().release_capacity(data.len()).unwrap();
            if got < 200_000 {
                sleep(Duration::from_secs(25)).await;
            }
        }
        assert_eq!(got, length);
    });
}
