//! What a hub needs on a broker, made over the management API.

use super::broker::{Node, shared};
use super::lab::{MEMBERS, SUD, layout, member};
use super::process::snapshot;
use super::site::{Site, settings};
use pirogue::admin::credentials::{hash_of, keep_hash};
use pirogue::bus::HUB;
use pirogue::bus::amqp::{Connection, Options};
use pirogue::bus::manage::{Access, ManageFault, Queues};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn making_it_twice_changes_nothing_the_second_time() {
    let management = shared().node().management();
    assert!(management.version().await.unwrap().starts_with(|first: char| first.is_ascii_digit()));
    let mut layout = layout("provisioning", 1 << 20);
    let first = layout.provision(&management).await.unwrap();
    assert!(first.len() >= 12, "{first:#?}");
    assert!(layout.missing(&management).await.unwrap().is_empty());
    assert!(layout.provision(&management).await.unwrap().is_empty());

    // A member more: what it needs, and no more than that.
    layout.members.insert(member("ville-dumbea"), Access::Certificate);
    let more = layout.provision(&management).await.unwrap();
    assert_eq!(more.len(), 5, "{more:#?}");
    assert!(more.iter().all(|change| change.to_string().contains("ville-dumbea")), "{more:#?}");
    assert!(layout.missing(&management).await.unwrap().is_empty());

    // Someone widened a permission: it is put right.
    let mut wide = management.permissions("provisioning").await.unwrap();
    let mut wide = wide.swap_remove(wide.iter().position(|found| found.user == SUD).unwrap());
    wide.read = ".*".to_owned();
    management.put_permissions("provisioning", &wide).await.unwrap();
    let changes = layout.provision(&management).await.unwrap();
    assert_eq!(changes.len(), 1, "{changes:#?}");

    // A queue's size can't be changed in place.
    layout.queue_bytes = 2 << 20;
    let fault = layout.missing(&management).await.unwrap_err();
    assert!(matches!(&fault, ManageFault::Conflict(why) if why.contains("x-max-length-bytes")), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_hub_makes_a_new_members_queue_and_knows_their_lengths() {
    let management = shared().node().management();
    layout("queues", 1 << 20).provision(&management).await.unwrap();
    let queues = Queues::new(Arc::new(management), "queues", 1 << 20);
    queues.declare_member(&member("ville-noumea")).await.unwrap();
    queues.declare_member(&member(MEMBERS[0])).await.unwrap();
    while queues.depth("pirogue.to.ville-noumea").is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(queues.depth("pirogue.to.nobody"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said() {
    let management = shared().node().management();
    let address = format!("http://{}", management.address());
    let wrong = pirogue::bus::manage::Management::new(
        &address,
        "guest",
        "wrong".to_owned().into(),
        &pirogue::bus::Tls::default(),
    );
    let fault = wrong.unwrap().version().await.unwrap_err();
    assert!(matches!(fault, ManageFault::Refused { .. }), "{fault}");
}

const RUN: &str = "provision --config hub.toml";
const PLAN: &str = "provision --config hub.toml --dry-run";

/// Whether `user` logs in by `password`.
async fn logs_in(node: &Node, vhost: &str, user: &str, password: &str) -> bool {
    let url = format!("amqp://{user}:{password}@127.0.0.1:{}/{vhost}", node.port);
    Connection::connect(&url, Options::default()).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_its_plan_carries_it_out_and_then_has_nothing_to_do() {
    let node = shared().node();
    let management = node.management();
    let site = Site::on(node, "commanded", "");
    site.member("canala");
    site.member("poya");
    keep_hash(&site.at("broker"), "canala", &hash_of("niaouli").unwrap()).unwrap();

    let files = snapshot(site.path());
    let plan = site.ok(PLAN);
    for line in ["make the virtual host", "give the user poya its password", "Nothing was changed."] {
        assert!(plan.contains(line), "{plan}");
    }
    assert!(!management.has_vhost("commanded").await.unwrap());
    assert!(files == snapshot(site.path()), "a plan writes nothing");

    let done = site.ok(RUN);
    let planned = plan.lines().filter(|line| *line != "Nothing was changed.");
    assert!(planned.clone().all(|line| done.contains(line)), "{plan}{done}");
    assert!(done.contains(&format!("{} changes made.", planned.count())), "{done}");
    assert!(done.contains("broker/poya.password over") && !done.contains("broker/canala.password"), "{done}");
    let mode = std::fs::metadata(site.at("broker/poya.password")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let made = site.read("broker/poya.password");
    assert!(!done.contains(made.trim_end()));
    assert!(logs_in(node, "commanded", "poya", made.trim_end()).await);
    assert!(logs_in(node, "commanded", "canala", "niaouli").await);

    let files = snapshot(site.path());
    for line in [RUN, PLAN] {
        let again = site.ok(line);
        assert!(again.starts_with("Nothing to do:") && again.lines().count() == 1, "{again}");
    }
    assert!(files == snapshot(site.path()), "a file was changed");

    // A password was changed: that alone is done.
    keep_hash(&site.at("broker"), "canala", &hash_of("gaiac").unwrap()).unwrap();
    assert_eq!(site.ok(RUN), "give the user canala its password\n1 change made.\n");
    assert!(logs_in(node, "commanded", "canala", "gaiac").await);
    assert!(!logs_in(node, "commanded", "canala", "niaouli").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cant_be_provisioned_is_said_in_a_sentence() {
    let node = shared().node();
    let site = Site::on(node, "unfit", "");
    site.ok(RUN);
    site.write("hub.toml", &(settings(node, "unfit", "") + "[queue]\nmax_mib = 5\n"));
    let conflict = site.refused(RUN, 1);
    assert!(conflict.contains("pirogue.inbox has x-max-length-bytes"), "{conflict}");

    // An administrator doesn't become a member, by no name.
    site.write("hub.toml", &settings(node, "unfit", "").replace("user = 'guest'", "user = 'root'"));
    site.member("root");
    let named = site.refused(RUN, 2);
    assert!(named.contains("[management] user"), "{named}");
    site.write("hub.toml", &settings(node, "unfit", ""));
    std::fs::remove_file(site.at("members/root.jwks.json")).unwrap();
    node.management().put_user("watcher", None).await.unwrap();
    node.ctl(&["set_user_tags", "watcher", "monitoring"]);
    site.member("watcher");
    let tagged = site.refused(RUN, 1);
    assert!(tagged.contains("the broker's user watcher") && tagged.contains("tags"), "{tagged}");

    let url = format!("url = 'http://{}'", node.management().address());
    site.write("hub.toml", &settings(node, "unfit", "").replace(&url, ""));
    assert!(site.refused(RUN, 1).contains("--export FILE"));
    site.write("hub.toml", &settings(node, "unfit", "").replace(&url, "url = 'http://127.0.0.1:9'"));
    assert!(site.refused(RUN, 4).contains("doesn't answer"));
    site.write("hub.toml", "name = 'nc'\n");
    assert!(site.refused(RUN, 2).contains("nothing to provision"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_file_is_imported_by_rabbitmq_and_nothing_is_missing() {
    let node = shared().node();
    for by_api in [false, true] {
        let vhost = format!("imported-{by_api}");
        let site = Site::on(node, &vhost, "");
        site.member("bourail");
        site.member("moindou");
        // The hub's user is that of other tests too.
        let users = node.management().users().await.unwrap();
        let hub = users.iter().find(|user| user.name == HUB).unwrap();
        keep_hash(&site.at("broker"), HUB, &hub.password_hash).unwrap();
        // No management API is asked.
        let url = format!("url = 'http://{}'", node.management().address());
        site.write("hub.toml", &settings(node, &vhost, "").replace(&url, ""));
        let said = site.ok("provision --config hub.toml --export definitions.json");
        assert!(said.contains("rabbitmqctl import_definitions definitions.json"), "{said}");
        let file = site.at("definitions.json");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = site.read("definitions.json");
        let password = site.read("broker/bourail.password");
        assert!(!text.contains(password.trim_end()));
        // The same again.
        site.ok("provision --config hub.toml --export definitions.json");
        assert_eq!(text, site.read("definitions.json"));

        if by_api {
            let response = reqwest::Client::builder().no_proxy().build().unwrap();
            let api = format!("http://{}/api/definitions", node.management().address());
            let request = response.post(api).basic_auth("guest", Some("guest"));
            let answer = request.header("content-type", "application/json").body(text).send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.status());
        } else {
            node.ctl(&["import_definitions", file.to_str().unwrap()]);
        }
        site.write("hub.toml", &settings(node, &vhost, ""));
        let nothing = site.ok(PLAN);
        assert!(nothing.starts_with("Nothing to do:"), "{nothing}");
        assert!(logs_in(node, &vhost, "bourail", password.trim_end()).await);
    }
}
