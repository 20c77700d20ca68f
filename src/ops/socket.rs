//! The operator's socket: a Unix socket that only its owner can reach. A
//! request is a line of JSON, and so is its answer.

use crate::hub::operator::{Answer, Handler, Request};
use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The name of the socket in a hub's data folder.
pub const NAME: &str = "hub.sock";

/// The longest request, in bytes.
const LONGEST_REQUEST: u64 = 64 * 1024;

/// How long a hub that stops waits for answers that are under way.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Why the socket can't be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketFault {
    /// Another hub answers there.
    #[error("a hub already runs on this data folder: it answers at {path}", path = .0.display())]
    HubRuns(PathBuf),
    /// Something else than a socket is in its place.
    #[error("{path} is in the place of the hub's socket and isn't one: move it away", path = .0.display())]
    NotASocket(PathBuf),
    /// The path doesn't fit into a socket's address (`sun_path`, unix(7)).
    #[error("the path {path} is too long for a socket: set data to a shorter path", path = .0.display())]
    PathTooLong(PathBuf),
    /// The system refused.
    #[error("the hub's socket {path} can't be opened: {source}", path = .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The open socket of a hub. Its file goes when it is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A file that stays is found stale at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Socket {
    /// Opens the socket in the data folder `data`, mode 0600. A file that was
    /// left by a hub that stopped is replaced, if nobody answers there.
    ///
    /// Runs within a Tokio runtime.
    pub fn open(data: &Path) -> Result<Socket, SocketFault> {
        let path = data.join(NAME);
        let io = |source: io::Error| SocketFault::Io { path: path.clone(), source };
        match std::fs::symlink_metadata(&path) {
            Err(fault) if fault.kind() == ErrorKind::NotFound => {}
            Err(fault) => return Err(io(fault)),
            Ok(metadata) if !metadata.file_type().is_socket() => return Err(SocketFault::NotASocket(path)),
            Ok(_) => match std::os::unix::net::UnixStream::connect(&path) {
                Ok(_) => return Err(SocketFault::HubRuns(path)),
                Err(fault) if fault.kind() == ErrorKind::ConnectionRefused => {}
                Err(fault) => return Err(io(fault)),
            },
        }
        // Made in a folder that is closed to others and then moved, so that it
        // is never there with another mode.
        let nest = data.join(".sock");
        match std::fs::DirBuilder::new().mode(0o700).create(&nest) {
            Err(fault) if fault.kind() != ErrorKind::AlreadyExists => return Err(io(fault)),
            _ => std::fs::set_permissions(&nest, Permissions::from_mode(0o700)).map_err(io)?,
        }
        let made = nest.join(NAME);
        match std::fs::remove_file(&made) {
            Err(fault) if fault.kind() != ErrorKind::NotFound => return Err(io(fault)),
            _ => {}
        }
        let listener = UnixListener::bind(&made).map_err(|fault| match fault.kind() {
            ErrorKind::InvalidInput => SocketFault::PathTooLong(path.clone()),
            _ => io(fault),
        })?;
        std::fs::set_permissions(&made, Permissions::from_mode(0o600)).map_err(io)?;
        std::fs::rename(&made, &path).map_err(io)?;
        std::fs::remove_dir(&nest).map_err(io)?;
        Ok(Socket { listener, path })
    }

    /// Answers requests until `until` is done. Then it takes no more, ends the
    /// answers that are under way, and removes the socket's file.
    pub async fn serve(self, handler: Arc<dyn Handler>, until: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, handler.clone(), stopped.clone()));
                    }
                    Err(fault) => {
                        // Out of file handles, most likely: what is open has to end first.
                        tracing::warn!(%fault, "the operator's socket can't take a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        stop.send_replace(true);
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_ANSWERS, all).await;
    }
}

