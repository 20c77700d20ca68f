//! The commands' side of the operator's socket.

use super::socket::NAME;
use crate::hub::operator::{Answer, Request};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer may take: a reload reads every agreement again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallFault {
    /// Nobody listens.
    #[error("no hub runs on the data folder {data}: start it with pirogue hub --config FILE",
        data = .data.display())]
    NoHub {
        /// The hub's data folder.
        data: PathBuf,
    },
    /// The socket belongs to somebody else.
    #[error("the hub's socket {socket} is closed to you: run this command as the user who runs the hub",
        socket = .socket.display())]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
    },
    /// The hub didn't answer in time.
    #[error("the hub didn't answer at {socket} within {seconds} seconds: look at its log",
        socket = .socket.display(), seconds = PATIENCE.as_secs())]
    TooSlow {
        /// The socket.
        socket: PathBuf,
    },
    /// The connection broke.
    #[error("the hub's socket {socket} can't be used: {source}", socket = .socket.display())]
    Io {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The hub ended the connection and gave no answer.
    #[error("the hub at {socket} ended before it answered: its log says why; start it again, and ask again: an erasure \
        that it had written down is completed at its start", socket = .socket.display())]
    Ended {
        /// The socket.
        socket: PathBuf,
    },
    /// The hub answered something else than an answer.
    #[error("the hub at {socket} gave no answer that this command understands: are both of the same version?",
        socket = .socket.display())]
    NotUnderstood {
        /// The socket.
        socket: PathBuf,
    },
}

/// How long an answer to `request` may take. What sends or erases goes on until it
/// is done, and says itself when it can't be.
fn patience(request: &Request) -> Duration {
    match request {
        Request::Replay { .. } | Request::Erase { .. } => PATIENCE * 60 * 24,
        _ => PATIENCE,
    }
}

/// Asks the hub whose data folder is `data`, and waits for the answer, for a
/// minute at most; for a replay or an erasure, until it is done. Blocks the
/// thread.
pub fn call(data: &Path, request: &Request) -> Result<Answer, CallFault> {
    let socket = data.join(NAME);
    let fault = |source: io::Error| match source.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => CallFault::NoHub { data: data.to_owned() },
        ErrorKind::PermissionDenied => CallFault::NotAllowed { socket: socket.clone() },
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => CallFault::Ended { socket: socket.clone() },
        ErrorKind::WouldBlock | ErrorKind::TimedOut => CallFault::TooSlow { socket: socket.clone() },
        _ => CallFault::Io { socket: socket.clone(), source },
    };
    let not_understood = || CallFault::NotUnderstood { socket: socket.clone() };
    let mut stream = UnixStream::connect(&socket).map_err(fault)?;
    stream.set_read_timeout(Some(patience(request))).map_err(fault)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(fault)?;
    let mut line = serde_json::to_vec(request).map_err(|_| not_understood())?;
    line.push(b'\n');
    stream.write_all(&line).map_err(fault)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(fault)?;
    if !answer.ends_with('\n') {
        return Err(CallFault::Ended { socket: socket.clone() });
    }
    serde_json::from_str(&answer).map_err(|_| not_understood())
}
