//! Agreements from the first text to the register, as their parties and an
//! operator meet them.

use super::{change, file, pirogue, sentence, text};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A folder with two members' keys and a hub's configuration.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk { folder: tempfile::tempdir().unwrap() };
        for name in ["members", "agreements"] {
            std::fs::create_dir(desk.path(name)).unwrap();
        }
        for member in ["province-sud", "gouvernement"] {
            let key = desk.at(&format!("{member}.pem"));
            let line = ["keys", "generate", "--use", "agreement", "--member", member, "--out", &key];
            let jwk = text(&pirogue(&line).stdout);
            file(&desk.path("members"), &format!("{member}.jwks.json"), &format!("{{\"keys\":[{jwk}]}}"));
        }
        file(desk.folder.path(), "hub.toml", "name = 'nc'\nmembers = 'members'\nagreements = 'agreements'\n");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `pirogue agreement` with `line`, in which `@` stands for the folder.
    fn run(&self, line: &str) -> Output {
        let folder = format!("{}/", self.folder.path().display());
        let arguments: Vec<String> = line.split(' ').map(|word| word.replace('@', &folder)).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        pirogue(&[&["agreement"], &arguments[..]].concat())
    }

    /// As [`Desk::run`], of a command that succeeds: what it printed.
    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Writes the text of an agreement that grants `fields`.
    fn write(&self, name: &str, fields: &str) {
        self.ok(&format!(
            "new --id emploi --provider province-sud --recipient gouvernement --type \
             nc.employment.jobseeker.registered --fields {fields} --title Suivi --purpose Aides --legal-basis \
             public-interest --valid-from 2026-01-01 --valid-until 2090-12-31 --out @{name}"
        ));
    }

    /// Both parties sign the text `name.toml`, which makes `name.note`.
    fn both_sign(&self, name: &str) {
        self.ok(&format!("sign @{name}.toml --as province-sud --key @province-sud.pem --yes"));
        self.ok(&format!(
            "sign @{name}.note --as gouvernement --key @gouvernement.pem --members @members --yes"
        ));
    }

    fn publish(&self, name: &str) {
        std::fs::copy(self.path(name), self.path("agreements").join(name)).unwrap();
    }
}

#[test]
fn an_agreement_is_written_checked_signed_listed_and_ended() {
    let desk = Desk::new();
    desk.write("emploi.toml", "person.family_name,status");
    let checked = desk.ok("check @emploi.toml --members @members --against @agreements");
    assert_eq!(checked, format!("{}: ok\n", desk.at("emploi.toml")));
    let shown = desk.ok("sign @emploi.toml --as province-sud --key @province-sud.pem --yes");
    assert!(
        shown.starts_with("Convention emploi, version 1\n") && shown.contains("Nom de naissance"),
        "{shown}"
    );
    desk.publish("emploi.note");
    let listed = desk.ok("list --config @hub.toml --json");
    let lines: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(lines[0]["state"], "unsigned");
    assert_eq!(lines[0]["detail"], "waiting for a signature of gouvernement");
    let output = desk.run("check @emploi.note --members @members");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        format!("{}: it isn't signed by gouvernement\n", desk.at("emploi.note"))
    );
    assert_eq!(text(&output.stderr), "");

    desk.ok("sign @emploi.note --as gouvernement --key @gouvernement.pem --members @members --lang en --yes");
    desk.publish("emploi.note");
    desk.ok("check @emploi.note --config @hub.toml");
    let listed = desk.ok("list --config @hub.toml");
    assert!(listed.contains("emploi:1") && listed.contains("in force"), "{listed}");
    let ahead = desk.ok("list --config @hub.toml --on 2025-01-01");
    assert!(ahead.contains("it begins on 2026-01-01"), "{ahead}");

    // The next version replaces the first once both have signed it.
    desk.ok("new --from @emploi.note --out @emploi-2.toml");
    change(&desk.path("emploi-2.toml"), "    # \"registered_on\",", "    \"registered_on\",");
    let diff = desk.ok("explain @emploi-2.toml --diff @emploi.note");
    assert!(
        diff.contains("1 champ de plus, 0 champ de moins.") && diff.contains("Date d'inscription"),
        "{diff}"
    );
    desk.both_sign("emploi-2");
    desk.publish("emploi-2.note");
    let listed = desk.ok("list --config @hub.toml --json");
    let lines: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&lines[0]["agreement"], &lines[0]["state"]), (&"emploi:2".into(), &"in-force".into()));
    assert_eq!((&lines[1]["agreement"], &lines[1]["state"]), (&"emploi:1".into(), &"superseded".into()));

    let said =
        desk.ok("revoke emploi --as gouvernement --key @gouvernement.pem --out @emploi.revoked.note --yes");
    assert!(said.contains("toutes ses versions"), "{said}");
    assert!(desk.ok("explain @emploi.revoked.note").contains("Signatures"));
    desk.publish("emploi.revoked.note");
    let listed = desk.ok("list --config @hub.toml --json");
    let lines: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(lines[0]["detail"], "not in force: gouvernement ended it (emploi.revoked.note)");
    let output = desk.run("check @emploi-2.note --config @hub.toml");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("take another id"), "{}", text(&output.stdout));
}