/// Answers the requests of one connection, one after the other.
async fn connection(mut stream: UnixStream, handler: Arc<dyn Handler>, mut stopped: watch::Receiver<bool>) {
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut read).take(LONGEST_REQUEST);
        tokio::select! {
            biased;
            done = limited.read_until(b'\n', &mut line) => match done {
                Ok(n) if n > 0 => {}
                _ => return,
            },
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        let whole = line.ends_with(b"\n") || (line.len() as u64) < LONGEST_REQUEST;
        let answer = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => handler.handle(request).await,
            Err(_) if !whole => {
                Answer::Failed { detail: format!("the request is longer than {LONGEST_REQUEST} bytes") }
            }
            Err(fault) => Answer::Failed {
                detail: format!(
                    "the request isn't one that this hub knows ({fault}): is the command of the same version?"
                ),
            },
        };
        let mut text = serde_json::to_vec(&answer).unwrap_or_else(|_| {
            br#"{"answer":"failed","detail":"the answer can't be written as JSON"}"#.to_vec()
        });
        text.push(b'\n');
        if write.write_all(&text).await.is_err() || !whole {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::operator::StatusReport;
    use crate::ops::client::{self, CallFault};
    use std::pin::Pin;
    use tokio::sync::oneshot;

    /// A hub that knows its name and how to stop.
    struct Named(std::sync::Mutex<Option<oneshot::Sender<()>>>);

    impl Handler for Named {
        fn handle(&self, request: Request) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
            Box::pin(async move {
                match request {
                    Request::Status => {
                        Answer::Status(StatusReport { name: "nc".into(), ..StatusReport::default() })
                    }
                    Request::Shutdown => {
                        if let Some(stop) = self.0.lock().unwrap().take() {
                            stop.send(()).unwrap();
                        }
                        Answer::ShuttingDown
                    }
                    Request::Trace { id, .. } => Answer::NotFound { detail: id },
                    _ => Answer::Failed { detail: "no".into() },
                }
            })
        }
    }

    /// Runs `ask` beside a hub that serves in `data`, until it asks to stop.
    async fn with_hub<T: Send + 'static>(data: &Path, ask: impl FnOnce(PathBuf) -> T + Send + 'static) -> T {
        let (stop, stopped) = oneshot::channel();
        let socket = Socket::open(data).unwrap();
        let handler = Arc::new(Named(std::sync::Mutex::new(Some(stop))));
        let serving = tokio::spawn(socket.serve(handler, async {
            let _ = stopped.await;
        }));
        let data = data.to_owned();
        let told = tokio::task::spawn_blocking(move || {
            let told = ask(data.clone());
            assert_eq!(client::call(&data, &Request::Shutdown).unwrap(), Answer::ShuttingDown);
            told
        });
        let told = told.await.unwrap();
        serving.await.unwrap();
        told
    }

    #[tokio::test]
    async fn a_command_gets_the_answer_of_the_hub_and_the_file_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let mode = with_hub(folder.path(), |data| {
            let Answer::Status(status) = client::call(&data, &Request::Status).unwrap() else {
                panic!("a status was asked for")
            };
            assert_eq!(status.name, "nc");
            std::fs::metadata(data.join(NAME)).unwrap().permissions().mode() & 0o777
        })
        .await;
        assert_eq!(mode, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_second_hub_is_refused_and_the_first_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let first = Socket::open(folder.path()).unwrap();
        assert!(matches!(Socket::open(folder.path()), Err(SocketFault::HubRuns(_))));
        assert!(first.path.exists());
    }

    #[tokio::test]
    async fn a_stale_file_is_replaced_and_another_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        // A listener that is dropped leaves its file, as a killed hub does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Socket::open(folder.path()).unwrap());
        std::fs::write(&path, "notes").unwrap();
        assert!(matches!(Socket::open(folder.path()), Err(SocketFault::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes");
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        assert!(matches!(Socket::open(&deep), Err(SocketFault::PathTooLong(_))));
    }

    #[tokio::test]
    async fn one_connection_asks_several_times_and_nonsense_is_answered() {
        use std::io::{BufRead, Write};
        let folder = tempfile::tempdir().unwrap();
        with_hub(folder.path(), |data| {
            let mut stream = std::os::unix::net::UnixStream::connect(data.join(NAME)).unwrap();
            let mut answers = std::io::BufReader::new(stream.try_clone().unwrap()).lines();
            for (request, expected) in [
                (
                    "{\"request\":\"trace\",\"source\":\"/a/b\",\"id\":\"7\"}\n",
                    r#"{"answer":"not-found","detail":"7"}"#,
                ),
                ("nonsense\n", "the request isn't one that this hub knows"),
                ("{\"request\":\"status\"}\n", r#""name":"nc""#),
            ] {
                stream.write_all(request.as_bytes()).unwrap();
                let answer = answers.next().unwrap().unwrap();
                assert!(answer.contains(expected), "{answer}");
            }
            // The hub may close before all of it is written.
            let _ = stream.write_all(&vec![b'x'; LONGEST_REQUEST as usize + 1]);
            assert!(answers.next().unwrap().unwrap().contains("longer than"));
        })
        .await;
    }

    #[tokio::test]
    async fn an_open_connection_does_not_keep_the_hub_from_stopping() {
        let folder = tempfile::tempdir().unwrap();
        let idle =
            with_hub(folder.path(), |data| std::os::unix::net::UnixStream::connect(data.join(NAME)).unwrap());
        drop(tokio::time::timeout(LAST_ANSWERS / 2, idle).await.expect("it stops before the last resort"));
    }

    #[test]
    fn where_no_hub_runs_a_command_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let fault = client::call(folder.path(), &Request::Status).unwrap_err();
        assert!(matches!(fault, CallFault::NoHub { .. }));
        assert!(fault.to_string().contains("pirogue hub --config"), "{fault}");
        drop(std::os::unix::net::UnixListener::bind(folder.path().join(NAME)).unwrap());
        assert!(matches!(client::call(folder.path(), &Request::Status), Err(CallFault::NoHub { .. })));
    }
}
