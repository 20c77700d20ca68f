//! What an operator gets wrong: each time a sentence that says what to do, and
//! an exit status that says whose turn it is.

use super::process::{Process, command, copy_of_demo, wait_until};
use pirogue::demo::boost::{BoostConfig, BoostServer};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const USAGE: i32 = 2;
const UNREACHABLE: i32 = 4;

fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(path).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed);
    std::fs::write(path, changed).unwrap();
}

#[test]
fn a_port_in_use_is_said_with_its_number() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = Process::start(&["demo", "--once", "--json", "--boost-port", &port]).end();
    let sentence = ended.sentence(UNREACHABLE);
    assert!(sentence.contains(&format!("the port {port} of 127.0.0.1 is in use")), "{sentence}");

    let folder = copy_of_demo();
    let mut hub = command(&["hub", "--config", folder.path().join("hub/hub.toml").to_str().unwrap()]);
    hub.env("PIROGUE__HTTP__ENABLED", "true").env("PIROGUE__HTTP__LISTEN", format!("127.0.0.1:{port}"));
    let ended = Process::spawn(hub).end();
    assert!(ended.sentence(UNREACHABLE).contains(&port), "{}", ended.stderr);
}

#[test]
fn an_unknown_key_is_said_with_the_nearest_one() {
    let folder = copy_of_demo();
    let path = folder.path().join("hub/hub.toml");
    edit(&path, |text| text.replace("low_water_mib", "low_watermark_mib"));
    let ended = Process::hub(folder.path()).end();
    let expected = "sets store.low_watermark_mib, which isn't a key: did you mean store.low_water_mib?";
    assert!(ended.sentence(USAGE).ends_with(expected), "{}", ended.stderr);
}

#[test]
fn a_key_file_that_others_can_read_is_refused_whichever_it_is() {
    for key in [
        "hub/keys/delivery.pem",
        "hub/keys/checkpoint.pem",
        "hub/keys/master.key",
        "province-sud/keys/event.pem",
        "province-sud/keys/id.secret",
        "province-sud/keys/boost-api-key",
    ] {
        let folder = copy_of_demo();
        let path = folder.path().join(key);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let ended = Process::hub(folder.path()).end();
        let sentence = ended.sentence(USAGE);
        println!("{key}: {sentence}");
        assert!(sentence.contains("chmod 600 /") && sentence.contains(key), "{key}: {sentence}");
    }
}

#[test]
fn a_master_key_that_is_another_is_refused() {
    for lost in [true, false] {
        let folder = copy_of_demo();
        let path = folder.path().join("hub/keys/master.key");
        // The publisher's secret has the same form.
        let other = std::fs::read(folder.path().join("province-sud/keys/id.secret")).unwrap();
        if lost {
            std::fs::remove_file(&path).unwrap()
        } else {
            std::fs::write(&path, other).unwrap()
        }
        let ended = Process::hub(folder.path()).end();
        assert!(ended.sentence(USAGE).contains("put the right file back"), "{}", ended.stderr);
        assert!(path.exists() != lost, "a new key is no use, and hides that one is missing");
    }
}

#[test]
fn a_mapping_that_does_not_compile_is_said_with_its_place() {
    let folder = copy_of_demo();
    let map = folder.path().join("province-sud/connectors/boost/jobseekers.jq");
    edit(&map, |text| text.replace("partial_date", "partiel_date"));
    let ended = Process::hub(folder.path()).end();
    let sentence = ended.sentence(USAGE);
    println!("{sentence}");
    assert!(sentence.contains("jobseekers.jq") && sentence.contains("partiel_date"), "{sentence}");
    assert!(sentence.contains("line ") || sentence.contains("jobseekers.jq:"), "{sentence}");
}

/// A value that breaks its rule in every record: each is set aside, with its key
/// and its field, and nothing of the person in the log; the offers go on.
#[test]
fn a_record_that_does_not_map_is_set_aside_without_a_word_of_the_person() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = BoostConfig {
        seed: 7,
        offers: 40,
        jobseekers: 40,
        api_key: "demo-key".to_owned(),
        ..BoostConfig::default()
    };
    let server = runtime.block_on(BoostServer::start(([127, 0, 0, 1], 0).into(), config)).unwrap();
    let folder = copy_of_demo();
    let province = folder.path().join("province-sud");
    for part in ["data", "received"] {
        std::fs::remove_dir_all(province.join(part)).unwrap();
    }
    edit(&province.join("connect.toml"), |text| {
        let line = text.lines().find(|line| line.starts_with("base_url")).unwrap().to_owned();
        text.replace(&line, &format!("base_url = \"{}\"", server.url()))
    });
    let map = province.join("connectors/boost/jobseekers.jq");
    edit(&map, |text| {
        text.replace("birthdate: (.dateNaissance | partial_date)", "birthdate: (.nom | partial_date)")
    });

    let mut process = Process::hub(folder.path());
    process.answers(folder.path());
    wait_until("every jobseeker is set aside", || process.stderr().matches("set aside").count() >= 40);
    let log = process.kill();
    let (mut named, mut words) = (0, 0);
    for row in (0..40).map(|row| server.jobseeker(row)) {
        let id = row["id"].as_str().unwrap();
        named += usize::from(log.lines().any(|line| line.contains(id) && line.contains("jobseekers.jq")));
        for field in ["nom", "prenoms", "courriel", "telephone", "adresse", "dateNaissance", "nomUsage"] {
            let Some(value) = row[field].as_str().filter(|value| value.len() > 4) else { continue };
            words += 1;
            for line in value.lines() {
                assert!(!log.contains(line), "the log has the field {field} of a person");
            }
        }
    }
    println!("{}", log.lines().find(|line| line.contains("set aside")).unwrap());
    assert_eq!(named, 40, "{log}");
    assert!(words > 150);
}

#[test]
fn a_failing_case_of_a_connector_fails_the_command() {
    let folder = copy_of_demo();
    let boost = folder.path().join("province-sud/connectors/boost");
    std::fs::create_dir(boost.join("tests")).unwrap();
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/boost/tests/offer-whole.json");
    std::fs::copy(case, boost.join("tests/offer-whole.json")).unwrap();
    let test = || Process::start(&["connector", "test", boost.to_str().unwrap()]).end();
    assert!(test().status.success());
    edit(&boost.join("offers.jq"), |text| text.replace("title: (", "titel: ("));
    let ended = test();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stdout.contains("FAILS offer-whole") && ended.stdout.contains("titel"), "{}", ended.stdout);
    edit(&boost.join("offers.jq"), |text| text + "|");
    assert!(test().sentence(1).contains("offers.jq"));
}
