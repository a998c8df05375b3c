//! `sse-sidecar demo`: the same awkward stream through a buffering proxy and through the sidecar, side by side on one page.
//!
//! ```text
//!           ┌─ sidecar, the port of the page ─┐
//! browser ──┤                                 ├── awkward backend: page, stream, records
//!           └─ buffering path ────────────────┘
//! ```
//!
//! The page ends with the command to run in front of one's own backend, and leads to the sidecar's status page.

mod backend;
mod buffering;
mod page;

use std::env;
use std::ffi::OsString;
use std::future::{Future, ready};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;
use tokio::time::sleep;

use self::backend::Backend;
use self::page::page;
use super::Demo;
use crate::app::{App, Ending, StartError};
use crate::config::{self, ListenAddress, Log, Overrides, Problems, Source};
use crate::log;
use crate::server::PAUSE;
use crate::signal::Signals;
use crate::supervisor::Supervisor;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The parts of the demo, on ports of the loopback interface.
#[derive(Debug)]
pub struct Show {
    sidecar: App,
    address: ListenAddress,
    admin: ListenAddress,
    buffering: SocketAddr,
}

/// How fast the backend speaks, and how soon the sidecar fills its silence.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Before each token.
    pub token: Duration,
    /// In the middle of the answer.
    pub silence: Duration,
    /// The sidecar's `heartbeat.interval`.
    pub heartbeat: Duration,
}

/// Why the demo could not start.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// Something else has the port of the page.
    #[error("port {0} is in use; `sse-sidecar demo --port 0` takes a free one")]
    PortInUse(u16),
    /// The sidecar does not like its configuration.
    #[error(transparent)]
    Config(#[from] Problems),
    /// The sidecar cannot start.
    #[error(transparent)]
    Sidecar(StartError),
    /// The system gives no port, no runtime or no signals.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// The page is bound to loopback: only the user who started the demo needs it.
const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Runs the demo until a signal stops it.
#[expect(clippy::print_stderr, reason = "the command's answer")]
pub fn demo(demo: &Demo) -> ExitCode {
    let performed = log::start(&Log::default())
        .map_err(ShowError::System)
        .and_then(|_logging| perform(demo.port));
    match performed {
        // Stopping a demo is meant to abort its streams.
        Ok(Ending::Complete | Ending::Cut(_)) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn perform(port: u16) -> Result<Ending, ShowError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let program = program(env::args_os().next());
        let show = Show::start(port, &Pace::default(), &program).await?;
        let signals = Signals::new()?;
        let (page, buffering) = (show.address(), show.buffering_address());
        let how = format!(
            "open http://{page}/ (Ctrl-C ends it)\n\
             see its streams: http://{}/status\n\
             measure what it shows: {program} doctor http://{buffering}/stream?1 (or {page})\n",
            show.admin_address()
        );
        // In one write: who reads only the first line may be gone by the second.
        print!("{how}");
        Ok(show.run(signals).await)
    })
}

/// How this program was called, to call it again, if that is the same in every shell and needs no escape in a page.
fn program(argv0: Option<OsString>) -> String {
    let is_plain = |text: &String| {
        let mut bytes = text.bytes();
        !text.is_empty()
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-._+/".contains(&byte))
    };
    let called = argv0.and_then(|name| name.into_string().ok());
    called
        .filter(is_plain)
        .unwrap_or_else(|| "sse-sidecar".to_owned())
}

impl Show {
    /// Binds the page to `port` and starts all parts. The page calls the program `program`. Call it on a tokio `LocalRuntime`.
    pub async fn start(port: u16, pace: &Pace, program: &str) -> Result<Self, ShowError> {
        let for_backend = TcpListener::bind((LOCALHOST, 0)).await?;
        let for_buffering = TcpListener::bind((LOCALHOST, 0)).await?;
        let (backend, buffering) = (for_backend.local_addr()?, for_buffering.local_addr()?);

        let settings = settings(port, backend, pace);
        let (config, _) = config::parse(&settings, "the demo", &Overrides::default())?;
        let sidecar = App::start(&config).await.map_err(|error| match error {
            StartError::Bind { source, .. } if source.kind() == ErrorKind::AddrInUse => {
                ShowError::PortInUse(port)
            }
            error => ShowError::Sidecar(error),
        })?;

        let bound = sidecar.addresses().into_iter().next();
        let [Some(address), Some(admin)] = [bound, sidecar.admin_address()] else {
            return Err(io::Error::from(ErrorKind::AddrNotAvailable).into());
        };
        let html = page(&admin, buffering, program);
        let answering = Rc::new(Backend::new(html, pace.clone()));
        spawn_local(serve(for_backend, move |request| {
            ready(Ok(answering.answer(&request)))
        }));
        spawn_local(serve(for_buffering, move |request| {
            buffering::pass(backend, request)
        }));
        Ok(Self {
            sidecar,
            address,
            admin,
            buffering,
        })
    }

    /// Where the sidecar listens, and so where the page is.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Where the sidecar's status page is.
    pub fn admin_address(&self) -> &ListenAddress {
        &self.admin
    }

    /// Where the buffering path listens.
    pub fn buffering_address(&self) -> SocketAddr {
        self.buffering
    }

    /// Serves until a signal says to stop.
    pub async fn run(self, signals: Signals) -> Ending {
        let source = Source::new(None, Overrides::default());
        self.sidecar.run(signals, Supervisor::none(), source).await
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            token: Duration::from_millis(120),
            silence: Duration::from_secs(5),
            heartbeat: Duration::from_secs(1),
        }
    }
}

/// The sidecar's configuration. The defaults would do, but 15 s is long to wait for a heartbeat, and the default admin port is left
/// for a sidecar started next.
fn settings(port: u16, backend: SocketAddr, pace: &Pace) -> String {
    format!(
        r#"
        listener = [{{ address = "{LOCALHOST}:{port}" }}]
        upstream.url = "http://{backend}"
        heartbeat.interval = "{}ms"
        server.workers = 1
        admin.listen = "{LOCALHOST}:0"
        drain = {{ delay = "off", timeout = "1ms" }}
        "#,
        pace.heartbeat.as_millis()
    )
}

/// Serves connections for ever. This is plain hyper: what the sidecar is compared with must not share its server.
pub(super) async fn serve<F, A, B>(listener: TcpListener, answer: F)
where
    F: Fn(Request<Incoming>) -> A + Clone + 'static,
    A: Future<Output = Result<Response<B>, BoxError>> + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + 'static,
{
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let _ = socket.set_nodelay(true);
        let service = service_fn(answer.clone());
        spawn_local(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_called_as_it_was_unless_a_shell_or_a_page_could_misread_that() {
        let called = |argv0: &str| program(Some(argv0.into()));
        assert_eq!(
            called("target/release/sse-sidecar"),
            "target/release/sse-sidecar"
        );
        for odd in ["/home/a b/sse-sidecar", "./$x", "<b>", "a&amp;b", "~/x", ""] {
            assert_eq!(called(odd), "sse-sidecar");
        }
        assert_eq!(program(None), "sse-sidecar");
    }
}
