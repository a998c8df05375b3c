//! What a folder answers, as a whole.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::*;

/// The standard library makes none.
fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A folder with files, outside of which there is another one.
struct Site {
    folder: TempDir,
    files: Files,
    runtime: Runtime,
}

struct Answer {
    head: response::Parts,
    body: Vec<u8>,
}

impl Site {
    /// With `index.html`, `a.txt`, `b/index.html`, and `outside/secret.txt` beside the root.
    fn new(fallback: Option<&str>) -> Self {
        let folder = TempDir::new().unwrap();
        let files = Files::new(&config::Files {
            root: folder.path().join("root"),
            fallback: fallback.map(str::to_owned),
        });
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let site = Self {
            folder,
            files,
            runtime,
        };
        site.write("index.html", "the index");
        site.write("a.txt", "0123456789");
        site.write("b/index.html", "the index of b");
        site.write("../outside/secret.txt", "a secret");
        site
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    /// Writes a file as of a minute ago.
    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(now() - Duration::from_secs(60)).unwrap();
    }

    fn ask(
        &self,
        method: &Method,
        uri: &str,
        below: &str,
        fields: &[(&str, &str)],
    ) -> Result<(response::Parts, Incoming), Reason> {
        let headers = fields.iter().map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        let headers = headers.collect();
        let uri = uri.parse().unwrap();
        self.runtime
            .block_on(self.files.answer(method, &uri, below, &headers))
    }

    fn get(&self, path: &str, fields: &[(&str, &str)]) -> Result<Answer, Reason> {
        let below = path.split('?').next().unwrap();
        let (head, body) = self.ask(&Method::GET, path, below, fields)?;
        let body = self.runtime.block_on(body.collect()).unwrap();
        Ok(Answer {
            head,
            body: body.to_bytes().to_vec(),
        })
    }

    fn refusal(&self, path: &str, fields: &[(&str, &str)]) -> Reason {
        self.get(path, fields).err().unwrap()
    }
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        let value = self.head.headers.get(name)?;
        Some(value.to_str().unwrap())
    }
}

const HTML: (&str, &str) = ("accept", "text/html,*/*;q=0.8");

