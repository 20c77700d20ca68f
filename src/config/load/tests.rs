use super::super::{BusSetting, ConnectConfig, HubConfig, LogLevel, SecretSource, Settings};
use super::*;
use std::collections::BTreeSet;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(text: &str) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pirogue.toml"), text).unwrap();
        Folder(folder)
    }

    fn load<T: Settings>(&self, variables: &[(&str, &str)]) -> Result<T, ConfigFault> {
        let variables = variables.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        load(&self.0.path().join("pirogue.toml"), Variables::Given(variables))
    }
}

fn hub(text: &str) -> Result<HubConfig, ConfigFault> {
    Folder::new(text).load(&[])
}

fn connect(text: &str) -> Result<ConnectConfig, ConfigFault> {
    Folder::new(text).load(&[])
}

/// The sentence, without the folder of this test.
fn sentence<T: std::fmt::Debug>(result: Result<T, ConfigFault>) -> String {
    let sentence = result.unwrap_err().to_string();
    assert!(!sentence.contains('\n'), "{sentence}");
    let (before, after) = sentence.split_once("pirogue.toml").unwrap_or((&sentence, ""));
    let before = before.rsplit_once('/').map_or(before, |(start, _)| {
        start.rsplit_once(' ').map_or("", |(start, _)| &before[..start.len() + 1])
    });
    if sentence.contains("pirogue.toml") { format!("{before}FILE{after}") } else { sentence.clone() }
}

#[test]
fn a_file_holds_only_what_differs_from_the_defaults() {
    let config = hub("name = 'nc'\n[limits]\nbatch_events = 16\n").unwrap();
    assert_eq!(config.name, "nc");
    assert_eq!(config.bus, BusSetting::Embedded);
    assert_eq!(config.limits.batch_events, 16);
    assert_eq!(config.limits.body_bytes, 262_144);
    assert_eq!(config.limits.headers_bytes, 16_384);
    assert_eq!(config.limits.future().as_secs(), 300);
    assert_eq!(config.limits.batch_bytes, 4 << 20);
    assert_eq!(config.quarantine.days, 30);
    assert_eq!((config.quarantine.max_items, config.quarantine.max_bytes()), (10_000, 64 << 20));
    assert_eq!(config.store.low_water_bytes(), 256 << 20);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8480");
    assert_eq!(config.schemas, None);
}

#[test]
fn a_relative_path_begins_at_the_folder_of_the_file() {
    let folder = Folder::new("name = 'nc'\nmembers = '/etc/pirogue/members'\nconnect = ['a/connect.toml']\n");
    let config: HubConfig = folder.load(&[]).unwrap();
    assert_eq!(config.data, folder.0.path().join("data"));
    assert_eq!(config.members, Path::new("/etc/pirogue/members"));
    assert_eq!(config.connect, [folder.0.path().join("a/connect.toml")]);
    assert_eq!(config.keys.master, folder.0.path().join("keys/master.key"));
}

#[test]
fn the_environment_goes_before_the_file() {
    let folder = Folder::new("name = 'nc'\n[limits]\nbatch_events = 16\n");
    let variables = [
        ("PIROGUE__LIMITS__BATCH_EVENTS", "8"),
        ("PIROGUE__HTTP__ENABLED", "false"),
        ("PIROGUE__LOG__LEVEL", "debug"),
        ("PIROGUE_CONFIG", "somewhere"),
        ("HOME", "/"),
    ];
    let config: HubConfig = folder.load(&variables).unwrap();
    assert_eq!(config.limits.batch_events, 8);
    assert!(!config.http.enabled);
    assert_eq!(config.log.level, LogLevel::Debug);
}

