//! `sse-sidecar doctor`: which hop breaks an event stream.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use std::{fmt, fs, pin};

use bytes::Bytes;
use http::{HeaderValue, Method};
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{Instant, sleep};

use super::serve::serve;
use super::{USAGE, printable};
use crate::config::duration;
use crate::doctor::{
    Examination, Expectation, LONGEST_WATCH, MeasureError, Measured, PhaseEvent, Progress,
    Protocol, Report, RequestOptions, SHORTEST_TOKEN, Target, Timeline, UsageError,
};

/// The arguments of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
#[command(
    override_usage = "sse-sidecar doctor [OPTIONS] URL",
    after_help = "Exit code: 0 it streams well, 1 a finding, 2 bad usage or nothing to reach.\n\n\
                  A `curl` line copied from a browser's developer tools works after `doctor` instead of `curl`."
)]
pub struct Doctor {
    /// The event stream; with --probe the site
    #[arg(value_name = "URL", required_unless_present = "serve")]
    url: Option<String>,
    /// The method [default: GET, or POST with -d]
    #[arg(short = 'X', long, value_name = "METHOD")]
    request: Option<String>,
    /// A request header; more than one by repeating it
    #[arg(short = 'H', long, value_name = "'NAME: VALUE'")]
    header: Vec<String>,
    /// The cookies
    #[arg(short = 'b', long, value_name = "COOKIES", hide = true)]
    cookie: Option<String>,
    /// The request's body, or where it is: @FILE, @- for standard input
    #[arg(
        short = 'd',
        long,
        value_name = "BODY|@FILE",
        visible_alias = "data-binary"
    )]
    data: Option<String>,
    /// The request's body, also if it begins with @
    #[arg(long, value_name = "BODY", hide = true, conflicts_with = "data")]
    data_raw: Option<String>,
    /// Do not check the server's certificate
    #[arg(short = 'k', long)]
    insecure: bool,
    /// Speak HTTP/1.1 only
    #[arg(long = "http1.1", conflicts_with = "http2")]
    http1: bool,
    /// Speak HTTP/2 only, without TLS by prior knowledge
    #[arg(long)]
    http2: bool,
    /// What browsers' tools write; compression is offered anyway
    #[arg(long, hide = true)]
    compressed: bool,
    /// The same stream behind the hop under suspicion: measured at the same time and compared
    #[arg(long, value_name = "URL")]
    direct: Option<String>,
    /// How long to watch, and how long a probe is silent; the usual limit for a silent stream is 60 s
    #[arg(long = "for", value_name = "TIME", default_value = "65s")]
    watch: String,
    #[arg(
        long,
        value_name = "RULE",
        help = "Fail unless this holds, such as 'first_event < 1s', 'gap < 30s', 'events >= 10', 'not compressed'"
    )]
    expect: Vec<String>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Measure a probe at the end of the chain, where every byte and its time are known: that of a sidecar with
    /// `probe.token`, or of --serve
    #[arg(
        long,
        value_name = "TOKEN",
        env = "SSE_SIDECAR_PROBE",
        hide_env_values = true,
        conflicts_with_all = ["request", "data", "data_raw"]
    )]
    probe: Option<String>,
    /// Be the end of a chain, for --probe: put this address behind the hops under suspicion
    #[arg(long, value_name = "IP:PORT", conflicts_with = "url")]
    serve: Option<SocketAddr>,
}