#[test]
fn a_file_comes_with_what_is_known_of_it() {
    let site = Site::new(None);
    let answer = site.get("/a.txt", &[]).unwrap();
    assert_eq!(answer.head.status, StatusCode::OK);
    assert_eq!(answer.body, b"0123456789");
    assert_eq!(answer.field("content-length"), Some("10"));
    assert_eq!(
        answer.field("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(answer.field("accept-ranges"), Some("bytes"));
    assert_eq!(answer.field("vary"), Some("Accept-Encoding"));
    assert!(answer.field("etag").unwrap().starts_with('"'));
    assert!(answer.field("last-modified").unwrap().ends_with(" GMT"));
    assert!(answer.field("date").is_some());

    let head = site.ask(&Method::HEAD, "/a.txt", "/a.txt", &[]).unwrap();
    let fields = |head: &response::Parts| {
        let mut headers = head.headers.clone();
        headers.remove("date");
        headers
    };
    assert_eq!(fields(&head.0), fields(&answer.head));
    assert!(http_body::Body::is_end_stream(&head.1));
}

#[test]
fn media_types_are_by_the_name() {
    let site = Site::new(None);
    for (name, expected) in [
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.svg", "image/svg+xml"),
        ("a.wasm", "application/wasm"),
        ("a.woff2", "font/woff2"),
        ("a.json", "application/json"),
        ("site.webmanifest", "application/manifest+json"),
        ("LICENSE", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
    ] {
        site.write(name, "");
        let answer = site.get(&format!("/{name}"), &[]).unwrap();
        assert_eq!(answer.field("content-type"), Some(expected), "{name}");
        assert_eq!(answer.field("content-length"), Some("0"), "{name}");
    }
}

#[test]
fn a_folder_is_its_index_behind_a_slash() {
    let site = Site::new(None);
    assert_eq!(site.get("/", &[]).unwrap().body, b"the index");
    assert_eq!(site.get("/b/", &[]).unwrap().body, b"the index of b");
    let redirected = |uri, below| {
        let (head, _) = site.ask(&Method::GET, uri, below, &[]).unwrap();
        assert_eq!(head.status, StatusCode::MOVED_PERMANENTLY, "{uri}");
        head.headers["location"].to_str().unwrap().to_owned()
    };
    assert_eq!(redirected("/b", "/b"), "./b/");
    assert_eq!(redirected("/b?x=1", "/b"), "./b/?x=1");
    assert_eq!(redirected("//b", "//b"), "./b/");
    assert_eq!(redirected("/prefix", ""), "./prefix/");
    site.write("c:d \u{e9}/index.html", "");
    assert_eq!(
        redirected("/c:d%20%C3%A9", "/c:d%20%C3%A9"),
        "./c:d%20%C3%A9/"
    );

    fs::create_dir(site.path("empty")).unwrap();
    for path in ["/empty", "/empty/", "/a.txt/", "/a.txt/x", "/none/"] {
        assert_eq!(site.refusal(path, &[HTML]), Reason::NoFile, "{path}");
    }
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    let site = Site::new(None);
    let first = site.get("/a.txt", &[]).unwrap();
    let tag = first.field("etag").unwrap();
    for condition in [
        ("if-none-match", tag),
        ("if-modified-since", first.field("last-modified").unwrap()),
    ] {
        let answer = site.get("/a.txt", &[condition]).unwrap();
        assert_eq!(answer.head.status, StatusCode::NOT_MODIFIED);
        assert!(answer.body.is_empty());
        assert_eq!(answer.field("etag"), Some(tag));
        assert_eq!(answer.field("vary"), Some("Accept-Encoding"));
        assert_eq!(answer.field("content-length"), None);
    }
    let answer = site.get("/a.txt", &[("if-match", "\"x\"")]).unwrap();
    assert_eq!(answer.head.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(answer.field("content-length"), Some("0"));

    site.write("a.txt", "9876543210-");
    let answer = site.get("/a.txt", &[("if-none-match", tag)]).unwrap();
    assert_eq!(answer.body, b"9876543210-");
}

#[test]
fn a_range_is_a_part_of_the_file() {
    let site = Site::new(None);
    let answer = site.get("/a.txt", &[("range", "bytes=2-4")]).unwrap();
    assert_eq!(answer.head.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(answer.body, b"234");
    assert_eq!(answer.field("content-range"), Some("bytes 2-4/10"));
    assert_eq!(answer.field("content-length"), Some("3"));

    let answer = site.get("/a.txt", &[("range", "bytes=10-")]).unwrap();
    assert_eq!(answer.head.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(answer.field("content-range"), Some("bytes */10"));

    let stale = [("range", "bytes=2-4"), ("if-range", "\"x\"")];
    assert_eq!(site.get("/a.txt", &stale).unwrap().body, b"0123456789");
    let tag = site.get("/a.txt", &[]).unwrap();
    let fresh = [
        ("range", "bytes=-1"),
        ("if-range", tag.field("etag").unwrap()),
    ];
    assert_eq!(site.get("/a.txt", &fresh).unwrap().body, b"9");

    let head = site
        .ask(&Method::HEAD, "/a.txt", "/a.txt", &[("range", "bytes=2-4")])
        .unwrap()
        .0;
    assert_eq!(
        (head.status, &head.headers["content-length"]),
        (StatusCode::OK, &"10".parse().unwrap())
    );
}

#[test]
fn a_compressed_file_replaces_its_original() {
    let site = Site::new(Some("index.html"));
    site.write("a.js", "plain");
    site.write("a.js.gz", "as gzip");
    site.write("a.js.br", "as brotli");
    site.write("index.html.zst", "as zstd");
    site.write("alone.js.gz", "");
    let plain = site.get("/a.js", &[]).unwrap();
    assert_eq!(
        (plain.body.as_slice(), plain.field("content-encoding")),
        (&b"plain"[..], None)
    );
    let coded = site
        .get("/a.js", &[("accept-encoding", "gzip, br")])
        .unwrap();
    assert_eq!(coded.body, b"as brotli");
    assert_eq!(coded.field("content-encoding"), Some("br"));
    assert_eq!(
        coded.field("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    assert_ne!(coded.field("etag"), plain.field("etag"));
    assert_eq!(coded.field("vary"), plain.field("vary"));

    let answer = site
        .get("/a.js", &[("accept-encoding", "gzip, br;q=0")])
        .unwrap();
    assert_eq!(answer.body, b"as gzip");
    let answer = site.get("/a.js", &[("accept-encoding", "zstd")]).unwrap();
    assert_eq!(
        (answer.body.as_slice(), answer.field("content-encoding")),
        (&b"plain"[..], None)
    );
    let any = [("accept-encoding", "*"), HTML];
    assert_eq!(site.get("/", &any).unwrap().body, b"as zstd");
    assert_eq!(site.get("/users/7", &any).unwrap().body, b"as zstd");
    assert_eq!(
        site.get("/a.js.gz", &[]).unwrap().field("content-encoding"),
        None
    );
    assert_eq!(
        site.refusal("/alone.js", &[("accept-encoding", "gzip")]),
        Reason::NoFile
    );
    let part = [("accept-encoding", "br"), ("range", "bytes=3-8")];
    assert_eq!(site.get("/a.js", &part).unwrap().body, b"brotli");
}

#[test]
fn the_fallback_is_for_pages() {
    let site = Site::new(Some("b/index.html"));
    fs::create_dir(site.path("empty")).unwrap();
    for path in [
        "/users/7",
        "/users/john.doe",
        "/none/",
        "/empty",
        "/empty/",
        "/a.txt/x",
        "/x%2Fy",
    ] {
        let answer = site.get(path, &[HTML]).unwrap();
        assert_eq!(
            (answer.head.status, &*answer.body),
            (StatusCode::OK, &b"the index of b"[..]),
            "{path}"
        );
        assert_eq!(
            answer.field("vary"),
            Some("Accept-Encoding, Accept, Sec-Fetch-Mode")
        );
        assert_eq!(
            answer.field("content-type"),
            Some("text/html; charset=utf-8")
        );
    }
    let any = ("accept", "*/*");
    assert_eq!(
        site.get("/users/7", &[any]).unwrap().body,
        b"the index of b"
    );
    assert_eq!(site.get("/a.txt", &[HTML]).unwrap().body, b"0123456789");
    for (path, fields) in [
        ("/assets/lost.js", &[any][..]),
        ("/assets/lost", &[any, ("sec-fetch-mode", "no-cors")]),
        ("/api/lost", &[("accept", "application/json")]),
        ("//etc/passwd", &[HTML]),
        ("/.env", &[HTML]),
        ("/../index.html", &[HTML]),
    ] {
        assert_eq!(site.refusal(path, fields), Reason::NoFile, "{path}");
    }
    fs::remove_file(site.path("b/index.html")).unwrap();
    assert_eq!(site.refusal("/users/7", &[HTML]), Reason::NoFile);
}

#[test]
fn only_get_and_head() {
    let site = Site::new(Some("index.html"));
    for method in [Method::POST, Method::OPTIONS, Method::PUT, Method::DELETE] {
        let refused = site.ask(&method, "/a.txt", "/a.txt", &[HTML]).err();
        assert_eq!(refused, Some(Reason::FileMethodRefused));
    }
}

#[test]
fn symlinks_inside_the_root_work_and_none_leads_out() {
    let site = Site::new(Some("index.html"));
    // As Kubernetes mounts a ConfigMap.
    site.write("..2026_01_01/app.js", "mounted");
    symlink("..2026_01_01", site.path("..data")).unwrap();
    symlink("..data/app.js", site.path("app.js")).unwrap();
    symlink("b", site.path("c")).unwrap();
    symlink("../a.txt", site.path("b/up.txt")).unwrap();
    assert_eq!(site.get("/app.js", &[]).unwrap().body, b"mounted");
    assert_eq!(site.get("/c/", &[]).unwrap().body, b"the index of b");
    assert_eq!(site.get("/c/up.txt", &[]).unwrap().body, b"0123456789");

    let outside = site.folder.path().join("outside");
    symlink("../outside/secret.txt", site.path("relative.txt")).unwrap();
    symlink(outside.join("secret.txt"), site.path("absolute.txt")).unwrap();
    symlink("../outside", site.path("folder")).unwrap();
    symlink("../root/a.txt", site.path("round.txt")).unwrap();
    symlink("/proc/self/root/etc/passwd", site.path("magic")).unwrap();
    symlink("loop", site.path("loop")).unwrap();
    symlink("none", site.path("dangling")).unwrap();
    symlink("../outside/secret.txt", site.path("a.txt.gz")).unwrap();
    for path in [
        "/relative.txt",
        "/absolute.txt",
        "/folder/secret.txt",
        "/folder/",
        "/folder",
        "/round.txt",
        "/magic",
        "/loop",
        "/dangling",
        "/..data/app.js",
        "/..2026_01_01/app.js",
        "/a.txt.gz",
    ] {
        let page = site.get(path, &[HTML]);
        assert_eq!(page.is_ok(), path == "/dangling", "{path}");
    }
    let gzip = site.get("/a.txt", &[("accept-encoding", "gzip")]).unwrap();
    assert_eq!(gzip.body, b"0123456789");
}

#[test]
fn a_folder_that_is_swapped_is_seen_at_the_next_request() {
    let site = Site::new(None);
    fs::rename(site.path(""), site.folder.path().join("one")).unwrap();
    symlink("one", site.folder.path().join("root")).unwrap();
    assert_eq!(site.get("/a.txt", &[]).unwrap().body, b"0123456789");
    fs::create_dir(site.folder.path().join("two")).unwrap();
    fs::write(site.folder.path().join("two/a.txt"), "two").unwrap();
    symlink("two", site.folder.path().join("next")).unwrap();
    fs::rename(
        site.folder.path().join("next"),
        site.folder.path().join("root"),
    )
    .unwrap();
    assert_eq!(site.get("/a.txt", &[]).unwrap().body, b"two");
    fs::remove_file(site.folder.path().join("root")).unwrap();
    assert_eq!(site.refusal("/a.txt", &[]), Reason::FileFailed);
}

#[test]
fn what_is_no_regular_file_is_none_and_holds_nothing_up() {
    let site = Site::new(Some("index.html"));
    mkfifo(&site.path("fifo"));
    mkfifo(&site.path("a.txt.br"));
    let _socket = UnixListener::bind(site.path("socket")).unwrap();
    let dev = Files::new(&config::Files {
        root: PathBuf::from("/dev"),
        fallback: None,
    });
    for path in ["/fifo", "/socket"] {
        assert_eq!(site.refusal(path, &[HTML]), Reason::NoFile, "{path}");
    }
    let answer = site.get("/a.txt", &[("accept-encoding", "br")]).unwrap();
    assert_eq!(answer.body, b"0123456789");
    for path in ["/null", "/zero", "/tty", "/stdin"] {
        let uri = path.parse().unwrap();
        let headers = HeaderMap::new();
        let answer = dev.answer(&Method::GET, &uri, path, &headers);
        assert_eq!(
            site.runtime.block_on(answer).err(),
            Some(Reason::NoFile),
            "{path}"
        );
    }
}

#[test]
fn names_that_no_file_can_have_are_not_there() {
    let site = Site::new(None);
    let long = format!("/{}", "a".repeat(300));
    let deep = "/a".repeat(3000);
    for path in [&long, &deep] {
        assert_eq!(site.refusal(path, &[]), Reason::NoFile);
    }
}
