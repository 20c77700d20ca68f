//! The program as a person at a terminal meets it: help, errors, exit statuses.

#[path = "cli/agreement.rs"]
mod agreement;
#[path = "cli/journal.rs"]
mod journal;
#[path = "cli/person.rs"]
mod person;
#[path = "faults/process.rs"]
#[allow(dead_code, reason = "shared with another test program, which uses all of it")]
mod process;
#[path = "cli/verifier.rs"]
mod verifier;

use std::path::Path;
use std::process::{Command, Output};

const COMMANDS: &[&[&str]] = &[
    &[],
    &["demo"],
    &["hub"],
    &["connect"],
    &["trace"],
    &["status"],
    &["reload"],
    &["quarantine", "list"],
    &["quarantine", "show"],
    &["replay"],
    &["erase"],
    &["provision"],
    &["member"],
    &["member", "invite"],
    &["member", "join"],
    &["member", "admit"],
    &["member", "list"],
    &["member", "rotate-key"],
    &["member", "revoke-key"],
    &["member", "sandbox"],
    &["config", "show"],
    &["config", "defaults"],
    &["doctor"],
    &["bench"],
    &["bench", "exchange"],
    &["keys"],
    &["keys", "generate"],
    &["keys", "show"],
    &["agreement"],
    &["agreement", "new"],
    &["agreement", "sign"],
    &["agreement", "check"],
    &["agreement", "revoke"],
    &["agreement", "list"],
    &["agreement", "explain"],
    &["agreement", "register"],
    &["connector"],
    &["connector", "test"],
    &["journal"],
    &["journal", "verify"],
    &["journal", "prove"],
    &["journal", "verify-proof"],
    &["journal", "consistency"],
    &["journal", "audit"],
    &["journal", "access"],
    &["journal", "key"],
];

fn pirogue(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pirogue"));
    command.args(arguments).env_remove("PIROGUE_CONFIG").env("COLUMNS", "100");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PIROGUE__")) {
        command.env_remove(name);
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The one sentence of a command that failed with `status`.
fn sentence(output: &Output, status: i32) -> String {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{error}");
    assert_eq!(text(&output.stdout), "");
    assert_eq!(error.lines().count(), 1, "{error}");
    error.trim_end().strip_prefix("pirogue: ").expect("who speaks").to_owned()
}

fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_help_of_every_command_has_its_use_and_an_example() {
    for command in COMMANDS {
        for flag in ["-h", "--help"] {
            let output = pirogue(&[*command, &[flag]].concat());
            let help = text(&output.stdout);
            assert!(output.status.success(), "{command:?}");
            let whole = ["pirogue", &command.join(" ")].join(" ");
            assert!(help.contains(&format!("Usage: {}", whole.trim_end())), "{help}");
            assert!(help.contains("Example"), "{help}");
            assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        }
    }
}

#[test]
fn the_program_says_in_a_page_what_it_can_do() {
    insta::assert_snapshot!(text(&pirogue(&["-h"]).stdout), @r#"
        Exchange signed events between administrations, field by field, as their agreements say

        Usage: pirogue [OPTIONS] <COMMAND>

        Commands:
          demo        Show the whole exchange on this machine, with synthetic people
          hub         Run a hub: take events in, and deliver what the agreements grant
          connect     Run a member's connectors, and receive what the hub delivers
          trace       Tell one event's whole story: taken in or refused, decided, delivered
          journal     Check a hub's journal from outside, and prove what it says
          status      Show how a running hub is: what it took in, who got what, what waits
          reload      Make a running hub read members, agreements and schemas again
          quarantine  Look at the messages that a hub refused
          replay      Send a recipient again what it was sent before, under the same numbers
          erase       Erase a person: what the hub holds of it, for good and in every backup
          provision   Set up RabbitMQ for a hub and its members: queues, users, permissions
          member      Invite, join, admit members; list them; replace and revoke their keys
          config      Check a configuration and show what is in force; print the defaults
          doctor      Check before starting what would fail, and say what to do about it
          bench       Measure how fast an exchange is
          keys        Make a key, or show what to publish of one
          agreement   Write, check, sign, explain, end and list agreements
          connector   Work on connectors: folders of data that link a software to the exchange
          help        Print this message or the help of the given subcommand(s)

        Options:
          -v, --verbose...  Log more: -v is debug, -vv is trace
          -h, --help        Print help (see more with '--help')
          -V, --version     Print version

        Example, with nothing installed and nothing configured:
          pirogue demo --once
        "#);
}

#[test]
fn without_a_command_the_help_is_shown_and_it_fails() {
    let output = pirogue(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Usage: pirogue"));
}

#[test]
fn a_misspelt_command_is_corrected() {
    let output = pirogue(&["quarantin"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("'quarantine'"), "{}", text(&output.stderr));
}

#[test]
fn an_unknown_key_in_a_configuration_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let hub = file(folder.path(), "hub.toml", "name = 'nc'\n[limits]\nbody_byte = 1\n");
    for command in [&["hub"][..], &["config", "show", "hub"], &["status"], &["trace", "/a-b/c", "1"]] {
        assert_eq!(
            sentence(&pirogue(&[command, &["--config", &hub]].concat()), 2),
            format!("{hub} sets limits.body_byte, which isn't a key: did you mean limits.body_bytes?")
        );
    }
    let member = file(folder.path(), "member.toml", "member = 'sud'\nhub = 'nc'\n[inbox]\nenable = true\n");
    assert_eq!(
        sentence(&pirogue(&["connect", "--config", &member]), 2),
        format!("{member} sets inbox.enable, which isn't a key: did you mean inbox.enabled?")
    );
}

#[test]
fn a_configuration_that_is_not_there_is_one_sentence() {
    let output = pirogue(&["hub", "--config", "/nonexistent/hub.toml"]);
    assert_eq!(
        sentence(&output, 2),
        "the configuration file /nonexistent/hub.toml can't be read: No such file or directory (os error 2)"
    );
}

#[test]
fn a_password_in_the_url_of_rabbitmq_is_refused_and_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let hub = file(folder.path(), "hub.toml", "name = 'nc'\nbus = 'amqp://hub:p4ss@localhost'\n");
    let sentence = sentence(&pirogue(&["hub", "--config", &hub]), 2);
    assert!(sentence.contains("a password isn't written in a configuration"), "{sentence}");
    assert!(!sentence.contains("p4ss"), "{sentence}");
}

#[test]
fn where_no_hub_runs_every_question_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    for command in [
        &["status"][..],
        &["reload"],
        &["trace", "/province-sud/boost", "1"],
        &["quarantine", "list"],
        &["quarantine", "show", "1"],
    ] {
        assert_eq!(
            sentence(&pirogue(&[command, &["--data", data]].concat()), 4),
            format!("no hub runs on the data folder {data}: start it with pirogue hub --config FILE")
        );
    }
}

#[test]
fn a_data_folder_goes_before_a_configuration_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pirogue"))
        .args(["status", "--data", folder.path().to_str().unwrap()])
        .env("PIROGUE_CONFIG", "/nonexistent/hub.toml")
        .output()
        .unwrap();
    assert!(sentence(&output, 4).starts_with("no hub runs on the data folder"));
}