#[test]
fn every_fault_of_every_file_is_printed_with_its_line_and_the_status_is_1() {
    let desk = Desk::new();
    desk.write("a.toml", "status");
    desk.write("b.toml", "*");
    change(&desk.path("a.toml"), "    \"status\",", "    \"statuss\",");
    change(&desk.path("a.toml"), "title = ", "titel = ");
    change(&desk.path("b.toml"), "id = \"emploi\"", "id = \"autre\"");
    let output = desk.run("check @a.toml @b.toml --members @members");
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout);
    assert!(shown.contains("`titel` isn't a key of an agreement: did you mean `title`?"), "{shown}");
    assert!(shown.contains("the key `title` is missing"), "{shown}");
    assert!(shown.contains("has no field statuss in version 1; near it are status"), "{shown}");
    assert!(shown.contains(&format!("{}: ok", desk.at("b.toml"))), "{shown}");
    let output = desk.run("check @a.toml --json");
    let found: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 3, "{found}");
    assert_eq!(found[1]["gravity"], "fault");
    // A warning is none.
    desk.ok("new --id x-1 --provider province-sud --recipient gouvernement --type nc.employment.jobseeker.registered \
             --fields status --title T --purpose P --legal-basis consent --subject publisher --out @w.toml");
    assert!(desk.ok("check @w.toml").contains("warning: line "));
    let said = sentence(&desk.run("check @none.toml"), 2);
    assert!(said.contains("none.toml can't be read"), "{said}");
}

#[test]
fn nothing_is_signed_that_should_not_be() {
    let desk = Desk::new();
    desk.write("emploi.toml", "status");
    let refused = |line: &str, said: &str| {
        let output = desk.run(line);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line}: {error}");
        assert!(error.contains(said), "{line}: {error}");
    };
    let sud = "--as province-sud --key @province-sud.pem --yes";
    let gouv = "--as gouvernement --key @gouvernement.pem --yes";
    // Nobody answers: there is no terminal.
    refused("sign @emploi.toml --as province-sud --key @province-sud.pem", "give --yes");
    assert!(!desk.path("emploi.note").exists());
    let other_key = "sign @emploi.toml --as province-sud --key @gouvernement.pem --members @members --yes";
    refused(other_key, "isn't among those");
    refused("sign @emploi.toml --as isee --key @gouvernement.pem --yes", "isn't a party");
    desk.ok(&format!("sign @emploi.toml {sud}"));
    let note = desk.read("emploi.note");
    refused(&format!("sign @emploi.note {gouv}"), "give --members");
    change(&desk.path("emploi.note"), "retention_months = 12", "retention_months = 13");
    refused(&format!("sign @emploi.note {gouv} --members @members"), "isn't of this text");
    std::fs::write(desk.path("emploi.note"), &note).unwrap();
    change(&desk.path("emploi.toml"), "title = \"Suivi\"", "title = \"Autre\"");
    refused(&format!("sign @emploi.toml {sud}"), "exists already");
    change(&desk.path("emploi.toml"), "    \"status\",", "    # \"status\",");
    refused(&format!("sign @emploi.toml {sud} --out @other.note"), "`fields`: expected paths");
    assert_eq!(desk.read("emploi.note"), note);
    refused("revoke emploi --as province-sud --key @province-sud.pem --out @r.note", "give --yes");
    assert!(!desk.path("r.note").exists());
}

