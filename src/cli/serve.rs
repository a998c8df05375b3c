//! `sse-sidecar doctor --serve`: the end of a chain, to put behind any hop under suspicion.

use std::fs::File;
use std::future::ready;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_body_util::{Either, Full};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};

use super::USAGE;
use super::demo;
use crate::doctor::{Answer, Origin, Token};

/// Serves probes at `address` until it is stopped, to clients with `token` or the one that is printed.
pub(super) fn serve(address: SocketAddr, token: Option<&str>) -> ExitCode {
    let served = token
        .map_or_else(new_token, |token| Ok(token.to_owned()))
        .and_then(|token| serve_with(address, &token));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: cannot serve at {address}: {error}");
            ExitCode::from(USAGE)
        }
    }
}

fn serve_with(address: SocketAddr, token: &str) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let how = format!(
            "serving probes at http://{address} (Ctrl-C ends it); put it behind the hops under suspicion, and then:\n  \
             sse-sidecar doctor --probe {token} https://the.first.hop\n"
        );
        io::stdout().write_all(how.as_bytes())?;
        let origin = Arc::new(Origin::new(Token::new(token)));
        demo::serve(listener, move |request| {
            ready(Ok(answer(&origin, &request)))
        })
        .await;
        Ok(())
    })
}

/// The response to a client with the token, at any path: hops may change that.
fn answer<B>(
    origin: &Arc<Origin>,
    request: &Request<B>,
) -> Response<Either<Answer, Full<bytes::Bytes>>> {
    origin.answer(request).map_or_else(
        || {
            let words = "there is nothing here\n";
            let mut response = Response::new(Either::Right(Full::from(words)));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        },
        |response| response.map(Either::Left),
    )
}

/// Sixteen random bytes.
fn new_token() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
