//! `pirogue doctor` on a real broker: what is as it should be, and what is broken
//! in each way, with the sentence that says what to do.

#[path = "doctor/journal.rs"]
mod journal;

use super::broker::{Node, disturbed, shared};
use super::lab::{PASSWORD, layout, member};
use super::process::{Process, command, wait_until};
use pirogue::admin::doctor::{Finding, Level};
use pirogue::admin::prepare;
use pirogue::agreements::sign_text;
use pirogue::bus::manage::{Access, Permissions};
use pirogue::bus::{Bus, EVENTS};
use pirogue::keys::{Jwk, KeyUse};
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const SUD: &str = "province-sud";
const GOUV: &str = "gouvernement";
const ADMIN_PASSWORD: &str = "guest";
const DAY: i64 = 86_400;

/// A hub and a member in a folder, for a virtual host of their own.
struct Case {
    folder: tempfile::TempDir,
    vhost: String,
    port: u16,
    management: u16,
}

const AGREEMENT: &str = r#"id = "emploi"
version = 1
title = "Suivi"
provider = "province-sud"
recipient = "gouvernement"
purpose = "Aides"
legal_basis = "public-interest"
retention_months = 12
valid_from = 2026-01-01
valid_until = 2099-12-31

[[grant]]
type = "nc.employment.offer.published"
versions = [1]
fields = ["*"]
"#;

impl Case {
    /// Everything as it should be, on `node`.
    async fn new(node: &Node, vhost: &str) -> Case {
        let case = Case::offline(node, vhost);
        let mut wanted = layout(vhost, 64 << 20);
        wanted.members.clear();
        for name in [SUD, GOUV] {
            wanted.members.insert(member(name), Access::Password(PASSWORD.to_owned().into()));
        }
        wanted.provision(&node.management()).await.unwrap();
        case
    }

    /// The same without a virtual host.
    fn offline(node: &Node, vhost: &str) -> Case {
        let management = node.management().address();
        let management = management.rsplit_once(':').unwrap().1.parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let case = Case { folder, vhost: vhost.to_owned(), port: node.port, management };
        prepare::hub(&case.path("hub")).unwrap();
        for name in [SUD, GOUV] {
            prepare::member(&case.path(name)).unwrap();
            case.publish(name, |_| {});
        }
        case.agree(AGREEMENT, &[SUD, GOUV]);
        prepare::secret(&case.path("broker"), PASSWORD).unwrap();
        prepare::secret(&case.path("admin"), ADMIN_PASSWORD).unwrap();
        case.configure(|hub, member| (hub, member));
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Publishes the keys of `name`, the event key changed by `change`.
    fn publish(&self, name: &str, change: impl Fn(&mut Jwk)) {
        let keys = prepare::member(&self.path(name)).unwrap();
        let mut keys = keys.public(&member(name));
        keys.keys.iter_mut().filter(|key| key.key_use == KeyUse::Event).for_each(change);
        prepare::write(&self.path(&format!("hub/members/{name}.jwks.json")), &keys.to_json()).unwrap();
    }

    fn agree(&self, text: &str, signers: &[&str]) {
        let keys: Vec<_> =
            signers.iter().map(|name| (member(name), prepare::member(&self.path(name)).unwrap())).collect();
        let signers: Vec<_> = keys.iter().map(|(name, keys)| (name, &keys.agreement)).collect();
        prepare::write(&self.path("hub/agreements/emploi.note"), &sign_text(text, &signers).unwrap())
            .unwrap();
    }

    /// Writes both configurations, as `change` has them.
    fn configure(&self, change: impl Fn(String, String) -> (String, String)) {
        let Case { vhost, port, management, .. } = self;
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let hub = format!(
            "name = \"nc\"\nbus = \"amqp://127.0.0.1:{port}/{vhost}\"\n[queue]\nmax_mib = 64\n[http]\nlisten = \"{free}\"\n\
             [broker]\npassword = {{ file = \"../broker\" }}\n[management]\nurl = \"http://127.0.0.1:{management}\"\n\
             user = \"guest\"\npassword = {{ file = \"../admin\" }}\n[store]\nlow_water_mib = 1\n"
        );
        let member = format!(
            "member = \"{SUD}\"\nhub = \"nc\"\nbus = \"amqp://127.0.0.1:{port}/{vhost}\"\nhub_keys = \
             \"../hub/hub.jwks.json\"\nmembers = \"../hub/members\"\n[broker]\npassword = {{ file = \"../broker\" \
             }}\n[inbox]\nenabled = true\n"
        );
        let (hub, member) = change(hub, member);
        fs::write(self.path("hub/hub.toml"), hub).unwrap();
        fs::write(self.path(SUD).join("connect.toml"), member).unwrap();
    }

    fn file(&self, program: &str) -> PathBuf {
        match program {
            "hub" => self.path("hub/hub.toml"),
            _ => self.path(SUD).join("connect.toml"),
        }
    }

    /// What `pirogue doctor` prints, and its exit status. It doesn't say a
    /// password.
    fn run(&self, program: &str, json: &[&str]) -> (String, Option<i32>) {
        let file = self.file(program);
        let arguments = [&["doctor", "--config", file.to_str().unwrap()][..], json].concat();
        let ended = Process::spawn(command(&arguments)).end();
        for secret in [PASSWORD, "not it", "BEGIN PRIVATE"] {
            assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "{}", ended.stdout);
        }
        assert_eq!(ended.stderr, "");
        (ended.stdout, ended.status.code())
    }

