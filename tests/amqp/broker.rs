//! Private RabbitMQ nodes: started, restarted, and stopped with the tests.
//!
//! Each process runs under a small shell that waits on a pipe. The pipe closes
//! when the test process ends, however it ends, and the shell kills what it
//! started.

use pirogue::bus::Tls;
use pirogue::bus::manage::Management;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard};

const GUARD: &str = r#"
trap '' HUP INT TERM
setsid "$@" </dev/null &
process=$!
cat >/dev/null
kill -s KILL -- "-$process"
wait
[ -z "$REMOVE" ] || rm -rf -- "$REMOVE"
"#;

/// How long a node may take to start: several start at once on few cores.
const PATIENCE: Duration = Duration::from_secs(180);

/// A process that ends with the tests.
struct Guarded(Child);

impl Guarded {
    /// Starts `command`, and removes the folder `remove` after its end.
    fn start(command: &[&str], env: &[(String, String)], log: &Path, remove: Option<&Path>) -> Guarded {
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", GUARD, "guard"]).args(command);
        shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        shell.env("REMOVE", remove.map(Path::as_os_str).unwrap_or_default());
        shell.envs(env.iter().map(|(name, value)| (name, value)));
        shell.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        Guarded(shell.spawn().unwrap())
    }

    /// Kills it, and waits until it is gone.
    fn kill(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where the distribution, or a generic archive, has RabbitMQ's programs.
fn program(name: &str) -> PathBuf {
    let folders = ["/usr/lib/rabbitmq/bin".into(), std::env::var("RABBITMQ_SBIN").unwrap_or_default()];
    let path = std::env::var("PATH").unwrap_or_default();
    let found = folders.iter().map(String::as_str).chain(path.split(':')).find_map(|folder| {
        let program = Path::new(folder).join(name);
        program.is_file().then_some(program)
    });
    found.unwrap_or_else(|| {
        panic!("{name} isn't there: run ./tests/run, which installs RabbitMQ, or install it")
    })
}

/// One or several nodes.
pub struct Rabbit {
    pub nodes: Vec<Node>,
    _epmd: Guarded,
}

/// A node.
pub struct Node {
    pub port: u16,
    pub tls_port: u16,
    management_port: u16,
    name: String,
    folder: PathBuf,
    env: Vec<(String, String)>,
    process: Option<Guarded>,
}

impl Rabbit {
    /// Starts a cluster of `count` nodes.
    pub fn start(count: usize) -> Rabbit {
        program("rabbitmq-server");
        let folder = tempfile::Builder::new().prefix("pirogue-rabbit-").tempdir().unwrap().keep();
        let cookie = folder.join(".erlang.cookie");
        fs::write(&cookie, "PIROGUETESTS").unwrap();
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400)).unwrap();
        super::certificates::make_certificates(&folder);
        let epmd = free_port();
        let epmd_port = epmd.to_string();
        let command = ["epmd", "-address", "127.0.0.1", "-port", &epmd_port];
        // Its guard ends last, since it is dropped last.
        let guarded = Guarded::start(&command, &[], &folder.join("epmd.log"), Some(&folder));
        let mut rabbit = Rabbit { nodes: Vec::new(), _epmd: guarded };
        // A node that finds none starts one of its own, which nobody would end.
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", epmd)).is_err() {
            assert!(began.elapsed() < PATIENCE, "epmd didn't start");
            std::thread::sleep(Duration::from_millis(20));
        }
        for nth in 0..count {
            let mut node = Node::prepare(&folder, nth, &epmd_port);
            node.start();
            rabbit.nodes.push(node);
        }
        if count > 1 {
            rabbit.node().ctl(&["await_online_nodes", &count.to_string()]);
        }
        rabbit
    }

    /// The first node.
    pub fn node(&self) -> &Node {
        &self.nodes[0]
    }
}

