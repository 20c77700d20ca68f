//! A folder in which an operator and members run the program's commands.

use super::broker::Node;
use super::lab::PASSWORD;
use super::process::{Ended, Process, command};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The hub's name.
pub const HUB_NAME: &str = "nouvelle-caledonie";

pub struct Site {
    folder: tempfile::TempDir,
    /// Every line that was run.
    ran: Mutex<Vec<String>>,
}

impl Site {
    /// The folder of a hub, with its keys as README makes them.
    pub fn new(settings: &str) -> Site {
        let site = Site { folder: tempfile::tempdir().unwrap(), ran: Mutex::default() };
        for folder in ["keys", "members", "agreements"] {
            fs::create_dir(site.at(folder)).unwrap();
        }
        site.ok("keys generate --use delivery --out keys/delivery.pem");
        site.ok("keys generate --use checkpoint --out keys/checkpoint.pem");
        site.write("hub.toml", settings);
        site
    }

    /// The folder of a hub on `vhost` of `node`.
    pub fn on(node: &Node, vhost: &str, more: &str) -> Site {
        Site::new(&settings(node, vhost, more))
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|fault| panic!("{path}: {fault}"))
    }

    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.at(path), text).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Every line that was run there, without `pirogue`.
    pub fn ran(&self) -> Vec<String> {
        self.ran.lock().unwrap().clone()
    }

    fn command(&self, line: &str) -> Command {
        self.ran.lock().unwrap().push(line.to_owned());
        let arguments: Vec<&str> = line.split(' ').collect();
        let mut command = command(&arguments);
        command.current_dir(self.path());
        command.env("BROKER_PASSWORD", PASSWORD).env("MANAGEMENT_PASSWORD", "guest");
        command
    }

    /// Starts `pirogue LINE` there.
    pub fn start(&self, line: &str) -> Process {
        Process::spawn(self.command(line))
    }

    /// Runs `pirogue LINE` there to its end. It never says a password.
    pub fn run(&self, line: &str) -> Ended {
        let ended = self.start(line).end();
        assert!(!ended.stdout.contains(PASSWORD) && !ended.stderr.contains(PASSWORD), "{line}");
        ended
    }

    /// Runs `pirogue LINE`, which has to succeed; what it printed.
    pub fn ok(&self, line: &str) -> String {
        let ended = self.run(line);
        assert!(ended.status.success(), "{line}: {}", ended.stderr);
        ended.stdout
    }

    /// Runs `pirogue LINE`, which has to fail with `status`; its one sentence.
    pub fn refused(&self, line: &str, status: i32) -> String {
        let ended = self.run(line);
        ended.sentence(status).to_owned()
    }

    /// Makes `name` a member by its public keys alone, the private ones in a folder
    /// of its name.
    pub fn member(&self, name: &str) {
        let keys = pirogue::admin::prepare::member(&self.at(name)).unwrap();
        let jwks = keys.public(&super::lab::member(name)).to_json();
        fs::write(self.at(&format!("members/{name}.jwks.json")), jwks).unwrap();
    }
}

/// `hub.toml` of a hub on `vhost` of `node`.
pub fn settings(node: &Node, vhost: &str, more: &str) -> String {
    format!(
        "name = '{HUB_NAME}'\nbus = 'amqp://127.0.0.1:{}/{vhost}'\n{more}\n\
         [http]\nenabled = false\n[store]\nlow_water_mib = 64\n\
         [broker]\npassword = {{ env = 'BROKER_PASSWORD' }}\n\
         [management]\nurl = 'http://{}'\nuser = 'guest'\npassword = {{ env = 'MANAGEMENT_PASSWORD' }}\n",
        node.port,
        node.management().address()
    )
}