    /// What `pirogue doctor` finds while all stays as it is.
    fn findings(&self, program: &str) -> Vec<Finding> {
        let findings = self.findings_now(program);
        // A line for each, and one of counts.
        let (text, _) = self.run(program, &[]);
        assert_eq!(text.lines().count(), findings.len() + 1, "{text}");
        findings
    }

    /// What `pirogue doctor` finds now.
    fn findings_now(&self, program: &str) -> Vec<Finding> {
        let (json, status) = self.run(program, &["--json"]);
        let told: Vec<Value> = serde_json::from_str(&json).unwrap();
        let text = |value: &Value, name: &str| value[name].as_str().map(str::to_owned);
        let findings: Vec<Finding> = told
            .iter()
            .map(|value| Finding {
                check: text(value, "check").unwrap(),
                level: match value["level"].as_str().unwrap() {
                    "ok" => Level::Ok,
                    "warning" => Level::Warning,
                    "failed" => Level::Failed,
                    other => panic!("{other}"),
                },
                found: text(value, "found").unwrap(),
                remedy: text(value, "remedy"),
            })
            .collect();
        let failed = findings.iter().any(|finding| finding.level == Level::Failed);
        assert_eq!(status, Some(i32::from(failed)));
        for finding in &findings {
            assert_eq!(finding.remedy.is_some(), finding.level != Level::Ok, "{finding:?}");
        }
        findings
    }

    /// Expects exactly one finding of this level and check, with `found` and
    /// `remedy` in its sentences.
    fn expect(&self, program: &str, level: Level, check: &str, found: &str, remedy: &str) {
        let findings = self.findings(program);
        let of_check: Vec<_> =
            findings.iter().filter(|finding| finding.check == check && finding.level == level).collect();
        let [finding] = of_check[..] else { panic!("{check}: {findings:#?}") };
        assert!(finding.found.contains(found), "{finding:?}");
        assert!(finding.remedy.as_ref().unwrap().contains(remedy), "{finding:?}");
    }

    fn fails(&self, program: &str, check: &str, found: &str, remedy: &str) {
        self.expect(program, Level::Failed, check, found, remedy);
    }