impl Node {
    fn prepare(home: &Path, nth: usize, epmd_port: &str) -> Node {
        // Unique, so that a node that another run left can't be met.
        let name = format!("pirogue{nth}p{epmd_port}@localhost");
        let folder = home.join(format!("node{nth}"));
        fs::create_dir_all(folder.join("log")).unwrap();
        let (port, tls_port, management_port) = (free_port(), free_port(), free_port());
        let first = format!("pirogue0p{epmd_port}@localhost");
        let home_text = home.display();
        let mut config = format!(
            "listeners.tcp.default = 127.0.0.1:{port}\n\
             listeners.ssl.default = 127.0.0.1:{tls_port}\n\
             ssl_options.cacertfile = {home_text}/ca.pem\n\
             ssl_options.certfile = {home_text}/broker.pem\n\
             ssl_options.keyfile = {home_text}/broker.key\n\
             ssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = false\n\
             ssl_cert_login_from = common_name\n\
             auth_mechanisms.1 = PLAIN\n\
             auth_mechanisms.2 = EXTERNAL\n\
             management.tcp.ip = 127.0.0.1\n\
             management.tcp.port = {management_port}\n\
             max_message_size = 2097152\n\
             raft.wal_max_size_bytes = 16777216\n\
             vm_memory_high_watermark.absolute = 2GB\n\
             disk_free_limit.absolute = 10MB\n\
             collect_statistics_interval = 1000\n"
        );
        if nth > 0 {
            config.push_str(&format!(
                "cluster_formation.peer_discovery_backend = classic_config\n\
                 cluster_formation.classic_config.nodes.1 = {first}\n"
            ));
        }
        fs::write(folder.join("rabbitmq.conf"), config).unwrap();
        fs::write(
            folder.join("plugins"),
            "[rabbitmq_management,rabbitmq_shovel,rabbitmq_auth_mechanism_ssl].",
        )
        .unwrap();
        let at = |file: &str| folder.join(file).display().to_string();
        let env = [
            ("HOME", home.display().to_string()),
            ("ERL_EPMD_PORT", epmd_port.to_owned()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODENAME", name.clone()),
            ("RABBITMQ_DIST_PORT", free_port().to_string()),
            ("RABBITMQ_MNESIA_BASE", at("data")),
            ("RABBITMQ_LOG_BASE", at("log")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins")),
            ("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf")),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
            ("RABBITMQ_PID_FILE", at("pid")),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+sbwt none +sbwtdcpu none +sbwtdio none".to_owned()),
            // The node replaces the script that starts it, and so can be killed.
            ("RUNNING_UNDER_SYSTEMD", "1".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Node { port, tls_port, management_port, name, folder, env, process: None }
    }

    /// Starts the node and waits until it serves.
    pub fn start(&mut self) {
        let server = program("rabbitmq-server");
        let log = self.folder.join("output.log");
        let mut process = Guarded::start(&[server.to_str().unwrap()], &self.env, &log, None);
        let began = Instant::now();
        // The management API is the last to come.
        while !self.answers() {
            let is_over = process.0.try_wait().unwrap().is_some() || began.elapsed() > PATIENCE;
            if is_over {
                let said = fs::read_to_string(&log).unwrap_or_default();
                panic!("the node {} didn't start in {PATIENCE:?}:\n{said}", self.name);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.process = Some(process);
    }

    fn answers(&self) -> bool {
        use std::io::{Read, Write};
        let Ok(mut socket) = std::net::TcpStream::connect(("127.0.0.1", self.management_port)) else {
            return false;
        };
        // guest:guest
        let request = "GET /api/overview HTTP/1.0\r\nAuthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n\r\n";
        let mut answer = [0; 12];
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.write_all(request.as_bytes()).is_ok()
            && socket.read_exact(&mut answer).is_ok()
            && answer.ends_with(b" 200")
    }

    /// Kills the node with SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops the node in good order, by SIGTERM, and waits for its end.
    #[allow(dead_code, reason = "not every test program that has this module stops a node so")]
    pub fn stop(&mut self) {
        let id = fs::read_to_string(self.folder.join("pid")).unwrap();
        let output = |command: &str, arguments: &[&str]| {
            Command::new(command).args(arguments).arg(id.trim()).output().unwrap()
        };
        assert!(output("kill", &["-s", "TERM"]).status.success(), "{} has no process {id}", self.name);
        let began = Instant::now();
        // The shell that waits for it reaps it later.
        let is_running = || match output("ps", &["-o", "stat=", "-p"]).stdout.first() {
            None | Some(b'Z') => false,
            Some(_) => true,
        };
        while is_running() {
            assert!(began.elapsed() < PATIENCE, "the node {} doesn't stop", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
        self.process = None;
    }

    /// The node's name in its cluster.
    #[allow(dead_code, reason = "not every test program that has this module looks for a leader")]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of `user`, whose password is [`super::lab::PASSWORD`].
    pub fn url(&self, user: &str, vhost: &str) -> String {
        format!("amqp://{user}:{}@127.0.0.1:{}/{vhost}", super::lab::PASSWORD, self.port)
    }

    /// Where the management API is.
    pub fn management_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.management_port)
    }

    /// The management API, as the administrator.
    pub fn management(&self) -> Management {
        Management::new(&self.management_url(), "guest", "guest".to_owned().into(), &Tls::default()).unwrap()
    }

    /// The folder of the certificates.
    pub fn certificates(&self) -> &Path {
        self.folder.parent().unwrap()
    }

    /// Runs `rabbitmqctl`.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("rabbitmqctl"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

/// A node that all tests share, and none disturbs.
pub fn shared() -> &'static Rabbit {
    static SHARED: OnceLock<Rabbit> = OnceLock::new();
    SHARED.get_or_init(|| {
        let rabbit = Rabbit::start(1);
        // The tests have virtual hosts of their own and share this user: it is made
        // once, so that none gives it its password under another salt meanwhile.
        rabbit.node().ctl(&["add_user", pirogue::bus::HUB, super::lab::PASSWORD]);
        rabbit
    })
}

/// A node that is killed and frightened: by one test at a time.
pub async fn disturbed() -> MutexGuard<'static, Rabbit> {
    static DISTURBED: OnceLock<Mutex<Rabbit>> = OnceLock::new();
    let mut rabbit = DISTURBED.get_or_init(|| Mutex::new(Rabbit::start(1))).lock().await;
    // A test that failed may have left it dead.
    for node in rabbit.nodes.iter_mut().filter(|node| node.process.is_none()) {
        node.start();
    }
    rabbit
}