#[test]
fn a_member_with_its_connectors_is_read() {
    let config = connect(
        "member = 'province-sud'\nhub = 'nc'\n\
         [[connector]]\nfolder = 'boost'\nstreams = ['offers']\ngeneration = 2\n\
         [connector.settings]\nbaseURL = 'http://127.0.0.1:1'\npage = 50\n\
         [connector.secrets]\napi_key = { env = 'KEY' }\nother = { file = 'k' }\n\
         [[connector]]\nfolder = 'second'\n",
    )
    .unwrap();
    let [first, second] = config.connectors.as_slice() else { panic!("two connectors") };
    assert_eq!(first.streams.as_deref().unwrap(), ["offers"]);
    assert_eq!((first.generation, second.generation), (2, 1));
    assert_eq!(first.settings["baseURL"], "http://127.0.0.1:1");
    assert_eq!(first.settings["page"], 50);
    assert_eq!(first.secrets["api_key"], SecretSource::Env("KEY".to_owned()));
    assert!(matches!(&first.secrets["other"], SecretSource::File(path) if path.is_absolute()));
    assert!(!config.inbox.enabled);
}

#[test]
fn an_unknown_key_is_named_with_the_keys_near_to_it() {
    assert_eq!(
        sentence(hub("name = 'nc'\n[limits]\nbody_byte = 5\n")),
        "FILE sets limits.body_byte, which isn't a key: did you mean limits.body_bytes?"
    );
    assert_eq!(
        sentence(hub("name = 'nc'\nreplay_days = 5\n")),
        "FILE sets replay_days, which isn't a key: did you mean retention.replay_days?"
    );
    assert_eq!(
        sentence(hub("name = 'nc'\n[store]\nzzz = 5\n")),
        "FILE sets store.zzz, which isn't a key: those that there are beside it are store.low_water_mib, store.segment_mib"
    );
    assert_eq!(sentence(hub("nam = 'nc'\n")), "FILE sets nam, which isn't a key: did you mean name?");
    assert_eq!(
        sentence(connect(
            "member = 'sud'\nhub = 'nc'\n[[connector]]\nfolder = 'a'\n[[connector]]\nfodler = 'b'\nfolder = 'b'\n"
        )),
        "FILE sets connector[1].fodler, which isn't a key: did you mean connector.folder?"
    );
}

#[test]
fn an_unknown_variable_is_named() {
    let folder = Folder::new("name = 'nc'\n");
    assert_eq!(
        sentence(folder.load::<HubConfig>(&[("PIROGUE__LIMITS__BODY_BYTE", "5")])),
        "the environment variable PIROGUE__LIMITS__BODY_BYTE sets limits.body_byte, which isn't a key: did \
         you mean limits.body_bytes?"
    );
    let whole = sentence(folder.load::<HubConfig>(&[("PIROGUE__FOO__BAR", "5")]));
    assert!(whole.starts_with("the environment variable PIROGUE__FOO__BAR sets foo,"), "{whole}");
}

#[test]
fn a_bad_value_is_one_sentence_that_names_the_key() {
    let cases = [
        (
            "[limits]\nbody_bytes = 'many'\n",
            "limits.body_bytes to what can't be used: expected a whole number",
        ),
        (
            "[limits]\nbatch_events = 0\n",
            "limits.batch_events to what can't be used: expected a number from 1 to 4096",
        ),
        ("[limits]\nbatch_bytes = 1\n", "limits.batch_bytes"),
        ("[quarantine]\ndays = -1\n", "quarantine.days"),
        ("[quarantine]\nmax_items = 0\n", "quarantine.max_items"),
        ("[quarantine]\nmax_mib = 3\n", "quarantine.max_mib"),
        ("[http]\nlisten = 'here'\n", "http.listen"),
        ("[log]\nlevel = 'loud'\n", "log.level to what can't be used: expected \"error\" or"),
        ("[limits]\nlinger_ms = 1.5\n", "limits.linger_ms"),
        ("[queue]\nmax_mib = [1]\n", "queue.max_mib"),
        ("[http]\nenabled = 1\n", "http.enabled to what can't be used: expected true or false"),
        ("connect = 'a'\n", "connect to what can't be used: expected a list"),
        ("store = 3\n", "store to what can't be used: expected a table"),
        ("members = 3\n", "members to what can't be used: expected a text"),
        ("bus = 'amqps://h'\n", "bus to what can't be used: amqps:// takes broker.ca"),
        ("bus = 'amqp://h'\n", "bus to what can't be used: to log in takes broker.password"),
        ("[management]\nurl = 'http://u:p4ss@h'\n", "management.url to what can't be used: a password"),
        ("bus = 'amqp://u:p4ss@h'\n", "bus to what can't be used: a password isn't written"),
        (
            "[broker]\nadvertise = 'amqps://u:p4ss@h'\n",
            "broker.advertise to what can't be used: it goes to members",
        ),
        ("[broker]\nadvertise = 'h'\n", "broker.advertise to what can't be used: expected the URL"),
    ];
    for (text, expected) in cases {
        let sentence = sentence(hub(&format!("name = 'nc'\n{text}")));
        assert!(sentence.starts_with("FILE sets "), "{sentence}");
        assert!(sentence.contains(expected), "{sentence}");
        assert!(!sentence.contains("p4ss"), "{sentence}");
    }
}

