//! The demo: what its two paths do to the same stream, and what its backend knows of a client that left.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, HOST,
};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use sse_sidecar::cli::demo::{Pace, Show};
use sse_sidecar::config::ListenAddress;
use sse_sidecar::signal::Signals;
use sse_sidecar::sse::parse::parse;

/// For a whole test, on a machine that has other things to do.
const DEADLINE: Duration = Duration::from_secs(20);

/// Where the paths of a running demo are.
struct Demo {
    sidecar: SocketAddr,
    admin: SocketAddr,
    buffering: SocketAddr,
}

/// A stream as it came: each piece with its time.
struct Heard {
    pieces: Vec<(Instant, Bytes)>,
}

/// Runs `test` with a demo too fast to watch.
fn with_demo<T: Future<Output = ()>>(test: impl FnOnce(Demo) -> T) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let pace = Pace {
            token: Duration::from_millis(10),
            silence: Duration::from_secs(1),
            heartbeat: Duration::from_millis(200),
        };
        let show = Show::start(0, &pace, "./sidecar").await.unwrap();
        let tcp = |address: &ListenAddress| match address {
            ListenAddress::Tcp(address) => *address,
            ListenAddress::Unix(path) => panic!("{} is no TCP port", path.display()),
        };
        let (sidecar, admin) = (tcp(show.address()), tcp(show.admin_address()));
        let buffering = show.buffering_address();
        spawn_local(show.run(Signals::new().unwrap()));
        let demo = Demo {
            sidecar,
            admin,
            buffering,
        };
        timeout(DEADLINE, test(demo)).await.unwrap();
    });
}

async fn get(address: SocketAddr, target: &str) -> Response<Incoming> {
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
    spawn_local(connection);
    let request = Request::get(target)
        .header(HOST, address.to_string())
        .header(ACCEPT, "text/event-stream")
        .body(Empty::<Bytes>::new())
        .unwrap();
    sender.send_request(request).await.unwrap()
}

