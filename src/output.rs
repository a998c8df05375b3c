//! Standard error for the log and standard output for the access log, each written by a thread of its own.
//!
//! The reader of a log may be slow, stuck or gone, and the disk under it may be full. A write would then block the thread that
//! logs, and with it every stream of that thread. So lines wait in memory, as many as there is room for, and are written together;
//! a line that finds no room, or cannot be written, is dropped and counted.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How many bytes of lines may wait: those of two thousand streams that end at once. As many again may be on their way out.
const ROOM: usize = 1024 * 1024;
/// How much memory is kept for the next lines.
const KEPT: usize = 4096;
/// The pause after a full standard error that does not block (another process that shares it may have set `O_NONBLOCK`).
const PAUSE: Duration = Duration::from_millis(10);

/// After some lines were written, how long more may gather before they are: waking the thread for each costs as much as the write.
const GATHERING: Duration = Duration::from_millis(5);

/// Where the log goes.
pub static STDERR: Output = Output::new(Kind::Log);
/// Where the access log goes.
pub static STDOUT: Output = Output::new(Kind::Access);

/// One of the two, and its thread once it is [started](Output::start).
#[derive(Debug)]
pub struct Output {
    kind: Kind,
    queue: Queue,
    is_started: Mutex<bool>,
}

/// What the output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Log,
    Access,
}

impl Output {
    const fn new(kind: Kind) -> Self {
        Self {
            kind,
            queue: Queue::new(),
            is_started: Mutex::new(false),
        }
    }