#[test]
fn a_bad_value_of_a_variable_names_the_variable() {
    let folder = Folder::new("name = 'nc'\n");
    let sentence = sentence(folder.load::<HubConfig>(&[("PIROGUE__QUEUE__MAX_MIB", "0")]));
    assert!(
        sentence.starts_with("the environment variable PIROGUE__QUEUE__MAX_MIB sets queue.max_mib"),
        "{sentence}"
    );
}

#[test]
fn what_only_a_hub_advertises_is_no_key_of_a_member() {
    let sentence = sentence(connect("member = 'sud'\nhub = 'nc'\n[broker]\nadvertise = 'amqps://h'\n"));
    assert!(sentence.contains("broker.advertise") && sentence.contains("take it out"), "{sentence}");
}

#[test]
fn a_name_follows_the_grammar_of_the_wire() {
    for name in ["N", "nc hub", "1nc", "Nc", "é-è", "n", ""] {
        assert!(sentence(hub(&format!("name = '{name}'\n"))).contains("sets name to"));
    }
    assert!(sentence(connect("member = 'hub'\nhub = 'nc'\n")).contains("reserved"));
}

#[test]
fn a_key_without_a_default_that_is_not_set_is_named_with_an_example() {
    assert_eq!(
        sentence(hub("")),
        "FILE doesn't set name, which has no default: add a line such as name = \"nouvelle-caledonie\""
    );
    assert_eq!(
        sentence(connect("member = 'sud'\nhub = 'nc'\n[[connector]]\n")),
        "FILE doesn't set connector[0].folder, which has no default: add a line such as folder = \
         \"connectors/boost\""
    );
}

#[test]
fn a_secret_written_where_its_place_is_expected_is_not_repeated() {
    for secret in ["'s3cr3t'", "{ value = 's3cr3t' }", "['s3cr3t']", "{ env = 'A', file = 's3cr3t' }"] {
        let text =
            format!("member = 'sud'\nhub = 'nc'\n[[connector]]\nfolder = 'a'\nsecrets.key = {secret}\n");
        let sentence = sentence(connect(&text));
        assert!(sentence.contains("connector[0].secrets.key"), "{sentence}");
        assert!(sentence.contains("a secret isn't written in a configuration"), "{sentence}");
        assert!(!sentence.contains("s3cr3t"), "{sentence}");
    }
}

#[test]
fn a_file_that_is_not_toml_or_not_there_is_named() {
    let not_toml = sentence(hub("name = 'nc'\n\nlimits = = 5\n"));
    assert!(not_toml.starts_with("the configuration file FILE isn't TOML at line 3"), "{not_toml}");
    let absent = HubConfig::load(Path::new("/nonexistent/pirogue.toml")).unwrap_err();
    assert!(absent.to_string().starts_with("the configuration file /nonexistent/pirogue.toml can't be read"));
}