#[test]
fn a_question_that_does_not_say_which_hub_is_refused() {
    let output = pirogue(&["status"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--config"), "{}", text(&output.stderr));
}

#[test]
fn a_reason_that_does_not_exist_is_answered_with_those_that_do() {
    let output = pirogue(&["quarantine", "list", "--data", "d", "--reason", "bad-signatur"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("bad-signature"), "{}", text(&output.stderr));
}

#[test]
fn the_settings_in_force_are_shown_and_can_be_used_as_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let hub = file(folder.path(), "hub.toml", "name = 'nc'\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pirogue"));
    let output = command
        .args(["config", "show", "hub", "--config", &hub])
        .env("PIROGUE__QUARANTINE__DAYS", "7")
        .output()
        .unwrap();
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for line in [
        "# How long a refused message is kept, in days.\ndays = 7  # PIROGUE__QUARANTINE__DAYS\n",
        "[store]\n# The free disk space, in MiB, below which the hub takes nothing in.\nlow_water_mib = 256  # default\n",
        "name = \"nc\"  # file\n",
        "#ca = \"tls/ca.pem\"  # not set\n",
    ] {
        assert!(shown.contains(line), "{line} isn't in\n{shown}");
    }
    let data = format!("data = {:?}  # default", folder.path().join("data"));
    assert!(shown.contains(&data), "{shown}");
    let again = file(folder.path(), "again.toml", &shown);
    let values = |text: &str| text.parse::<toml::Table>().unwrap();
    assert_eq!(
        values(&text(&pirogue(&["config", "show", "hub", "--config", &again]).stdout)),
        values(&shown)
    );
}

#[test]
fn a_members_settings_in_force_are_shown_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let member = file(
        folder.path(),
        "member.toml",
        "member = 'sud'\nhub = 'nc'\n[broker]\npassword = { env = 'BROKER' }\n[[connector]]\nfolder = 'boost'\n\
         [connector.settings]\nbase_url = 'https://u:s3cret@h'\napi_token = 's3cret'\n[connector.secrets]\n\
         boost-api-key = { file = 'keys/boost' }\n",
    );
    let output = pirogue(&["config", "show", "connect", "--config", &member]);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!shown.contains("s3cret"), "{shown}");
    for line in [
        "member = \"sud\"  # file\n",
        "password = { env = \"BROKER\" }  # file\n",
        "enabled = false  # default\n",
        "api_token = \"(hidden)\"\n",
        "[[connector]]  # file\n",
        "generation = 1\n",
    ] {
        assert!(shown.contains(line), "{line} isn't in\n{shown}");
    }
    let table = shown.parse::<toml::Table>().unwrap();
    let secret = table["connector"][0]["secrets"]["boost-api-key"]["file"].as_str().unwrap();
    assert_eq!(secret, folder.path().join("keys/boost").to_str().unwrap());
}

