//! The program as a process, and waiting for it.

use pirogue::hub::operator::{Answer, Request, StatusReport};
use pirogue::ops::client;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails: much longer than it takes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `condition` holds. Panics with `what` if it doesn't in time.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "not within {} seconds: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// `pirogue` with `arguments`, without this shell's configuration.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pirogue"));
    command.args(arguments).env_remove("PIROGUE_CONFIG").stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PIROGUE__")) {
        command.env_remove(name);
    }
    command
}

/// A process of the program. Dropping it kills it.
pub struct Process {
    child: Child,
    output: tempfile::TempDir,
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts `pirogue` with `arguments`.
    pub fn start(arguments: &[&str]) -> Process {
        Process::spawn(command(arguments))
    }

    pub fn spawn(mut command: Command) -> Process {
        let output = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(output.path().join(name)).unwrap();
        let child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Process { child, output }
    }

    /// The hub of the demo's folder `folder`, with its members.
    pub fn hub(folder: &Path) -> Process {
        Process::start(&["hub", "--config", folder.join("hub/hub.toml").to_str().unwrap()])
    }

    #[allow(dead_code, reason = "not every test program that has this module signals a process")]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it has said on standard error until now.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// What it has said on standard output until now.
    #[allow(dead_code, reason = "not every test program that has this module reads it")]
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.output.path().join(name)).unwrap()).into_owned()
    }

    /// Waits until it ends by itself.
    pub fn end(mut self) -> Ended {
        wait_until("the process ends", || self.has_ended());
        let status = self.child.wait().unwrap();
        Ended { status, stdout: self.read("stdout"), stderr: self.read("stderr") }
    }

    /// SIGKILL. Returns what it had said on standard error; panics if it had
    /// ended by itself.
    pub fn kill(mut self) -> String {
        assert!(!self.has_ended(), "it ended by itself: {}", self.stderr());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.stderr()
    }

    /// Waits until the hub of `folder`, which this is, answers its operator.
    pub fn answers(&mut self, folder: &Path) -> StatusReport {
        let mut status = None;
        wait_until("the hub answers", || {
            assert!(!self.has_ended(), "it ended by itself: {}", self.stderr());
            status = hub_status(folder);
            status.is_some()
        });
        status.unwrap()
    }
}

impl Ended {
    /// The one sentence of a process that ended with the status `status`, and
    /// that said nothing else but lines of its log.
    pub fn sentence(&self, status: i32) -> &str {
        assert_eq!(self.status.code(), Some(status), "{}", self.stderr);
        assert_eq!(self.stdout, "");
        let said: Vec<_> = self.stderr.lines().filter(|line| !is_log_line(line)).collect();
        assert_eq!(said.len(), 1, "{}", self.stderr);
        said[0].strip_prefix("pirogue: ").expect("who speaks")
    }
}

/// Whether `line` begins with a time and a level, as lines of the log do.
fn is_log_line(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next().is_some_and(|time| time.len() > 20 && time.ends_with('Z'))
        && words.next().is_some_and(|level| ["INFO", "WARN", "ERROR", "DEBUG", "TRACE"].contains(&level))
}

/// How the hub of the demo's folder `folder` is, if it answers.
pub fn hub_status(folder: &Path) -> Option<StatusReport> {
    match client::call(&folder.join("hub"), &Request::Status) {
        Ok(Answer::Status(status)) => Some(status),
        _ => None,
    }
}

/// Asks the hub of `folder` to stop, and waits until it has.
pub fn shut_down(process: Process, folder: &Path) {
    client::call(&folder.join("hub"), &Request::Shutdown).unwrap();
    let ended = process.end();
    assert!(ended.status.success(), "{}", ended.stderr);
}

/// The folder of a demo that ended well; made once for all tests, which copy it.
pub fn finished_demo() -> &'static Path {
    static DEMO: OnceLock<PathBuf> = OnceLock::new();
    DEMO.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("finished-demo");
        let _ = std::fs::remove_dir_all(&folder);
        let data = folder.to_str().unwrap();
        let ended = Process::start(&["demo", "--once", "--json", "--events", "800", "--data", data]).end();
        assert!(ended.status.success(), "{ended:?}");
        folder
    })
}

/// A copy of the finished demo.
pub fn copy_of_demo() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = finished_demo();
    for (path, _) in snapshot(from) {
        let to = folder.path().join(&path);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        // With its mode.
        std::fs::copy(from.join(&path), to).unwrap();
    }
    folder
}

/// Every file under `folder` but locks and sockets, with its content.
pub fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() && path.file_name().unwrap() != "LOCK" {
                let content = std::fs::read(&path).unwrap();
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), content);
            }
        }
    }
    files
}

/// Numbers drawn from a seed (splitmix64).
pub struct Draw(u64);

impl Draw {
    /// From the environment variable `variable`, or from the system; says which.
    pub fn announced(variable: &str) -> Draw {
        use std::hash::{BuildHasher, RandomState};
        let seed = match std::env::var(variable) {
            Ok(seed) => seed.parse().expect("the seed is a number"),
            Err(_) => RandomState::new().hash_one(std::process::id()) >> 32,
        };
        println!("seed {seed}: {variable}={seed} draws the same again");
        Draw(seed)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}