/// Every path to a value that isn't a table.
fn leaves(value: &toml::Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table)
            if path.ends_with("passphrase")
                || path.ends_with("password")
                || path.ends_with("secrets.api_key")
                || path.ends_with("door.token") =>
        {
            assert_eq!(table.len(), 1);
            out.insert(path.to_owned());
        }
        toml::Value::Table(table) => {
            for (key, value) in table {
                leaves(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, out);
            }
        }
        toml::Value::Array(values) if values.iter().any(toml::Value::is_table) => {
            values.iter().for_each(|value| leaves(value, path, out));
        }
        _ => {
            out.insert(path.to_owned());
        }
    }
}

fn documents_every_key<T: Settings + serde::Serialize + std::fmt::Debug>() {
    let settings = Folder::new(&uncommented(T::DEFAULTS)).load::<T>(&[]).unwrap();
    let mut keys = BTreeSet::new();
    leaves(&toml::Value::try_from(&settings).unwrap(), "", &mut keys);
    let known: BTreeSet<String> = known_lines(T::DEFAULTS).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, known);
    // No key without a sentence before it.
    let lines: Vec<&str> = T::DEFAULTS.lines().collect();
    for pair in lines.windows(2) {
        let is_key = known_lines(pair[1]).len() == 1;
        assert!(
            !is_key || pair[0].starts_with("# ") || pair[0].starts_with("#["),
            "no comment before {}",
            pair[1]
        );
    }
}

#[test]
fn the_files_of_defaults_document_every_key_and_no_other() {
    documents_every_key::<HubConfig>();
    documents_every_key::<ConnectConfig>();
}

#[test]
fn the_settings_in_force_load_again_as_they_are() {
    let folder = Folder::new("name = 'nc'\nkeys.delivery_passphrase = { file = 'p' }\n");
    let config: HubConfig = folder.load(&[("PIROGUE__QUARANTINE__DAYS", "3")]).unwrap();
    assert_eq!(hub(&config.to_toml().unwrap()).unwrap(), config);
    let config = connect(&uncommented(ConnectConfig::DEFAULTS)).unwrap();
    assert_eq!(connect(&config.to_toml().unwrap()).unwrap(), config);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_loading_panic(text in "\\PC*|[a-z=\\[\\]\".\n0-9 {}#]*") {
        let _ = hub(&text);
        let _ = connect(&text);
    }
}

#[test]
fn a_door_beyond_this_machine_takes_a_token_and_one_that_holds_is_open() {
    const MEMBER: &str = "member = 'm1'\nhub = 'nc'\n";
    let door = |text: &str| connect(&format!("{MEMBER}{text}"));
    assert!(!door("").unwrap().door.enabled);
    assert_eq!(door("").unwrap().door.listen.to_string(), "127.0.0.1:8481");
    let beyond = "[door]\nenabled = true\nlisten = '0.0.0.0:8481'\n";
    let fault = sentence(door(beyond));
    assert!(fault.contains("door.listen") && fault.contains("door.token"), "{fault}");
    assert!(door(&format!("{beyond}token = {{ env = 'T' }}\n")).is_ok());
    assert!(door("[door]\nenabled = true\nlisten = '[::1]:8481'\n").is_ok());
    let fault = sentence(door("[inbox]\nenabled = true\nsink = 'door'\n"));
    assert!(fault.contains("inbox.sink") && fault.contains("door.enabled = true"), "{fault}");
    assert!(door("[inbox]\nenabled = true\nsink = 'door'\n[door]\nenabled = true\n").is_ok());
    for wrong in ["system = 'hub'", "system = 'X'", "request_mib = 0", "patience_seconds = 0", "held_mib = 0"]
    {
        let fault = sentence(door(&format!("[door]\n{wrong}\n")));
        assert!(fault.contains(&format!("door.{}", wrong.split(' ').next().unwrap())), "{fault}");
    }
    let fault = sentence(door("[door]\ntoken = 's3cret'\n"));
    assert!(fault.contains("door.token") && !fault.contains("s3cret"), "{fault}");
}