async fn text(address: SocketAddr, target: &str) -> String {
    let body = get(address, target).await.collect().await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

async fn piece(response: &mut Response<Incoming>) -> Option<Bytes> {
    let frame = response.frame().await?.unwrap();
    Some(frame.into_data().unwrap())
}

impl Heard {
    async fn all_of(mut response: Response<Incoming>) -> Self {
        let mut pieces = Vec::new();
        while let Some(piece) = piece(&mut response).await {
            pieces.push((Instant::now(), piece));
        }
        Self { pieces }
    }

    fn bytes(&self) -> Vec<u8> {
        let pieces = self.pieces.iter();
        pieces.flat_map(|(_, piece)| piece).copied().collect()
    }

    fn took(&self) -> Duration {
        self.pieces.last().unwrap().0 - self.pieces.first().unwrap().0
    }
}

const HEARTBEAT: &str = ": heartbeat\n";

/// The answer has more than so many.
const TOKENS: usize = 40;

#[test]
fn both_paths_carry_the_same_stream_but_only_the_sidecar_as_it_is_written() {
    with_demo(async |demo| {
        let (through_sidecar, through_buffering) = tokio::join!(
            async {
                let response = get(demo.sidecar, "/stream?a").await;
                assert!(!response.headers().contains_key(CONTENT_ENCODING));
                Heard::all_of(response).await
            },
            async {
                let response = get(demo.buffering, "/stream?b").await;
                assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
                assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
                Heard::all_of(response).await
            }
        );

        let live = String::from_utf8(through_sidecar.bytes()).unwrap();
        let events = parse(live.as_bytes());
        assert!(events.len() > TOKENS);
        assert_eq!(events.last().unwrap().data, "[DONE]");
        assert!(live.contains(HEARTBEAT), "{live}");
        // A busy machine joins events, but not all of them.
        assert!(through_sidecar.pieces.len() > 5);
        assert!(through_sidecar.took() > Duration::from_secs(1));

        let mut late = String::new();
        let gzipped = through_buffering.bytes();
        GzDecoder::new(&*gzipped).read_to_string(&mut late).unwrap();
        assert!(through_buffering.took() < Duration::from_millis(500));
        assert_eq!(tokens(&late), tokens(&live.replace(HEARTBEAT, "")));
    });
}

/// What the events say, without when they were written.
fn tokens(stream: &str) -> Vec<String> {
    let events = parse(stream.as_bytes()).into_iter();
    let token = |data: String| match data.rsplit_once("\"token\":") {
        Some((_, token)) => token.to_owned(),
        None => data,
    };
    events.map(|event| token(event.data)).collect()
}

#[test]
fn the_backend_stops_when_a_client_leaves_the_sidecar() {
    with_demo(async |demo| {
        let mut response = get(demo.sidecar, "/stream?a").await;
        piece(&mut response).await.unwrap();
        drop(response);
        let left = Instant::now();
        let (state, sent) = over(&demo, "a").await;
        assert!(left.elapsed() < Duration::from_secs(1), "in its silence");
        assert_eq!(state, "cancelled");
        assert!(sent < TOKENS, "{sent}");
    });
}

#[test]
fn the_backend_goes_on_to_its_end_when_a_client_leaves_the_buffering_path() {
    with_demo(async |demo| {
        let asking = spawn_local(async move { get(demo.buffering, "/stream?b").await });
        while text(demo.sidecar, "/record?b").await == "null" {
            sleep(Duration::from_millis(5)).await;
        }
        asking.abort();
        let (state, sent) = over(&demo, "b").await;
        assert_eq!(state, "finished");
        assert!(sent > TOKENS, "{sent}");
    });
}

/// What became of the stream, once it is over, and how many tokens the backend has sent of it.
async fn over(demo: &Demo, key: &str) -> (String, usize) {
    loop {
        let record = text(demo.sidecar, &format!("/record?{key}")).await;
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        let state = record["state"].as_str().unwrap();
        if state != "streaming" {
            let sent = record["sent"].as_u64().unwrap();
            return (state.to_owned(), sent.try_into().unwrap());
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_nothing_else_runs_on_it() {
    with_demo(async |demo| {
        let page = text(demo.sidecar, "/").await;
        for elsewhere in [
            "https://",
            "src=",
            "@import",
            "url(",
            "innerHTML",
            "style=",
            "onclick",
        ] {
            assert!(!page.contains(elsewhere), "{elsewhere}");
        }
        let response = get(demo.sidecar, "/").await;
        let policy = response.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let reached = format!("connect-src 'self' http://{};", demo.buffering);
        assert!(policy.contains(&reached), "{policy}");
        assert_eq!(get(demo.sidecar, "/else").await.status(), 404);
    });
}

#[test]
fn the_page_ends_with_the_command_and_leads_to_the_status_page() {
    with_demo(async |demo| {
        let page = text(demo.sidecar, "/").await;
        assert!(page.contains(">./sidecar --upstream http://127.0.0.1:3000<"));
        assert!(page.contains(&format!("href=\"http://{}/status\"", demo.admin)));
        assert!(!page.contains("{program}") && !page.contains("{buffering}"));
        let status = text(demo.admin, "/status").await;
        assert!(status.contains("<title>sse-sidecar status</title>"));
    });
}

#[test]
fn ctrl_c_ends_it_within_a_second_though_a_stream_is_open() {
    let (mut demo, address) = started();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = format!("GET /stream HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 400]).unwrap(); // the head and an event or two

    let interrupt = Command::new("kill")
        .args(["-INT", &demo.0.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    let interrupted = Instant::now();
    assert!(demo.0.wait().unwrap().success());
    assert!(interrupted.elapsed() < Duration::from_secs(1));
}

/// A demo's process, which does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The demo as a command, and where it says its page is.
fn started() -> (Running, String) {
    let demo = Command::new(env!("CARGO_BIN_EXE_sse-sidecar"))
        .args(["demo", "--port", "0"])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut demo = Running(demo);
    let mut line = String::new();
    let mut stdout = BufReader::new(demo.0.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let address = line
        .strip_prefix("open http://")
        .and_then(|rest| rest.strip_suffix("/ (Ctrl-C ends it)\n"));
    let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
    (demo, address)
}

#[test]
fn a_port_in_use_is_reported_with_the_fix() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_sse-sidecar"))
        .args(["demo", "--port", &port])
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected =
        format!("error: port {port} is in use; `sse-sidecar demo --port 0` takes a free one\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    assert!(output.stdout.is_empty());
}