    /// Starts the thread, unless it is running.
    pub fn start(&'static self) -> io::Result<()> {
        let mut is_started = self
            .is_started
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *is_started {
            return Ok(());
        }
        // A separate descriptor: those of `std::io` are locked during a write, for as long as it blocks.
        let (name, sink) = match self.kind {
            Kind::Log => ("log", io::stderr().as_fd().try_clone_to_owned()?),
            Kind::Access => ("access-log", io::stdout().as_fd().try_clone_to_owned()?),
        };
        let mut outlet = Outlet::new(File::from(sink), self.kind);
        let run = move || {
            loop {
                self.queue.empty_into(&mut outlet);
                thread::sleep(GATHERING);
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(run)?;
        *is_started = true;
        Ok(())
    }

    /// Takes whole lines, one with each write, and never fails.
    pub fn writer(&self) -> impl Write {
        &self.queue
    }

    /// Takes one whole line.
    pub fn push(&self, line: &[u8]) {
        self.queue.push(line);
    }

    /// Waits until every line is written, but no longer than `time`.
    pub fn flush(&self, time: Duration) {
        self.queue.flush(time);
    }
}

/// How many lines were lost, of both.
pub fn lost() -> u64 {
    let lost = |output: &Output| output.queue.lost.load(Ordering::Relaxed);
    lost(&STDERR) + lost(&STDOUT)
}

/// Lines from the threads that log to the one that writes.
#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    written: Condvar,
    lost: AtomicU64,
}

#[derive(Debug)]
struct Waiting {
    lines: Vec<u8>,
    /// Others are on their way out.
    writing: bool,
    /// The thread waits for lines.
    asleep: bool,
}

/// Where the lines go.
struct Outlet<W> {
    sink: W,
    kind: Kind,
    /// The last line was not written whole.
    torn: bool,
    /// How many dropped lines have been reported.
    told: u64,
}

impl Queue {
    const fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                lines: Vec::new(),
                writing: false,
                asleep: false,
            }),
            filled: Condvar::new(),
            written: Condvar::new(),
            lost: AtomicU64::new(0),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.lines.len() + line.len() > ROOM {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let wake = std::mem::take(&mut waiting.asleep);
        waiting.lines.extend_from_slice(line);
        drop(waiting);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Waits for lines and writes all of them. Reports dropped lines as soon as writing works again.
    fn empty_into(&self, outlet: &mut Outlet<impl Write>) {
        let mut waiting = self.waiting();
        while waiting.lines.is_empty() {
            waiting.asleep = true;
            waiting = self
                .filled
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let mut lines = std::mem::take(&mut waiting.lines);
        waiting.writing = true;
        drop(waiting);

        let unwritten = &lines[outlet.write(&lines)..];
        let unwritten = memchr::memchr_iter(b'\n', unwritten).count() as u64;
        let lost = self.lost.fetch_add(unwritten, Ordering::Relaxed);

        let mut waiting = self.waiting();
        waiting.writing = false;
        if waiting.lines.is_empty() {
            lines.clear();
            lines.shrink_to(KEPT);
            waiting.lines = lines;
        }
        drop(waiting);
        self.written.notify_all();
        if unwritten == 0 && lost > outlet.told {
            let lines = lost - outlet.told;
            match outlet.kind {
                Kind::Log => tracing::warn!(lines, "log lines were lost"),
                Kind::Access => tracing::warn!(lines, "access log lines were lost"),
            }
            outlet.told = lost;
        }
    }

    fn flush(&self, time: Duration) {
        let unwritten = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        let _ = self
            .written
            .wait_timeout_while(self.waiting(), time, unwritten);
    }
}

impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Outlet<W> {
    fn new(sink: W, kind: Kind) -> Self {
        Self {
            sink,
            kind,
            torn: false,
            told: 0,
        }
    }

    /// Writes as much of `lines` as it can; how many bytes of them that was.
    fn write(&mut self, lines: &[u8]) -> usize {
        if self.torn {
            self.torn = self.try_write(b"\n") == 0;
        }
        if self.torn {
            return 0;
        }
        let written = self.try_write(lines);
        self.torn = lines[..written].last().is_some_and(|last| *last != b'\n');
        written
    }

    fn try_write(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.sink.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(length) => written += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
                Err(_) => break,
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with so much room left.
    struct Disk {
        room: usize,
        written: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.room);
            if length == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= length;
            self.written.extend_from_slice(&bytes[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_was_full_gets_whole_lines_again_and_every_loss_is_counted() {
        for room in 0..=12 {
            let queue = Queue::new();
            let mut outlet = Outlet::new(
                Disk {
                    room,
                    written: Vec::new(),
                },
                Kind::Log,
            );
            for line in [b"one\n", b"two\n", b"six\n"] {
                queue.push(line);
            }
            queue.empty_into(&mut outlet);
            let whole = (room / 4) as u64;
            assert_eq!(queue.lost.load(Ordering::Relaxed), 3 - whole, "{room}");
            queue.push(b"lost\n");
            queue.empty_into(&mut outlet);
            assert_eq!(queue.lost.load(Ordering::Relaxed), 4 - whole, "{room}");
            outlet.sink.room = 100;
            queue.push(b"ten\n");
            queue.empty_into(&mut outlet);
            assert_eq!(queue.lost.load(Ordering::Relaxed), 4 - whole, "{room}");
            assert_eq!(outlet.told, 4 - whole, "{room}");
            let torn = if room % 4 > 0 { "\n" } else { "" };
            let expected = format!("{}{torn}ten\n", &"one\ntwo\nsix\n"[..room]);
            assert_eq!(str::from_utf8(&outlet.sink.written).unwrap(), expected);
        }
    }

    #[test]
    fn what_waits_is_bounded_and_its_memory_is_given_back() {
        let queue = Queue::new();
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        for _ in 0..10_000 {
            queue.push(&line);
        }
        let written = ROOM / 1000;
        assert_eq!(queue.lost.load(Ordering::Relaxed), 10_000 - written as u64);
        let mut outlet = Outlet::new(Vec::new(), Kind::Access);
        queue.empty_into(&mut outlet);
        assert_eq!(outlet.sink.len(), written * 1000);
        assert!(queue.waiting().lines.capacity() <= KEPT);
        queue.flush(Duration::from_secs(1000));
    }

    #[test]
    fn a_flush_waits_for_what_is_on_its_way_but_not_for_ever() {
        static QUEUE: Queue = Queue::new();
        QUEUE.push(b"line\n");
        QUEUE.flush(Duration::from_millis(1)); // no thread writes it
        let thread = thread::spawn(|| {
            let mut outlet = Outlet::new(Vec::new(), Kind::Access);
            QUEUE.empty_into(&mut outlet);
            outlet.sink
        });
        QUEUE.flush(Duration::from_secs(1000));
        assert!(!QUEUE.waiting().writing);
        assert_eq!(thread.join().unwrap(), b"line\n");
    }
}
