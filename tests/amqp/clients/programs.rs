//! The programs of `examples/`, as processes.

use crate::process::Process;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The languages of the publishers.
pub const PUBLISHERS: [&str; 4] = ["python", "node", "java", "php"];
/// The languages of the recipients.
pub const RECIPIENTS: [&str; 3] = ["python", "node", "java"];

/// The jars of `examples/README.md`, of the distribution's packages.
const JARS: [&str; 9] = [
    "amqp-client",
    "avro",
    "jackson-annotations",
    "jackson-core",
    "jackson-core-asl",
    "jackson-databind",
    "jackson-mapper-asl",
    "slf4j-api",
    "slf4j-nop",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a program needs; fails where `./tests/run` wasn't run to install it.
fn needed(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} isn't there: run ./tests/run, which installs it", path.display());
    path
}

fn jars() -> String {
    let jar = |name| needed(format!("/usr/share/java/{name}.jar").into()).to_str().unwrap().to_owned();
    JARS.map(jar).join(":")
}

/// The folder of the classes, compiled once for all tests.
fn classes() -> &'static Path {
    static CLASSES: OnceLock<PathBuf> = OnceLock::new();
    CLASSES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-java");
        let mut javac = Command::new("javac");
        javac.arg("-Xlint:all,-serial").arg("-Werror").arg("-d").arg(&folder).args(["-cp", &jars()]);
        javac.args(["Publish", "Receive"].map(|class| root().join(format!("examples/java/{class}.java"))));
        let output = javac.output().expect("javac isn't there: run ./tests/run, which installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        folder
    })
}

/// The program of `language` that publishes, or receives, with its argument.
fn program(language: &str, what: &str, argument: &Path) -> Command {
    let example = |name: String| root().join("examples").join(language).join(name);
    let (runtime, script) = match language {
        "python" => (needed(root().join("target/venvs/clients/bin/python")), example(format!("{what}.py"))),
        "node" => {
            needed(root().join("examples/node/node_modules/amqplib"));
            ("node".into(), example(format!("{what}.mjs")))
        }
        "java" => {
            // A class of the folder that `classes` fills.
            let class = what[..1].to_uppercase() + &what[1..];
            ("java".into(), class.into())
        }
        "php" => ("php".into(), example(format!("{what}.php"))),
        other => panic!("there is no example in {other}"),
    };
    let mut command = Command::new(runtime);
    if language == "java" {
        command.args(["-XX:TieredStopAtLevel=1", "-cp", &format!("{}:{}", classes().display(), jars())]);
    }
    command.arg(script).arg(argument).stdin(Stdio::null());
    command
}

/// The settings of a program, by the names of `examples/README.md`.
#[derive(Clone)]
pub struct Settings {
    /// The broker's URL, with user and password.
    pub broker: String,
    pub member: String,
    /// The folder of the exchange.
    pub folder: PathBuf,
    /// More settings, or others.
    pub more: Vec<(&'static str, String)>,
}

impl Settings {
    fn of(&self, mut command: Command) -> Command {
        let at = |path: &str| self.folder.join(path);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LANG", "C.UTF-8");
        command.env("BROKER", &self.broker).env("MEMBER", &self.member).env("SYSTEM", "boost");
        command.env("HUB", super::exchange::HUB_NAME).env("KEY", at(&self.member).join("keys/event.pem"));
        command.env("HUB_KEYS", at("hub/hub.jwks.json")).env("MEMBER_KEYS", at("hub/members"));
        command.env("SCHEMAS", at("schemas"));
        command.envs(self.more.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the publisher in `language`, of the records in `file`.
    pub fn publish(&self, language: &str, file: &Path) -> Process {
        start(language, self.of(program(language, "publish", file)))
    }

    /// Starts the recipient in `language`, which writes to `folder`.
    pub fn receive(&self, language: &str, folder: &Path) -> Process {
        start(language, self.of(program(language, "receive", folder)))
    }
}

fn start(language: &str, command: Command) -> Process {
    let runtime = command.get_program().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = Path::new(&runtime).is_absolute()
        || std::env::split_paths(&path).any(|folder| folder.join(&runtime).is_file());
    assert!(is_there, "{language} isn't there: run ./tests/run, which installs it");
    Process::spawn(command)
}
