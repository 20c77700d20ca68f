//! `pirogue journal`, on the journal of a small demo.

use super::{demo, pirogue, sentence, text};
use pirogue::hub::operator::{Answer, Handler, Request};
use pirogue::journal::tile::{CHECKPOINT, Folder, Tile, TileBuilder, TileKind, TileSource};
use pirogue::journal::{self, Checkpoint};
use pirogue::keys::{PrivateKey, note};
use pirogue::ops::http::serve;
use pirogue::ops::journal::Published;
use pirogue::store::{Store, StoreOptions};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use tempfile::TempDir;

const HUB: &str = "nouvelle-caledonie";

/// The folder of a demo that ran, whose journal stands in tiles under two
/// checkpoints, and what checks it.
struct Journal {
    folder: TempDir,
    data: PathBuf,
    size: u64,
    vkey: String,
}

impl Journal {
    fn of_a_demo() -> Journal {
        let folder = tempfile::tempdir().unwrap();
        let demo = demo(folder.path());
        let data = demo.join("hub");
        let key = PrivateKey::read(&data.join("keys/checkpoint.pem"), None).unwrap();
        let store = Store::open(&data, StoreOptions::default()).unwrap();
        let entries = journal::read_all(&store).unwrap();
        let head = journal::head(&store).unwrap();
        drop(store);
        assert!(entries.len() > 10);
        let mut builder = TileBuilder::new();
        for (n, entry) in entries.iter().enumerate() {
            if n == 9 {
                let early = Checkpoint::new(HUB, builder.head()).sign(&key).unwrap();
                std::fs::write(folder.path().join("early"), early.render()).unwrap();
            }
            builder.push(&entry.encode()).unwrap();
        }
        assert_eq!(builder.head(), head, "the tiles have the root that the store committed");
        // What the hub wrote is what is to be written.
        let log = Folder(data.join("journal"));
        for file in [builder.full(), builder.partial()].concat() {
            assert_eq!(log.get(&file.tile.to_string()).unwrap(), Some(file.bytes), "{}", file.tile);
        }
        let checkpoint = Checkpoint::new(HUB, head).sign(&key).unwrap();
        assert_eq!(log.get(CHECKPOINT).unwrap().unwrap(), checkpoint.render().as_bytes());
        Journal { folder, data, size: head.size, vkey: note::verifier_key(HUB, key.public()) }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs `pirogue journal` with the hub's key.
    fn run(&self, arguments: &[&str]) -> std::process::Output {
        pirogue(&[&["journal"], arguments, &["--hub-key", &self.vkey]].concat())
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    fn data(&self) -> &str {
        self.data.to_str().unwrap()
    }

    /// The raw messages that a member received of a type.
    fn raw(&self, event_type: &str) -> Vec<Value> {
        let file = self.folder.path().join(format!("demo/gouvernement/received/{event_type}.raw.jsonl"));
        let lines = std::fs::read_to_string(file).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn with_message(&self, name: &str, message: &Value) -> String {
        std::fs::write(self.file(name), message.to_string()).unwrap();
        self.file(name)
    }

    /// Changes a byte of a file of the log.
    fn flip(&self, path: &str, at: usize) {
        let path = self.data.join("journal").join(path);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }

    /// The first of its tiles, under its last checkpoint.
    fn first(&self, kind: TileKind) -> String {
        Tile::at(kind, 0, self.size).unwrap().to_string()
    }
}

#[test]
fn a_journal_is_verified_and_the_next_time_from_where_it_was() {
    let journal = Journal::of_a_demo();
    let state = journal.file("state");
    let said = journal.said(&["verify", journal.data(), "--since", &state]);
    assert!(
        said.contains("The journal of nouvelle-caledonie is whole") && said.contains("Checked"),
        "{said}"
    );
    let said = journal.said(&["verify", journal.data(), "--since", &state]);
    assert!(said.contains("were checked before, unchanged") && said.contains("Checked 0 entries"), "{said}");

    // What was remembered is of another past.
    let remembered = std::fs::read_to_string(&state).unwrap();
    let mut other: Value = serde_json::from_str(&remembered).unwrap();
    other["root"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into();
    std::fs::write(&state, other.to_string()).unwrap();
    let said = sentence(&journal.run(&["verify", journal.data(), "--since", &state]), 1);
    assert!(said.contains("this isn't the log that was checked before"), "{said}");
    std::fs::write(&state, "{}").unwrap();
    assert!(
        sentence(&journal.run(&["verify", journal.data(), "--since", &state]), 1)
            .contains("state isn't what")
    );

    let bundle = journal.first(TileKind::Entries);
    journal.flip(&bundle, 20);
    let said = sentence(&journal.run(&["verify", journal.data()]), 1);
    assert_eq!(said, format!("{bundle} is wrong: entry 0 in it doesn't hash to its leaf"));
    journal.flip(&bundle, 20);
    journal.flip(&journal.first(TileKind::Hashes(0)), 3);
    let said = sentence(&journal.run(&["verify", journal.data()]), 1);
    assert!(said.contains(&journal.first(TileKind::Hashes(0))), "{said}");
}

#[test]
fn what_is_no_journal_or_has_another_key_is_one_sentence() {
    let journal = Journal::of_a_demo();
    let said = sentence(&journal.run(&["verify", &journal.file("nowhere")]), 1);
    assert!(said.contains("has no file `checkpoint`"), "{said}");
    assert!(sentence(&journal.run(&["verify", "http://127.0.0.1:1/log"]), 4).contains("can't be fetched"));
    let other = note::verifier_key(HUB, PrivateKey::from_seed(&[1; 32]).public());
    let said = sentence(&pirogue(&["journal", "verify", journal.data(), "--hub-key", &other]), 1);
    assert!(said.contains("isn't signed by the key that was given"), "{said}");
    let output = pirogue(&["journal", "verify", journal.data(), "--hub-key", "nc"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("NAME+ID+BASE64"), "{}", text(&output.stderr));
}

#[test]
fn the_key_is_printed_from_the_configuration_or_from_the_hub_s_public_keys() {
    let journal = Journal::of_a_demo();
    let config = journal.file("demo/hub/hub.toml");
    assert_eq!(text(&pirogue(&["journal", "key", "--config", &config]).stdout).trim_end(), journal.vkey);
    let key = PrivateKey::read(&journal.data.join("keys/checkpoint.pem"), None).unwrap();
    let other = PrivateKey::from_seed(&[1; 32]);
    let jwks = journal.file("jwks");
    let mut keys = pirogue::hub::own_keys(&other, &key);
    std::fs::write(&jwks, keys.to_json()).unwrap();
    let arguments = ["journal", "key", "--jwks", &jwks, "--name", HUB];
    assert_eq!(text(&pirogue(&arguments).stdout).trim_end(), journal.vkey);
    keys.keys.pop();
    std::fs::write(&jwks, keys.to_json()).unwrap();
    assert!(sentence(&pirogue(&arguments), 1).contains("no key for checkpoints"));
}

#[test]
fn a_delivery_is_proven_to_who_has_the_message_and_the_hub_s_key() {
    let journal = Journal::of_a_demo();
    let types = ["nc.employment.jobseeker.registered", "nc.employment.offer.published"];
    for (event_type, another) in [(types[0], types[1]), (types[1], types[0])] {
        let raw = journal.raw(event_type);
        let number =
            raw[0]["headers"]["cloudEvents_sequence"].as_str().unwrap().parse::<u64>().unwrap().to_string();
        let proof = journal.file("proof");
        journal.said(&[
            "prove",
            "--delivery",
            "gouvernement",
            &number,
            "--data",
            journal.data(),
            "--out",
            &proof,
        ]);
        let message = journal.with_message("message", &raw[0]);
        let said = journal.said(&["verify-proof", &proof, "--message", &message]);
        assert!(said.contains(&format!("to gouvernement, number {number} of epoch 1")), "{said}");
        assert!(said.contains("under the agreement emploi-gouvernement:1"), "{said}");
        assert!(said.contains("is the one that this entry names"), "{said}");
        // Its body alone is enough: the proof has the signature.
        let body = journal.with_message("body", &serde_json::json!({"body": raw[0]["body"]}));
        journal.said(&["verify-proof", &proof, "--message", &body]);
        let other = journal.with_message("other", &journal.raw(another)[0]);
        let said = sentence(&journal.run(&["verify-proof", &proof, "--message", &other]), 1);
        assert!(said.contains("doesn't name this message"), "{said}");
    }
    // A schema that the hub published is a message too.
    let printed = journal.said(&["prove", "--delivery", "gouvernement", "1", "--data", journal.data()]);
    assert!(printed.starts_with("c2sp.org/tlog-proof@v1\nextra "), "{printed}");
    let said =
        sentence(&journal.run(&["prove", "--delivery", "gouvernement", "999", "--data", journal.data()]), 1);
    assert!(said.contains("was sent no message with the number 999"), "{said}");
}

#[test]
fn an_event_is_proven_until_its_days_are_over_or_it_is_erased() {
    let journal = Journal::of_a_demo();
    // An offer keeps its publisher's id, signature and body.
    let offer = &journal.raw("nc.employment.offer.published")[0];
    let id = offer["headers"]["cloudEvents_id"].as_str().unwrap();
    let proof = journal.file("proof");
    let prove = ["prove", "--event", "/province-sud/boost", id, "--data", journal.data(), "--out", &proof];
    journal.said(&prove);
    let message = journal.with_message(
        "message",
        &serde_json::json!({"signature": offer["headers"]["cloudEvents_originsignature"], "body": offer["body"]}),
    );
    let said = journal.said(&["verify-proof", &proof, "--message", &message]);
    assert!(said.contains("took in an event of province-sud: a nc.employment.offer.published"), "{said}");

    let unknown = ["prove", "--event", "/province-sud/boost", "no-such-id", "--data", journal.data()];
    assert!(sentence(&journal.run(&unknown), 1).contains("never took in such an event"));

    let traced = pirogue(&["trace", "/province-sud/boost", id, "--data", journal.data(), "--json"]);
    let traced: Value = serde_json::from_slice(&traced.stdout).unwrap();
    let index = traced["taken_in"]["index"].as_u64().unwrap();
    assert!(traced["taken_in"]["gone"].is_null());
    let number = traced["decisions"][0]["sequence"].as_u64().unwrap().to_string();
    let delivery = ["prove", "--delivery", "gouvernement", &number, "--data", journal.data()];
    let trace = || text(&pirogue(&["trace", "/province-sud/boost", id, "--data", journal.data()]).stdout);
    assert!(!trace().contains("Its content"));
    // As when its days are over.
    let store = Store::open(&journal.data, StoreOptions::default()).unwrap();
    store
        .commit_blocking(move |tx| {
            tx.overwrite("slots/slots", index * 32, &[0; 32]);
            Ok(())
        })
        .unwrap();
    drop(store);
    let said = sentence(&journal.run(&prove), 1);
    assert!(said.contains("the event is over its days") && !said.contains("erased"), "{said}");
    let said = sentence(&journal.run(&delivery), 1);
    assert!(said.contains("the event that this message carried is over its days"), "{said}");
    assert!(trace().contains("its days are over"), "{}", trace());

    let subject = offer["headers"]["cloudEvents_subject"].as_str().unwrap();
    let erased = pirogue(&["erase", "--person", "province-sud", subject, "--yes", "--data", journal.data()]);
    assert!(erased.status.success(), "{}", text(&erased.stderr));
    assert!(
        sentence(&journal.run(&prove), 1)
            .contains("the event was erased, and with its payload went the salt")
    );
    assert!(sentence(&journal.run(&delivery), 1).contains("the event that this message carried was erased"));
    assert!(trace().contains("Its content was erased."), "{}", trace());
    // What was proven before stays proven.
    journal.said(&["verify-proof", &proof, "--message", &message]);
}

#[test]
fn two_checkpoints_are_consistent_by_tiles_or_by_a_proof() {
    let journal = Journal::of_a_demo();
    let (early, late) = (journal.file("early"), journal.file("demo/hub/journal/checkpoint"));
    let proof = journal.file("consistency");
    let said = journal.said(&["consistency", &early, &late, "--log", journal.data(), "--out", &proof]);
    assert!(said.contains("had 9 entries and has") && said.contains("unchanged"), "{said}");
    journal.said(&["consistency", &early, &late, "--proof", &proof]);
    let said = sentence(&journal.run(&["consistency", &late, &early, "--proof", &proof]), 1);
    assert!(said.contains("a log never shrinks"), "{said}");
    let lines = std::fs::read_to_string(&proof).unwrap();
    let shorter: String = lines.lines().skip(1).map(|line| format!("{line}\n")).collect();
    std::fs::write(&proof, shorter).unwrap();
    sentence(&journal.run(&["consistency", &early, &late, "--proof", &proof]), 1);
}

#[test]
fn a_member_sees_what_the_hub_said_of_its_keys_and_agreements() {
    let journal = Journal::of_a_demo();
    let copies = journal.file("demo/hub/agreements");
    let audit = ["audit", journal.data(), "--member", "province-sud", "--agreements", &copies];
    let said = journal.said(&audit);
    assert!(said.contains("province-sud") && said.contains("revoked since"), "{said}");
    assert!(said.contains("emploi-gouvernement:1") && said.contains("as your copy"), "{said}");
    assert!(!said.contains("gouvernement │ event"), "another member's key: {said}");
    let note = format!("{copies}/emploi-gouvernement.note");
    super::change(Path::new(&note), "title = \"", "title = \"Autre : ");
    let output = journal.run(&audit);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("NOT as your copy"), "{}", text(&output.stdout));

    // Signatures in another order are the same agreement, and a text alone is it too.
    super::change(Path::new(&note), "title = \"Autre : ", "title = \"");
    let whole = std::fs::read_to_string(&note).unwrap();
    let (signed, lines) = whole.split_once("\n\n— ").unwrap();
    let (first, second) = lines.trim_end().split_once('\n').unwrap();
    for copy in [format!("{signed}\n\n{second}\n— {first}\n"), format!("{signed}\n")] {
        std::fs::write(&note, copy).unwrap();
        let said = journal.said(&audit);
        // Not "NO" alone: a key's name may hold any two letters.
        assert!(!said.contains("NOT as your copy") && !said.contains("you have NO copy"), "{said}");
    }
    // What the member has no copy of, and what never came into force.
    let kept = std::fs::read_to_string(&note).unwrap();
    std::fs::write(&note, kept.replace("version = 1", "version = 9")).unwrap();
    let output = journal.run(&audit);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert!(said.contains("you have NO copy") && said.contains("emploi-gouvernement:9"), "{said}");
    // It is the recipient's too, and nobody else's.
    let said = journal.said(&["audit", journal.data(), "--member", "gouvernement"]);
    assert!(said.contains("emploi-gouvernement:1") && said.contains("SHA-256"), "{said}");
    let said = journal.said(&["audit", "--data", journal.data(), "--member", "cafat"]);
    assert!(said.contains("Agreements of cafat: none came into force."), "{said}");
    let said = journal.said(&["audit", "--data", journal.data(), "--member", "cafat"]);
    assert!(said.contains("nothing of keys of cafat"), "{said}");
}

/// A hub that answers nothing: its journal alone is asked for.
struct Nothing;

impl Handler for Nothing {
    fn handle(&self, _: Request) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn a_journal_is_verified_over_http() {
    let journal = Journal::of_a_demo();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}/journal", listener.local_addr().unwrap());
    let (readers, token) = (journal.file("readers"), journal.file("token"));
    let digest: String = Sha256::digest("letmein").iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(&readers, format!("gouvernement {digest}\n")).unwrap();
    std::fs::write(&token, "letmein\n").unwrap();
    let published = Published::new(journal.data.join("journal"), Some(readers.into())).unwrap();
    let until = std::future::pending();
    runtime.spawn(async move { serve(listener, Arc::new(Nothing), published, until).await });
    let said = journal.said(&["verify", &url, "--token-file", &token]);
    assert!(said.contains("The journal of nouvelle-caledonie is whole"), "{said}");
    let said = journal.said(&["audit", &url, "--member", "gouvernement", "--token-file", &token]);
    assert!(said.contains("emploi-gouvernement:1"), "{said}");
    let said = sentence(&journal.run(&["verify", &format!("{url}/elsewhere")]), 1);
    assert!(said.contains("has no file `checkpoint`"), "{said}");
    let said = sentence(&journal.run(&["verify", &url]), 4);
    assert!(said.contains("members and auditors, who have a token (--token-file)"), "{said}");
    // Hashes are for everyone.
    let checkpoint = journal.data.join("journal/checkpoint");
    let (early, late) = (journal.file("early"), checkpoint.to_str().unwrap());
    assert!(journal.said(&["consistency", &early, late, "--log", &url]).contains("unchanged"));
    let bundle = journal.first(TileKind::Entries);
    journal.flip(&bundle, 20);
    assert!(sentence(&journal.run(&["verify", &url, "--token-file", &token]), 1).contains(&bundle));
}