/// Examines a stream and prints the report; the exit code sums it up.
pub fn doctor(given: &Doctor) -> ExitCode {
    let token = match given.probe.as_deref().map(token).transpose() {
        Ok(token) => token,
        Err(error) => return complain(&error),
    };
    if let Some(address) = given.serve {
        return serve(address, given.probe.as_deref());
    }
    let (examination, expectations) = match read(given, token) {
        Ok(read) => read,
        Err(error) => return complain(&error),
    };
    let measured = match examine(&examination, given.json) {
        Ok(measured) => measured,
        Err(error) => return complain(&error),
    };
    let report = Report::new(measured, &expectations);
    let shown = if given.json {
        format!("{:#}\n", report.json())
    } else {
        printable(&report.to_string())
    };
    // Who does not read the report still gets the exit code.
    let _ = io::stdout().write_all(shown.as_bytes());
    if report.is_well() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What the flags mean.
fn read(
    given: &Doctor,
    probe: Option<HeaderValue>,
) -> Result<(Examination, Vec<Expectation>), UsageError> {
    let protocol = match (given.http1, given.http2) {
        (true, _) => Protocol::Http1,
        (_, true) => Protocol::Http2,
        _ => Protocol::Any,
    };
    let target = Target::parse(given.url.as_deref().unwrap_or_default(), protocol)?;
    let direct = given.direct.as_deref();
    let direct = direct.map(|url| Target::parse(url, protocol)).transpose()?;
    let mut options = RequestOptions::new(protocol, !given.insecure, watch(&given.watch)?);
    options.set_fields(&given.header)?;
    if let Some(cookies) = &given.cookie {
        options.set_fields(&[format!("Cookie: {cookies}")])?;
    }
    if let Some(body) = body(given)? {
        options.set_body(body);
    }
    if let Some(method) = &given.request {
        options.method = Method::from_bytes(method.as_bytes()).map_err(|_| UsageError {
            what: format!("`{method}` is not a method"),
            help: "write such as `-X POST`".to_owned(),
        })?;
    }
    let expectations = given.expect.iter().map(|text| Expectation::parse(text));
    let expectations = expectations.collect::<Result<_, _>>()?;
    let examination = Examination {
        target,
        direct,
        options,
        probe,
    };
    Ok((examination, expectations))
}

/// A token goes in a field of the request.
fn token(text: &str) -> Result<HeaderValue, UsageError> {
    let is_short = text.len() < SHORTEST_TOKEN;
    let value = HeaderValue::from_str(text).ok();
    let value = value.filter(|_| !is_short && text.bytes().all(|byte| byte.is_ascii_graphic()));
    value.ok_or_else(|| UsageError {
        what: format!(
            "the token is not {SHORTEST_TOKEN} or more printable characters without spaces"
        ),
        help: "make one with `openssl rand -hex 16`".to_owned(),
    })
}

fn watch(text: &str) -> Result<Duration, UsageError> {
    let bad = |why: &dyn fmt::Display| UsageError {
        what: format!("`--for {text}`: {why}"),
        help: "write such as `--for 65s`".to_owned(),
    };
    let time = duration(text).map_err(|error| bad(&error))?;
    if time > LONGEST_WATCH {
        return Err(bad(&"it is longer than an hour"));
    }
    Ok(time)
}

fn body(given: &Doctor) -> Result<Option<Bytes>, UsageError> {
    if let Some(body) = &given.data_raw {
        return Ok(Some(body.clone().into()));
    }
    let Some(data) = &given.data else {
        return Ok(None);
    };
    let read = match data.strip_prefix('@') {
        None => return Ok(Some(data.clone().into())),
        Some("-") => {
            let mut body = Vec::new();
            io::stdin().read_to_end(&mut body).map(|_| body)
        }
        Some(path) => fs::read(path),
    };
    let body = read.map_err(|error| UsageError {
        what: format!("`-d {data}` cannot be read: {error}"),
        help: "write the name of a file behind the @, or the body itself".to_owned(),
    })?;
    Ok(Some(body.into()))
}

fn examine(examination: &Examination, quiet: bool) -> Result<Measured, MeasureError> {
    let cannot_start = |error: io::Error| UsageError {
        what: format!("cannot start: {error}"),
        help: "try again".to_owned(),
    };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(cannot_start)?;
    runtime.block_on(async {
        let screen = RefCell::new(Screen::new(quiet));
        let mut tell = |happened: PhaseEvent<'_>| screen.borrow_mut().show(happened);
        let mut running = pin::pin!(examination.run(&mut tell));
        loop {
            tokio::select! {
                measured = &mut running => return measured,
                () = sleep(Screen::PACE) => screen.borrow_mut().tick(),
            }
        }
    })
}

/// The progress: a line that grows on a terminal, one line for each phase elsewhere.
struct Screen {
    is_terminal: bool,
    is_quiet: bool,
    phase: Option<(Timeline, Instant)>,
    name: String,
}

impl Screen {
    const PACE: Duration = Duration::from_millis(100);

    fn new(is_quiet: bool) -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            is_quiet,
            phase: None,
            name: String::new(),
        }
    }

    fn show(&mut self, happened: PhaseEvent<'_>) {
        match happened {
            PhaseEvent::Begun(name, span) => {
                self.phase = Some((Timeline::new(name, span), Instant::now()));
                name.clone_into(&mut self.name);
            }
            PhaseEvent::Progress(Progress::Head(_)) => {}
            PhaseEvent::Progress(Progress::Bytes(at, length)) => {
                if let Some((line, _)) = &mut self.phase {
                    line.mark(at, length);
                }
            }
            PhaseEvent::Over(summary) => {
                self.tick();
                let ends = if self.is_terminal { "\n" } else { "" };
                let summary = printable(&summary);
                self.write(&format!("{ends}{:<9} {summary}\n", self.name));
                self.phase = None;
            }
        }
    }

    /// Draws the line anew.
    fn tick(&mut self) {
        if self.is_terminal
            && let Some((line, begun)) = &mut self.phase
        {
            line.advance(begun.elapsed());
            let line = format!("\r{}\x1b[K", line.line());
            self.write(&line);
        }
    }

    fn write(&self, text: &str) {
        if !self.is_quiet {
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}

fn complain(error: &dyn fmt::Display) -> ExitCode {
    let shown = printable(&error.to_string());
    let _ = writeln!(io::stderr(), "error: {shown}");
    ExitCode::from(USAGE)
}
