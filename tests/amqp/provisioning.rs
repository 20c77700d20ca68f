//! What a hub needs on a broker, made over the management API.

use super::broker::shared;
use super::lab::{MEMBERS, SUD, layout, member};
use pirogue::bus::manage::{Access, ManageFault, Queues};
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
