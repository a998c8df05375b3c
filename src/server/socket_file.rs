//! The file of a Unix socket: its mode and its folder decide who may connect, and every client is trusted.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixStream;
use tokio::time::sleep;

/// How long another process that binds in the same folder is waited for. It needs a millisecond.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(5);

/// The file of a listening Unix socket, removed on drop unless it has been replaced.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// The device and the number that the file had when it was made.
    identity: (u64, u64),
}

/// Listens at `path`, whose file gets this mode. A file that an earlier process left behind is replaced; one that is listened on,
/// or is no socket, stays.
///
/// The socket gets its mode and listens under another name, and is then renamed: so it is never seen with another mode, or not
/// listening, and a process that fails has removed nothing.
pub(super) async fn bind(
    path: &Path,
    mode: u32,
    backlog: i32,
) -> io::Result<(UnixListener, SocketFile)> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    // Until this is dropped: another sidecar could find the path free as well, and replace the file that was just put there.
    let _turn = turn(folder).await;
    check_free(path).await?;
    // Short, since the path of a socket may have no more than 107 bytes.
    let temporary = folder.join(format!(".{:08x}", fastrand::u32(..)));
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(&temporary)?)?;
    let publish = || {
        fs::set_permissions(&temporary, Permissions::from_mode(mode))?;
        socket.listen(backlog)?;
        let file = SocketFile {
            path: path.to_owned(),
            identity: identity(&temporary)?,
        };
        fs::rename(&temporary, path)?;
        Ok(file)
    };
    match publish() {
        Ok(file) => Ok((socket.into(), file)),
        Err(error) => {
            let _ = fs::remove_file(&temporary);
            Err(error)
        }
    }
}

/// An error if another process listens at `path`, or if it is no socket.
async fn check_free(path: &Path) -> io::Result<()> {
    let is_socket = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type().is_socket(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let is_stale = is_socket
        && UnixStream::connect(path).await.is_err_and(|error| {
            let gone = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound];
            gone.contains(&error.kind())
        });
    if is_stale {
        Ok(())
    } else {
        Err(io::ErrorKind::AddrInUse.into())
    }
}

/// Waits until no other sidecar binds a socket in this folder. If the folder cannot be locked, or is locked for long, it continues
/// without the lock.
async fn turn(folder: &Path) -> Option<File> {
    let folder = File::open(folder).ok()?;
    let mut waited = Duration::ZERO;
    loop {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(fs::TryLockError::WouldBlock) if waited < LONGEST_WAIT => {}
            Err(_) => return None,
        }
        sleep(STEP).await;
        waited += STEP;
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl SocketFile {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file, so that no more clients connect. Best while the socket still listens: until then no other process can use
    /// the path.
    pub(super) fn remove(&self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("sse-sidecar-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn files(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    async fn kind(path: &Path) -> io::ErrorKind {
        bind(path, 0o600, 1).await.unwrap_err().kind()
    }

    #[tokio::test]
    async fn the_mode_is_what_is_set_whatever_the_umask() {
        let folder = Folder::new("mode");
        for mode in [0o600, 0o660, 0o666, 0o777] {
            let path = folder.0.join("s");
            let (_listener, file) = bind(&path, mode, 1).await.unwrap();
            let metadata = fs::metadata(file.path()).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, mode);
            assert_eq!(folder.files(), ["s"], "under no other name");
            UnixStream::connect(&path).await.unwrap();
        }
        assert!(folder.files().is_empty());
    }

    #[tokio::test]
    async fn only_what_an_earlier_process_left_behind_is_replaced() {
        let folder = Folder::new("stale");
        let path = folder.0.join("s");
        drop(UnixListener::bind(&path).unwrap());
        let (listener, file) = bind(&path, 0o600, 1).await.unwrap();
        assert_eq!(kind(&path).await, io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).await.unwrap();
        drop((listener, file));

        fs::write(&path, "precious").unwrap();
        assert_eq!(kind(&path).await, io::ErrorKind::AddrInUse);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(folder.files(), ["s"]);
        let nowhere = folder.0.join("nowhere/s");
        assert_eq!(kind(&nowhere).await, io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn what_has_replaced_the_file_stays() {
        let folder = Folder::new("replaced");
        let path = folder.0.join("s");
        let (_listener, file) = bind(&path, 0o600, 1).await.unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(file);
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn of_many_that_begin_at_once_one_listens() {
        let folder = Folder::new("race");
        let path = folder.0.join("s");
        for _ in 0..20 {
            drop(UnixListener::bind(&path).unwrap());
            let binds = (0..8).map(|_| {
                let path = path.clone();
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build();
                    runtime
                        .unwrap()
                        .block_on(async { bind(&path, 0o600, 8).await })
                })
            });
            let binds: Vec<_> = binds.collect();
            let bound = binds.into_iter().map(|bind| bind.join().unwrap());
            let bound: Vec<_> = bound.collect();
            let listening = bound.iter().filter(|bound| bound.is_ok()).count();
            assert_eq!(listening, 1, "{bound:?}");
            UnixStream::connect(&path).await.unwrap();
        }
    }
}