    fn warns(&self, program: &str, check: &str, found: &str, remedy: &str) {
        self.expect(program, Level::Warning, check, found, remedy);
    }
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} isn't in {text}");
    text.replace(from, to)
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_as_it_should_be_is_all_ok_and_stays_as_it_is() {
    let node = shared().node();
    let case = Case::new(node, "doctor").await;
    let lab = super::lab::Lab { vhost: case.vhost.clone() };
    let sud = lab.connect(node, SUD).await;
    sud.publish(EVENTS, vec![super::lab::message(SUD, 1)]).await.unwrap();
    for program in ["hub", "connect"] {
        let findings = case.findings(program);
        assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
        assert!(findings.len() > 12, "{findings:#?}");
    }
    for word in
        ["exchange", "queue", "broker login", "broker version", "message size", "broker layout", "clock"]
    {
        assert!(case.findings("hub").iter().any(|finding| finding.check == word), "{word}");
    }
    // The message that was there is there, alone, and was given to nobody.
    let findings = case.findings("hub");
    let queue = findings.iter().find(|finding| finding.check == "queue").unwrap();
    assert!(queue.found.contains(": 1 messages wait in it"), "{queue:?}");
    let hub = lab.connect(node, "hub").await;
    let mut consumer = hub.consume("pirogue.inbox", 1).await.unwrap();
    let delivery = consumer.next(&super::lab::LIMITS).await.unwrap().remove(0);
    assert!(!delivery.redelivered, "it was given to someone before");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_at_the_broker_is_told_with_what_to_do() {
    let node = shared().node();
    let management = node.management();
    let case = Case::new(node, "doctor-broken").await;

    let broker = case.path("broker");
    let set = |text: &str| {
        fs::write(&broker, text).unwrap();
    };
    set("not it");
    case.fails("hub", "broker login", "name or password", "put the password of hub into the file");
    case.fails("connect", "broker login", "name or password", "or ask the hub's operator");
    set(PASSWORD);

    let permissions = |user: &str, write: &str, read: &str| Permissions {
        user: user.to_owned(),
        configure: "^$".to_owned(),
        write: write.to_owned(),
        read: read.to_owned(),
    };
    management.put_permissions("doctor-broken", &permissions("hub", "^$", "^$")).await.unwrap();
    management.put_permissions("doctor-broken", &permissions(SUD, "^$", "^$")).await.unwrap();
    case.fails("hub", "queue", "may not read pirogue.inbox", "`pirogue provision --config");
    case.fails("hub", "exchange", "may not publish to pirogue.deliveries", "`pirogue provision --config");
    case.fails("hub", "broker layout", "let hub configure ^$", "--dry-run");
    case.fails(
        "connect",
        "queue",
        "may not read pirogue.to.province-sud",
        "operator run `pirogue provision`",
    );
    case.fails(
        "connect",
        "exchange",
        "may not publish to pirogue.events",
        "operator run `pirogue provision`",
    );

    // Only the routing key is refused.
    let case = Case::new(node, "doctor-topic").await;
    let topic = pirogue::bus::manage::TopicPermissions {
        user: SUD.to_owned(),
        exchange: EVENTS.to_owned(),
        write: "^elsewhere\\.".to_owned(),
        read: "^$".to_owned(),
    };
    management.put_topic_permissions("doctor-topic", &topic).await.unwrap();
    case.fails("connect", "exchange", "routing key", "operator run `pirogue provision`");

    let case = Case::new(node, "doctor-queues").await;
    node.ctl(&["delete_queue", "-p", "doctor-queues", "pirogue.inbox"]);
    node.ctl(&["delete_queue", "-p", "doctor-queues", "pirogue.to.province-sud"]);
    case.fails("hub", "queue", "there is no queue pirogue.inbox", "`pirogue provision --config");
    case.fails("hub", "broker layout", "make the queue pirogue.inbox", "`pirogue provision --config");
    case.fails(
        "connect",
        "queue",
        "there is no queue pirogue.to.province-sud",
        "operator run `pirogue provision`",
    );

    let case = Case::offline(node, "doctor-nowhere");
    case.fails("hub", "broker login", "virtual host doctor-nowhere", "`pirogue provision --config");
    case.fails("hub", "broker layout", "make the virtual host", "`pirogue provision --config");
    case.fails("connect", "broker login", "virtual host doctor-nowhere", "operator run `pirogue provision`");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_the_configuration_of_the_broker_is_told() {
    let node = shared().node();
    let case = Case::new(node, "doctor-config").await;
    fs::write(case.path("admin"), "not it").unwrap();
    case.fails("hub", "management API", "refuses", "rabbitmqctl set_user_tags guest administrator");
    fs::write(case.path("admin"), ADMIN_PASSWORD).unwrap();
    case.configure(|hub, member| (replaced(&hub, "max_mib = 64", "max_mib = 65"), member));
    case.fails("hub", "broker layout", "x-max-length-bytes", "do as it says");
    case.configure(|hub, member| {
        let url = format!("http://127.0.0.1:{}", case.management);
        (replaced(&hub, &url, "http://127.0.0.1:9"), member)
    });
    case.fails("hub", "management API", "doesn't answer", "rabbitmq-plugins enable rabbitmq_management");

    // Nobody there; something that speaks otherwise; an authority that isn't trusted.
    let port = format!("127.0.0.1:{}", case.port);
    let at =
        |to: &str| case.configure(|hub, member| (replaced(&hub, &port, to), replaced(&member, &port, to)));
    at("127.0.0.1:9");
    case.fails("connect", "broker", "can't be reached", "systemctl start rabbitmq-server");
    at(&format!("127.0.0.1:{}", case.management));
    case.fails("connect", "broker", "AMQP", "5671 for amqps://");
    let tls = format!("127.0.0.1:{}", node.tls_port);
    let secure = |ca: &str| {
        let ca = node.certificates().join(ca);
        let change = |text: String| {
            let text = replaced(&text, &format!("amqp://{port}"), &format!("amqps://{tls}"));
            replaced(&text, "[broker]\n", &format!("[broker]\nca = {ca:?}\n"))
        };
        case.configure(|hub, member| (change(hub), change(member)));
    };
    secure("other-ca.pem");
    case.fails("hub", "broker", "certificate", "the authority that signed the broker's certificate");
    // The tests' certificates are made for 30 days.
    secure("ca.pem");
    case.warns("hub", "broker certificate", "it ends on", "renew it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_keys_agreements_and_the_machine_is_told() {
    let node = shared().node();
    let case = Case::new(node, "doctor-files").await;

    case.publish(SUD, |key| key.expires = Some(now() - 8 * DAY));
    case.fails(
        "connect",
        "event key",
        "it ended on",
        "pirogue keys generate --use event --member province-sud",
    );
    case.warns("hub", "members' keys", "province-sud has no event key that is valid", "`pirogue reload`");
    case.publish(SUD, |key| key.expires = Some(now() - DAY));
    case.fails("connect", "event key", "the hub takes its events until", "pirogue keys generate");
    case.warns("hub", "members' keys", "of province-sud ended on", "pirogue keys generate");
    case.publish(SUD, |key| key.expires = Some(now() + 10 * DAY + 60));
    case.warns("connect", "event key", "in 10 days", "pirogue keys generate");
    case.warns("hub", "members' keys", "in 10 days", "let province-sud make a new event key");
    case.publish(SUD, |key| key.revoked = Some(now()));
    case.fails("connect", "event key", "revoked", "set keys.event to it");
    case.publish(SUD, |key| key.not_before = Some(now() + DAY));
    case.fails("connect", "event key", "it isn't valid before", "the key before it");
    case.publish(SUD, |key| key.key_use = KeyUse::Agreement);
    case.fails("connect", "event key", "published for agreement", "the file of the event key");
    case.publish(SUD, |_| {});
    let key = case.path(SUD).join("keys/event.pem");
    let aside = case.path("aside.pem");
    fs::rename(&key, &aside).unwrap();
    case.fails("connect", "event key", "can't be read", "pirogue keys generate --use event --out");
    prepare::key(&key).unwrap();
    case.fails("connect", "event key", "unknown-key", "pirogue keys show");
    fs::rename(&aside, &key).unwrap();

    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for (program, check, file) in [
        ("hub", "delivery key", "hub/keys/delivery.pem"),
        ("hub", "broker password", "broker"),
        ("connect", "event key", "province-sud/keys/event.pem"),
    ] {
        let path = case.path(file);
        open(&path, 0o644);
        let check = findings_of(&case, program, check);
        assert!(check.remedy.unwrap().contains(&format!("chmod 600 {}", shown(&path, program))));
        open(&path, 0o600);
    }

    case.agree(AGREEMENT, &[SUD]);
    case.warns("hub", "agreements", "isn't signed by gouvernement", "let gouvernement sign it");
    case.agree(&AGREEMENT.replace("2099-12-31", &day_in(10)), &[SUD, GOUV]);
    case.warns("hub", "agreements", "is in force until", "sign version 2 with a later valid_until");
    case.agree(&AGREEMENT.replace("2099-12-31", "2026-01-31"), &[SUD, GOUV]);
    case.warns("hub", "agreements", "it ended on", "with a later valid_until");
    case.agree(&AGREEMENT.replace("offer.published", "offer.withdrawn"), &[SUD, GOUV]);
    case.fails("hub", "agreements", "of which there is no schema", "folder of schemas");
    case.agree(&AGREEMENT.replace("\"*\"", "\"no_such_field\""), &[SUD, GOUV]);
    case.fails("hub", "agreements", "emploi:1 isn't in force", "sign a higher version");
    let note = case.path("hub/agreements/emploi.note");
    case.agree(AGREEMENT, &[SUD, GOUV]);
    fs::write(&note, fs::read_to_string(&note).unwrap().replace("Aides", "Autre")).unwrap();
    case.fails("hub", "agreements", "changed after signing", "put back emploi.note");
    case.agree(AGREEMENT, &[SUD, GOUV]);

    let published = case.path("hub/hub.jwks.json");
    let whole = fs::read_to_string(&published).unwrap();
    fs::write(&published, "{\"keys\":[]}").unwrap();
    case.fails("hub", "the hub's public keys", "the delivery key isn't in", "--use delivery --member hub");
    case.fails(
        "connect",
        "the hub's public keys",
        "has no delivery key",
        "ask the hub's operator for hub.jwks.json",
    );
    fs::write(&published, whole).unwrap();

    case.configure(|hub, member| (replaced(&hub, "low_water_mib = 1", "low_water_mib = 900000000"), member));
    case.fails("hub", "disk space", "below 900000000 MiB", "give it a larger disk");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    case.configure(|hub, member| {
        let (before, after) = hub.split_once("listen = \"").unwrap();
        (format!("{before}listen = \"{address}{}", &after[after.find('"').unwrap()..]), member)
    });
    case.fails(
        "hub",
        "HTTP port",
        &format!("already listens on {address}"),
        "set http.listen to another one",
    );
    case.configure(|hub, member| (hub, member));

    for (program, from, to, name) in [
        ("hub", "[queue]\nmax_mib", "[queue]\nmax_mb", "queue.max_mib"),
        ("connect", "[inbox]\nenabled", "[inbox]\nenable", "inbox.enabled"),
    ] {
        let wrong = |text: String| if text.contains(from) { text.replace(from, to) } else { text };
        case.configure(|hub, member| (wrong(hub), wrong(member)));
        let explained = format!("`pirogue config defaults {program}` explains every key");
        case.fails(program, "configuration", &format!("did you mean {name}?"), &explained);
    }
    case.configure(|hub, member| (hub, replaced(&member, "bus = \"amqp:", "#bus = \"amqp:")));
    case.fails("connect", "bus", "has none", "set bus to the broker's URL");
    let connector = "[[connector]]\nfolder = \"nowhere\"\n";
    case.configure(|hub, member| (hub, format!("{member}{connector}")));
    case.fails("connect", "connector", "connector.toml", "set [[connector]] folder");
    let boost = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/boost");
    let connector = format!(
        "[[connector]]\nfolder = {boost:?}\n[connector.settings]\nbase_url = \"http://127.0.0.1:9\"\n\
         [connector.secrets]\nboost-api-key = {{ env = \"NO_SUCH_KEY\" }}\n"
    );
    case.configure(|hub, member| (hub, format!("{member}{connector}")));
    case.fails(
        "connect",
        "connector boost, secret boost-api-key",
        "NO_SUCH_KEY isn't set",
        "set NO_SUCH_KEY",
    );
}

fn findings_of(case: &Case, program: &str, check: &str) -> Finding {
    let findings = case.findings(program);
    let found = findings.iter().find(|finding| finding.check == check && finding.level == Level::Failed);
    found.unwrap_or_else(|| panic!("{check}: {findings:#?}")).clone()
}

/// The path as the configuration of `program`, in a folder beside, names it.
fn shown(path: &Path, program: &str) -> String {
    let folder = path.parent().unwrap();
    match path.file_name().unwrap().to_str().unwrap() {
        "broker" if program == "hub" => folder.join("hub/../broker").display().to_string(),
        _ => path.display().to_string(),
    }
}

/// The day in so many days, `2026-12-24`.
fn day_in(days: i64) -> String {
    jiff::Timestamp::from_second(now() + days * DAY).unwrap().strftime("%Y-%m-%d").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_runs_is_told_from_one_that_doesnt() {
    let node = shared().node();
    let case = Case::new(node, "doctor-running").await;
    let mut hub = Process::spawn(command(&["hub", "--config", case.file("hub").to_str().unwrap()]));
    wait_until("the hub answers, and consumes", || {
        assert!(!hub.has_ended(), "{}", hub.stderr());
        let queue = case.findings_now("hub").into_iter().find(|finding| finding.check == "queue");
        queue.is_some_and(|queue| queue.found.contains("consumers: 1"))
    });
    let findings = case.findings("hub");
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    let found = |check: &str| findings.iter().find(|finding| finding.check == check).unwrap().found.clone();
    assert!(found("running hub").contains("nc runs, version"), "{findings:#?}");
    assert!(found("store").contains("in use"), "{findings:#?}");
    assert!(found("HTTP port").contains("by the running hub"), "{findings:#?}");
    // Another hub's folder on the same broker.
    let other = Case::offline(node, "doctor-running");
    other.warns("hub", "queue", "is consumed by someone", "a second hub only waits");
    assert!(!hub.has_ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_lacks_memory_or_is_stopped_is_told() {
    let mut rabbit = disturbed().await;
    let case = Case::new(rabbit.node(), "doctor-disturbed").await;
    rabbit.node().ctl(&["set_vm_memory_high_watermark", "absolute", "1"]);
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until("the alarm is there", || {
            case.findings_now("hub").iter().any(|finding| finding.found.contains("lacks memory"))
        });
        case.fails("hub", "broker alarms", "lacks memory", "rabbitmq-diagnostics alarms");
    }));
    rabbit.node().ctl(&["set_vm_memory_high_watermark", "absolute", "2GB"]);
    told.unwrap();

    rabbit.nodes[0].kill();
    case.fails("hub", "broker", "can't be reached", "systemctl start rabbitmq-server");
    case.fails("hub", "management API", "doesn't answer", "rabbitmq-plugins enable");
    case.fails("connect", "broker", "can't be reached", "systemctl start rabbitmq-server");
    rabbit.nodes[0].start();
}