#[test]
fn an_encrypted_key_signs_with_its_passphrase() {
    let desk = Desk::new();
    desk.write("emploi.toml", "status");
    let key = desk.at("sud-2.pem");
    let with_words = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pirogue"));
        command.args(arguments).env("PIROGUE_PASSPHRASE", "la pirogue à balancier").output().unwrap()
    };
    let made = with_words(&[
        "keys",
        "generate",
        "--use",
        "agreement",
        "--member",
        "province-sud",
        "--encrypt",
        "--out",
        &key,
    ]);
    file(&desk.path("members"), "province-sud.jwks.json", &format!("{{\"keys\":[{}]}}", text(&made.stdout)));
    let (toml, members) = (desk.at("emploi.toml"), desk.at("members"));
    let sign =
        ["agreement", "sign", &toml, "--as", "province-sud", "--key", &key, "--members", &members, "--yes"];
    let output = pirogue(&sign);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("a passphrase is needed"), "{}", text(&output.stderr));
    let output = with_words(&sign);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&desk.run("check @emploi.note --members @members").stdout)
            .contains("it isn't signed by gouvernement")
    );
}

#[test]
fn a_new_text_needs_its_parties_and_never_overwrites() {
    let desk = Desk::new();
    let output = desk.run("new --id emploi");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--provider <MEMBER>"), "{}", text(&output.stderr));
    let line = "new --id emploi --provider province-sud --recipient gouvernement --type nc.employment.offer.published";
    let printed = desk.ok(line);
    assert!(printed.contains("    # \"title\",  # Intitulé du poste\n"), "{printed}");
    let blank = file(desk.folder.path(), "blank.toml", &printed);
    let output = desk.run(&format!("check {blank}"));
    let shown = text(&output.stdout);
    for key in ["`title`", "`purpose`", "`legal_basis`", "`fields`"] {
        assert!(shown.contains(key), "{shown}");
    }
    assert_eq!(shown.lines().count(), 4, "{shown}");
    assert!(sentence(&desk.run(&format!("{line} --out {blank} --title T")), 1).contains("exists already"));
    assert!(sentence(&desk.run(&format!("{line} --fields titel")), 1).contains("near it are title"));
    assert!(sentence(&desk.run(&format!("new --from {blank}")), 1).contains("pirogue agreement check"));
    let output = desk.run(&format!("new --from {blank} --id x"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_register_is_exported_in_three_forms() {
    let desk = Desk::new();
    desk.write("emploi.toml", "person.family_name,status");
    change(&desk.path("emploi.toml"), "purpose = \"Aides\"", "purpose = \"=1+1 <b>\"");
    desk.both_sign("emploi");
    desk.publish("emploi.note");
    let csv = desk.ok("register --config @hub.toml --format csv --on 2026-11-24");
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert!(csv.starts_with("Convention,Version,") && csv.contains(",'=1+1 <b>,"), "{csv}");
    let json = desk.ok("register --config @hub.toml --format json --lang en --on 2026-11-24");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["hub"], "nc");
    assert_eq!(json["treatments"][0]["purpose"], "=1+1 <b>");
    assert_eq!(json["treatments"][0]["state"], "in force");
    let html = desk.ok("register --config @hub.toml --format html --on 2026-11-24");
    assert!(html.starts_with("<!DOCTYPE html>\n<html lang=\"fr\">") && html.trim_end().ends_with("</html>"));
    assert!(html.contains("=1+1 &lt;b&gt;") && !html.contains("<b>"), "{html}");
    let output = desk.run("register --config @hub.toml --format pdf");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn an_agreement_is_explained_in_either_language() {
    let desk = Desk::new();
    desk.write("emploi.toml", "person");
    let french = desk.ok("explain @emploi.toml");
    assert!(
        french.contains("Ce qui n'est pas donné") && french.contains("Signatures      aucune encore"),
        "{french}"
    );
    desk.both_sign("emploi");
    let english = desk.ok("explain @emploi.note --lang en");
    assert!(english.contains("What is withheld"), "{english}");
    assert!(english.contains("province-sud, gouvernement (not verified here"), "{english}");
    assert!(english.lines().all(|line| line.chars().count() <= 80), "{english}");
    let mut broken = std::fs::OpenOptions::new().append(true).open(desk.path("emploi.toml")).unwrap();
    broken.write_all(b"more = 1\n").unwrap();
    let said = sentence(&desk.run("explain @emploi.toml"), 1);
    assert!(
        said.contains("`more` isn't a key of a grant") && said.contains("pirogue agreement check"),
        "{said}"
    );
}

#[test]
fn a_reader_of_the_list_that_goes_away_is_no_fault() {
    let desk = Desk::new();
    let config = desk.at("hub.toml");
    let mut child = Command::new(env!("CARGO_BIN_EXE_pirogue"))
        .args(["agreement", "register", "--format", "html", "--config", &config])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