#[test]
fn the_defaults_can_be_begun_from() {
    let folder = tempfile::tempdir().unwrap();
    for (program, names) in [("hub", "name = 'nc'\n"), ("connect", "member = 'sud'\nhub = 'nc'\n")] {
        let defaults = text(&pirogue(&["config", "defaults", program]).stdout);
        let path = file(folder.path(), program, &format!("{names}{defaults}"));
        let output = pirogue(&["config", "show", program, "--config", &path]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    use std::io::Read;
    let mut child = Command::new(env!("CARGO_BIN_EXE_pirogue"))
        .args(["config", "defaults", "hub"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert!(child.wait().unwrap().success(), "{error}");
    assert_eq!(error, "");
}

/// The folder of a small demo.
fn demo(folder: &Path) -> std::path::PathBuf {
    let data = folder.join("demo");
    let output = pirogue(&["demo", "--once", "--json", "--events", "2", "--data", data.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    data
}

/// Changes a file's text.
fn change(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

fn let_others_read(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn a_port_in_use_gives_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let hub = demo(folder.path()).join("hub/hub.toml");
    change(&hub, "enabled = false", &format!("enabled = true\nlisten = \"{address}\""));
    let output = pirogue(&["hub", "--config", hub.to_str().unwrap()]);
    let said = sentence(&output, 4);
    assert!(said.contains(&format!("already listens on {address}: stop it, or set http.listen")), "{said}");

    let port = address.port().to_string();
    let output = pirogue(&["demo", "--once", "--events", "2", "--boost-port", &port]);
    let said = sentence(&output, 4);
    assert!(said.contains(&format!("the port {port} of 127.0.0.1 is in use")), "{said}");
}

#[test]
fn a_key_file_that_others_can_read_gives_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let data = demo(folder.path());
    let hub = data.join("hub/hub.toml");
    let run = || pirogue(&["hub", "--config", hub.to_str().unwrap()]);
    // A member's and the hub's, each with what makes it private again.
    for key in [
        "province-sud/keys/event.pem",
        "province-sud/keys/boost-api-key",
        "hub/keys/delivery.pem",
        "hub/keys/master.key",
    ] {
        let path = data.join(key);
        let mode = std::fs::metadata(&path).unwrap().permissions();
        let_others_read(&path);
        let output = run();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{key}: {error}");
        let said = error.lines().filter(|line| line.starts_with("pirogue: ")).collect::<Vec<_>>();
        assert_eq!(said.len(), 1, "{key}: {error}");
        assert!(said[0].contains(&format!("chmod 600 {}", path.display())), "{key}: {error}");
        std::fs::set_permissions(&path, mode).unwrap();
    }

    let key = data.join("gouvernement/keys/event.pem");
    let_others_read(&key);
    let key = key.to_str().unwrap();
    let said = sentence(&pirogue(&["keys", "show", key]), 2);
    assert!(said.contains(&format!("chmod 600 {key}")), "{said}");
}

#[test]
fn a_story_is_told_by_the_store_where_no_hub_runs() {
    let folder = tempfile::tempdir().unwrap();
    let data = demo(folder.path());
    let raw = data.join("gouvernement/received/nc.employment.offer.published.raw.jsonl");
    let line: serde_json::Value =
        serde_json::from_str(std::fs::read_to_string(raw).unwrap().lines().next().unwrap()).unwrap();
    let id = line["headers"]["cloudEvents_id"].as_str().unwrap();
    let hub = data.join("hub");
    let hub = hub.to_str().unwrap();
    let output = pirogue(&["trace", "/province-sud/boost", id, "--data", hub]);
    let story = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(story.contains("Taken in on") && story.contains("Delivered on"), "{story}");
    assert!(story.contains("under the agreement emploi-gouvernement:1"), "{story}");
    let listed = text(&pirogue(&["quarantine", "list", "--data", hub]).stdout);
    assert!(listed.contains("bad-signature") && listed.contains("12 messages"), "{listed}");
    // How a hub is, is only said of one that runs.
    assert!(sentence(&pirogue(&["status", "--data", hub]), 4).starts_with("no hub runs"));
}
