//! What an operator does for a person, by commands alone: tell who got its data
//! with proofs of it, erase it, send again what was sent.

use super::process::{Process, hub_status, shut_down, wait_until};
use super::{pirogue, sentence, text};
use pirogue::demo::boost::{BoostConfig, BoostServer};
use serde_json::{Value, json};
use std::path::PathBuf;
use tempfile::TempDir;

const SEED: u64 = 7;

/// A small demo that ran, and what its publisher calls the one jobseeker.
struct Demo {
    folder: TempDir,
    hub: PathBuf,
    local_id: String,
}

impl Demo {
    fn new() -> Demo {
        let folder = tempfile::tempdir().unwrap();
        let (data, seed) = (folder.path().join("demo"), SEED.to_string());
        let arguments = ["demo", "--once", "--json", "--events", "2", "--seed", &seed, "--data"];
        let output = pirogue(&[&arguments[..], &[data.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let config =
            BoostConfig { seed: SEED, jobseekers: 1, api_key: "key".into(), ..BoostConfig::default() };
        let server = runtime.block_on(BoostServer::start(([127, 0, 0, 1], 0).into(), config)).unwrap();
        let local_id = server.jobseeker(0)["id"].as_str().unwrap().to_owned();
        Demo { hub: data.join("hub"), folder, local_id }
    }

    fn run(&self, command: &[&str]) -> std::process::Output {
        let config = self.hub.join("hub.toml");
        pirogue(&[command, &["--config", config.to_str().unwrap()]].concat())
    }

    /// What a command says that has to succeed.
    fn said(&self, command: &[&str]) -> String {
        let output = self.run(command);
        assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn json(&self, command: &[&str]) -> Value {
        serde_json::from_str(&self.said(command)).unwrap()
    }

    fn refused(&self, command: &[&str], status: i32) -> String {
        sentence(&self.run(command), status)
    }

    fn access<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["journal", "access", "--person", "province-sud", &self.local_id], more].concat()
    }

    fn erase<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["erase", "--person", "province-sud", &self.local_id], more].concat()
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes the proofs of who got the person's data. Returns the files, and
    /// what was said.
    fn proofs(&self, name: &str) -> (Vec<PathBuf>, String) {
        let folder = self.file(name);
        let output = self.run(&self.access(&["--format", "json", "--proofs", &folder]));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        (files, text(&output.stderr))
    }

    /// Checks a proof with nothing but the hub's key.
    fn verify(&self, proof: &std::path::Path, key: &str, more: &[&str]) -> std::process::Output {
        let proof = proof.to_str().unwrap();
        pirogue(&[&["journal", "verify-proof", proof, "--hub-key", key], more].concat())
    }

    fn hub(&self) -> Process {
        let mut hub = Process::hub(self.hub.parent().unwrap());
        hub.answers(self.hub.parent().unwrap());
        hub
    }
}

#[test]
fn a_person_is_told_in_both_languages_and_each_proof_verifies_offline() {
    let demo = Demo::new();
    let subject = format!("person/{}", demo.local_id);
    let fr = demo.said(&demo.access(&[]));
    let en = demo.said(&demo.access(&["--lang", "en"]));
    assert!(
        fr.starts_with(&format!(
            "Qui a reçu les données de {subject} (identifiant du membre province-sud)\n"
        )),
        "{fr}"
    );
    assert!(en.starts_with(&format!("Who got the data of {subject} (identifier of province-sud)\n")), "{en}");
    for (said, words) in [
        (
            &fr,
            ["1. gouvernement", "Finalité : ", "Base légale : ", "Conservation : ", "Ce qui a été donné :"],
        ),
        (&en, ["1. gouvernement", "Purpose: ", "Legal basis: ", "Retention: ", "What was given:"]),
    ] {
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(said.contains("emploi-gouvernement:1") && said.contains("(person.family_name)"), "{said}");
    }
    let report = demo.json(&demo.access(&["--format", "json"]));
    assert_eq!((&report["member"], &report["events"]), (&json!("province-sud"), &json!(1)));
    let [delivery] = report["deliveries"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!((&delivery["recipient"], &delivery["provable"]), (&json!("gouvernement"), &json!(true)));
    assert!(delivery["delivered_at"].is_i64() && delivery["journal_entry"].is_u64(), "{delivery}");

    // With its kind, as a page, into a file.
    for (lang, title) in [("fr", "Qui a reçu mes données ?"), ("en", "Who got my data?")] {
        let page = demo.file("page.html");
        let command =
            ["journal", "access", "--person", "province-sud", &subject, "--lang", lang, "--format", "html"];
        assert_eq!(demo.said(&[&command[..], &["--out", &page]].concat()), "");
        let page = std::fs::read_to_string(&page).unwrap();
        assert!(page.contains(&format!("<html lang=\"{lang}\">")) && page.contains(title), "{page}");
        assert!(page.contains(&subject) && page.matches("<section").count() == 1, "{page}");
    }

    let key = demo.said(&["journal", "key"]);
    let (proofs, said) = demo.proofs("proofs");
    assert!(said.starts_with("1 proof is in "), "{said}");
    let [proof] = proofs.as_slice() else { panic!("{proofs:?}") };
    let number = &delivery["sequence"];
    assert!(proof.ends_with(format!("gouvernement-1-{number}.tlog-proof")), "{proof:?}");
    let raw = "gouvernement/received/nc.employment.jobseeker.registered.raw.jsonl";
    let raw = std::fs::read_to_string(demo.hub.parent().unwrap().join(raw)).unwrap();
    let message = demo.file("message");
    std::fs::write(&message, raw.lines().next().unwrap()).unwrap();
    // Where the hub is gone, too.
    std::fs::rename(&demo.hub, demo.folder.path().join("away")).unwrap();
    let verified = demo.verify(proof, key.trim(), &["--message", &message]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    let said = text(&verified.stdout);
    assert!(said.contains(&format!("to gouvernement, number {number} of epoch 1")), "{said}");
    // One byte of it is changed.
    let mut bytes = std::fs::read(proof).unwrap();
    let at = bytes.windows(6).position(|window| window == b"extra ").unwrap() + 20;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    std::fs::write(proof, bytes).unwrap();
    assert_eq!(demo.verify(proof, key.trim(), &[]).status.code(), Some(1));
}

#[test]
fn who_is_not_known_or_not_named_as_it_should_be_is_one_sentence() {
    let demo = Demo::new();
    for command in [&["journal", "access"][..], &["erase", "--yes"], &["erase", "--dry-run"]] {
        let person = |member, subject| [command, &["--person", member, subject]].concat();
        let said = demo.refused(&person("province-sud", "nobody-of-that-name"), 1);
        assert!(said.starts_with("This hub has nothing of such a person"), "{command:?}: {said}");
        let said = demo.refused(&person("Province Sud", &demo.local_id), 1);
        assert!(said.contains("that isn't a member's name"), "{command:?}: {said}");
        // Another member's identifier is another person's.
        demo.refused(&person("gouvernement", &demo.local_id), 1);
        let said = demo.refused(&person("province-sud", "Jean Wamytan"), 1);
        assert!(said.contains("KIND/LOCAL-ID") && !said.contains("Wamytan"), "{command:?}: {said}");
    }
    let said = demo.refused(&demo.erase(&[]), 1);
    assert!(said.contains("this can't be undone: say --yes, or --dry-run"), "{said}");
    assert_eq!(demo.run(&demo.erase(&["--dry-run", "--yes"])).status.code(), Some(2));
    for wrong in [["--format", "pdf"], ["--lang", "de"]] {
        assert_eq!(demo.run(&demo.access(&wrong)).status.code(), Some(2), "{wrong:?}");
    }
    let said = demo.refused(&demo.access(&["--out", "/nowhere/acces.txt"]), 1);
    assert!(said.starts_with("/nowhere/acces.txt can't be written"), "{said}");
    let said = demo.refused(&["replay", "--to", "gouvernement", "--from", "1"], 4);
    assert!(said.starts_with("no hub runs on the data folder"), "{said}");
    // Where there is no hub at all, nor its configuration.
    let empty = demo.folder.path().to_str().unwrap();
    let person = ["--person", "province-sud", &demo.local_id, "--data", empty];
    for command in [&["journal", "access"][..], &["erase", "--yes"]] {
        let said = sentence(&pirogue(&[command, &person].concat()), 4);
        assert!(said.starts_with("no hub runs on the data folder"), "{said}");
    }
}

#[test]
fn a_person_is_erased_with_the_hub_at_rest_and_the_recipient_is_told_at_its_start() {
    let demo = Demo::new();
    let key = demo.said(&["journal", "key"]);
    let (before, _) = demo.proofs("before");
    let said = demo.said(&demo.erase(&["--dry-run"]));
    assert!(
        said.starts_with("Nothing was erased. This hub holds of the person:\n  1 event, 1 of them"),
        "{said}"
    );
    assert!(said.contains("would be told to erase it: gouvernement (1 message)."), "{said}");
    let report = demo.json(&demo.erase(&["--dry-run", "--json"]));
    assert_eq!((&report["dry_run"], &report["payloads"]), (&json!(true), &json!(1)));
    assert_eq!(report["told"], json!([{"recipient": "gouvernement", "messages": 1}]));

    let said = demo.said(&demo.erase(&["--yes"]));
    assert!(said.starts_with("Erased on ") && said.contains("are told to erase it: gouvernement"), "{said}");
    assert!(!said.contains("RabbitMQ"), "{said}");
    for more in [["--yes"], ["--dry-run"]] {
        let said = demo.refused(&demo.erase(&more), 1);
        assert_eq!(said, "This person was erased before, and nothing came since.");
    }
    let said = demo.said(&demo.access(&[]));
    assert!(said.contains("Des événements de cette personne ont été effacés le "), "{said}");
    let said = demo.said(&demo.access(&["--lang", "en"]));
    assert!(said.contains("were erased on ") && said.contains("nothing else about this person"), "{said}");
    let (none, said) = demo.proofs("after");
    assert!(none.is_empty() && said.starts_with("0 proofs are in "), "{said}");
    // Who was handed a proof before keeps it.
    assert!(demo.verify(&before[0], key.trim(), &[]).status.success());

    let number = before[0].file_stem().unwrap().to_str().unwrap().rsplit('-').next().unwrap().to_owned();
    let said = demo.refused(&["journal", "prove", "--delivery", "gouvernement", &number], 1);
    assert!(said.contains("the event that this message carried was erased"), "{said}");

    // The hub starts: its recipient is told, and asks for a replay.
    let folder = demo.hub.parent().unwrap();
    let received = |kind: &str| folder.join(format!("gouvernement/received/{kind}.jsonl"));
    let lines = |kind: &str| -> Vec<Value> {
        let lines = std::fs::read_to_string(received(kind)).unwrap_or_default();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let hub = demo.hub();
    wait_until("the recipient is told", || !lines("nc.hub.person.erased").is_empty());
    let told = lines("nc.hub.person.erased");
    let jobseeker = &lines("nc.employment.jobseeker.registered")[0];
    assert_eq!((told.len(), &told[0]["data"]["subject"]), (1, &jobseeker["subject"]));
    let last = told[0]["sequence"].as_u64().unwrap();
    // That it was delivered is written down a little later.
    wait_until("the hub knows that it was delivered", || {
        let status = hub_status(folder).unwrap();
        status.recipients.iter().any(|r| r.recipient == "gouvernement" && r.confirmed == last)
    });

    let replay = |more: &[&'static str]| [&["replay", "--to", "gouvernement"], more].concat();
    let said = demo.said(&replay(&["--from", "1"]));
    assert!(
        said.starts_with(&format!("{last} messages sent again to gouvernement, numbers 1 to {last}.")),
        "{said}"
    );
    assert!(said.contains("In place of 1 of them it gets nc.hub.delivery.withheld"), "{said}");
    let report = demo.json(&replay(&["--from", "1", "--until", "1", "--json"]));
    assert_eq!(
        (&report["messages"], &report["withheld"], &report["last"]),
        (&json!(1), &json!(0), &json!(1))
    );
    let said = demo.refused(&replay(&["--from", "99"]), 1);
    assert!(said.contains(&format!("gouvernement was sent the numbers 1 to {last}")), "{said}");
    let said = demo.refused(&["replay", "--to", "nobody", "--from", "1"], 1);
    assert!(said.contains("no such recipient: see `pirogue status`"), "{said}");
    assert_eq!(demo.run(&replay(&["--from", "one"])).status.code(), Some(2));
    // The answers of a running hub are those of its store.
    assert_eq!(
        demo.refused(&demo.erase(&["--yes"]), 1),
        "This person was erased before, and nothing came since."
    );
    assert!(demo.said(&demo.access(&[])).contains("ont été effacés le "));
    shut_down(hub, folder);
    let data = demo.hub.to_str().unwrap();
    let verified = pirogue(&["journal", "verify", data, "--hub-key", key.trim()]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    // By the rule of the sequence, nothing of the replay was handled twice.
    assert_eq!(lines("nc.hub.person.erased").len(), 1);
    assert_eq!(lines("nc.employment.jobseeker.registered").len(), 1);
}
