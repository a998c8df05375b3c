//! A backend that costs next to nothing: HTTP/1.1, and what it sends is said by the request's path.

use std::fmt::{self, Display};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::events;

/// A path that is answered with 1 KiB.
pub const PAGE: &str = "/page";
/// The size of that page's body.
pub const PAGE_SIZE: usize = 1024;
/// Before a stream's number: a path that is never answered.
pub const SILENT: &str = "/silent/";

/// When the events of a stream are sent, after the first, which is sent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as they are taken.
    Flood,
    /// One write each so often.
    Every(Duration),
    /// One write for each of its stream's [`turns`](Shared::turns).
    Turns,
}

/// What a stream is asked to be; as text it is the path to ask with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub id: usize,
    pub pace: Pace,
    /// Bytes of an event.
    pub size: usize,
    /// Events in one write.
    pub burst: usize,
    /// Writes until the end.
    pub writes: u64,
}

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            pace,
            size,
            burst,
            writes,
        } = self;
        let gap = match pace {
            Pace::Flood => 0,
            Pace::Every(gap) => gap.as_micros(),
            Pace::Turns => u128::from(u64::MAX),
        };
        write!(f, "/events/{id}/{gap}/{size}/{burst}/{writes}")
    }
}

impl Plan {
    /// Few events long ago, and then nothing.
    pub fn idle(id: usize) -> Self {
        let pace = Pace::Every(Duration::from_secs(3600));
        Self {
            id,
            pace,
            size: 120,
            burst: 1,
            writes: u64::MAX,
        }
    }

    fn from_path(path: &str) -> Option<Self> {
        let mut numbers = path
            .strip_prefix("/events/")?
            .split('/')
            .map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            id: next()? as usize,
            pace: match next()? {
                0 => Pace::Flood,
                u64::MAX => Pace::Turns,
                gap => Pace::Every(Duration::from_micros(gap)),
            },
            size: next()? as usize,
            burst: next()? as usize,
            writes: next()?,
        })
    }
}

/// The backend, running on a thread of its own.
#[derive(Debug)]
pub struct Backend {
    /// Which streams missed their clients, and when.
    pub missed: mpsc::UnboundedReceiver<(usize, Instant)>,
    /// For each stream with [`Pace::Turns`], how many events it may send.
    pub turns: Arc<[Semaphore]>,
}

impl Backend {
    /// Listens at `address`, for at most `streams` streams with turns.
    pub fn start(address: SocketAddr, streams: usize) -> io::Result<Self> {
        let (sender, missed) = mpsc::unbounded_channel();
        let turns: Arc<[Semaphore]> = (0..streams).map(|_| Semaphore::new(0)).collect();
        let shared = Shared {
            missed: sender,
            turns: turns.clone(),
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(async {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(4096)
        })?;
        std::thread::spawn(move || runtime.block_on(accept(listener, Arc::new(shared))));
        Ok(Self { missed, turns })
    }
}

#[derive(Debug)]
struct Shared {
    missed: mpsc::UnboundedSender<(usize, Instant)>,
    turns: Arc<[Semaphore]>,
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            // Whatever fails shows at the client, or in what was missed.
            let _ = socket.set_nodelay(true);
            let _ = serve(socket, &shared).await;
        });
    }
}

async fn serve(mut socket: TcpStream, shared: &Shared) -> io::Result<()> {
    let page = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {PAGE_SIZE}\r\n\r\n{}",
        "x".repeat(PAGE_SIZE)
    );
    let mut buffer = Vec::with_capacity(1024);
    loop {
        buffer.clear();
        while !buffer.ends_with(b"\r\n\r\n") {
            if socket.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&buffer);
        let path = head.split(' ').nth(1).unwrap_or_default();
        if path == PAGE {
            socket.write_all(page.as_bytes()).await?;
        } else if let Some(Ok(id)) = path.strip_prefix(SILENT).map(str::parse) {
            gone(&socket).await;
            let _ = shared.missed.send((id, Instant::now()));
            return Ok(());
        } else if let Some(plan) = Plan::from_path(path) {
            stream(&mut socket, plan, shared).await?;
        } else {
            let refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            socket.write_all(refusal).await?;
        }
    }
}

async fn stream(socket: &mut TcpStream, plan: Plan, shared: &Shared) -> io::Result<()> {
    let Plan {
        id,
        pace,
        size,
        burst,
        writes,
    } = plan;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    let mut events = events::chunks(size, burst);
    // Spread over the gap, the same way in each run.
    let phase = (id as f64 * 0.618_033_988_749_895).fract();
    let mut due = Instant::now();
    let mut ticks = None;
    match pace {
        Pace::Every(gap) if gap < Duration::from_millis(2) => ticks = Some(tick(gap)),
        Pace::Every(gap) => due += gap.mul_f64(phase),
        Pace::Flood | Pace::Turns => {}
    }
    for sent in 0..writes {
        if sent > 0 {
            tokio::select! {
                biased;
                () = gone(socket) => {
                    // The clients may have ended already.
                    let _ = shared.missed.send((id, Instant::now()));
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                () = async {
                    match pace {
                        Pace::Flood => {}
                        Pace::Every(gap) => match &ticks {
                            Some(ticks) => turn(ticks).await,
                            None => {
                                sleep_until(due).await;
                                due += gap;
                            }
                        },
                        Pace::Turns => turn(&shared.turns[id]).await,
                    }
                } => {}
            }
        }
        events::stamp(&mut events);
        socket.write_all(&events).await?;
    }
    socket.write_all(b"0\r\n\r\n").await
}

async fn turn(turns: &Semaphore) {
    match turns.acquire().await {
        Ok(turn) => turn.forget(),
        Err(_) => unreachable!("never closed"),
    }
}

/// A turn each `gap`, from a thread of its own: tokio's timers know nothing below a millisecond.
fn tick(gap: Duration) -> Arc<Semaphore> {
    let ticks = Arc::new(Semaphore::new(0));
    let ours = Arc::downgrade(&ticks);
    std::thread::spawn(move || {
        let mut due = std::time::Instant::now();
        while let Some(ticks) = ours.upgrade() {
            ticks.add_permits(1);
            drop(ticks);
            due += gap;
            std::thread::sleep(due.saturating_duration_since(std::time::Instant::now()));
        }
    });
    ticks
}

/// Ready when the other side has closed.
async fn gone(socket: &TcpStream) {
    let mut byte = [0];
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        match socket.try_read(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {} // a pipelined request, which no proxy sends
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_survive_as_paths() {
        for pace in [
            Pace::Flood,
            Pace::Every(Duration::from_millis(33)),
            Pace::Turns,
        ] {
            let plan = Plan {
                id: 7,
                pace,
                size: 120,
                burst: 3,
                writes: u64::MAX,
            };
            assert_eq!(Plan::from_path(&plan.to_string()), Some(plan));
        }
    }
}
