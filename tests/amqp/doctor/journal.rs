//! What `pirogue doctor` says of the journal and of its witnesses.

use super::{Case, replaced};
use crate::broker::shared;
use crate::process::{Process, command, wait_until};
use pirogue::admin::doctor::{Finding, Level};
use pirogue::admin::prepare;
use pirogue::journal::{LogKey, WitnessKey};
use pirogue::keys::{PrivateKey, note};
use std::fs;

impl Case {
    fn found(&self, check: &str) -> Finding {
        let findings = self.findings_now("hub");
        findings.iter().find(|f| f.check == check).unwrap_or_else(|| panic!("{findings:#?}")).clone()
    }

    fn is_ok(&self, check: &str, found: &str) {
        let finding = self.found(check);
        assert!(finding.level == Level::Ok && finding.found.contains(found), "{finding:?}");
    }

    /// Has one witness more in the hub's configuration.
    fn witness(&self, url: &str, vkey: &str) {
        let more = format!("[[journal.witness]]\nurl = \"{url}\"\nvkey = \"{vkey}\"\n");
        self.configure(|hub, member| (hub + &more, member));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_whole_is_told_and_what_is_wrong_with_it_with_what_to_do() {
    let case = Case::new(shared().node(), "doctor-journal").await;
    case.is_ok("journal", "it has no entry yet");
    let hub = Process::spawn(command(&["hub", "--config", case.file("hub").to_str().unwrap()]));
    wait_until("the hub has signed a checkpoint", || case.path("hub/data/journal/checkpoint").exists());
    case.is_ok("journal", "agree on");
    case.is_ok("last checkpoint", "ago");
    let data = case.path("hub/data");
    wait_until("the hub answers", || data.join("hub.sock").exists());
    pirogue::ops::client::call(&data, &pirogue::hub::operator::Request::Shutdown).unwrap();
    assert!(hub.end().status.success());

    // Keys and an agreement are in it.
    case.is_ok("journal", "agree on 7 entries");
    case.is_ok("last checkpoint", "over all entries of the journal");
    case.is_ok("checkpoint signature", "it is of the checkpoint key");

    let key = case.path("hub/keys/checkpoint.pem");
    let aside = case.path("checkpoint.pem");
    fs::rename(&key, &aside).unwrap();
    let other = prepare::key(&key).unwrap();
    let vkey = note::verifier_key("nc", other.public());
    case.fails("hub", "checkpoint signature", "checkpoint.pem didn't sign the last checkpoint", &vkey);
    fs::rename(&aside, &key).unwrap();

    case.configure(|hub, member| (replaced(&hub, "name = \"nc\"", "name = \"cn\""), member));
    case.fails("hub", "journal", "it is of the hub \"nc\"", "set name to \"nc\"");
    case.configure(|hub, member| (hub, member));

    let changed = |file: &str, change: &dyn Fn(&str) -> String, found: &str, remedy: &str| {
        let path = data.join(file);
        let whole = fs::read(&path).unwrap();
        match change(&String::from_utf8_lossy(&whole)).as_str() {
            "" => fs::remove_file(&path).unwrap(),
            text => fs::write(&path, text).unwrap(),
        }
        let finding = case.found("journal");
        assert!(finding.level != Level::Ok && finding.found.contains(found), "{finding:?}");
        assert!(finding.remedy.as_ref().unwrap().contains(remedy), "{finding:?}");
        fs::write(&path, whole).unwrap();
    };
    let gone = |_: &str| String::new();
    changed("journal/checkpoint", &gone, "7 entries are in the store, and there is no checkpoint", "restore");
    changed("journal/checkpoint", &|text| text.replace('\n', " "), "can't be used", "from a backup");
    let backup = "restore the whole data folder";
    changed("HEAD", &|text| replaced(text, "\"journal\": \"7 ", "\"journal\": \"6 "), "is older", backup);
    changed("HEAD", &|text| another_root(text), "aren't of one journal", backup);
    changed("journal/tile/0/000.p/7", &|_| "no hashes".to_owned(), "don't give the root", backup);
    changed("journal/tile/entries/000.p/7", &gone, "don't give the root", backup);
    case.is_ok("journal", "agree on 7 entries");

    // Witnesses: one whose key is none, one that is away, one that answers otherwise.
    case.witness("http://127.0.0.1:9/nc", "witness.example");
    case.fails("hub", "witness http://127.0.0.1:9/nc", "it can't be asked", "correct url and vkey");
    let witness = PrivateKey::from_seed(&[9; 32]);
    let vkey = WitnessKey { name: "temoin.example".into(), key: witness.public().clone() }.verifier_key();
    case.witness("http://127.0.0.1:9/nc", &vkey);
    let log: LogKey = note::verifier_key("nc", prepare::key(&key).unwrap().public()).parse().unwrap();
    let known = note::verifier_key(&log.name, &log.key);
    case.warns("hub", "witness temoin.example", "it can't be reached", &known);
    case.witness(&format!("http://127.0.0.1:{}/nc", case.management), &vkey);
    case.warns("hub", "witness temoin.example", "it answers 4", &known);
}

/// HEAD with another root of the journal.
fn another_root(head: &str) -> String {
    let (before, root) = head.split_once("\"journal\": \"7 ").unwrap();
    let other = if root.starts_with('0') { "1" } else { "0" };
    format!("{before}\"journal\": \"7 {other}{}", &root[1..])
}
