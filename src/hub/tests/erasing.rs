//! An erasure that the disk breaks off at any of its steps is completed when the
//! hub starts again, and each recipient is told of it once.

use super::*;
use crate::bus::embedded::{Broker, BrokerOptions};
use crate::bus::{BatchLimits, Confirm, EVENTS, HUB};
use crate::hub::ERASED;
use crate::hub::operator::{AccessReport, Answer, Handler, Request};
use crate::store::{Sealing, copy};
use std::collections::BTreeMap;

/// Whose payloads are there, and whose are over their days.
const PERSONS: [&str; 2] = ["person/1", "person/2"];
/// In every payload about either of them.
const NAMES: &str = "Wamytan-Effacé";
/// How many events there are of each.
const EACH: usize = 6;

/// A running hub on the embedded bus.
struct Running {
    hub: Arc<Hub>,
    broker: Broker,
}

impl Place {
    fn broker(&self, store: &Store, master: &MasterKey) -> Broker {
        Broker::open(store.clone(), Sealing::new(master, "bus"), BrokerOptions::default()).unwrap()
    }

    async fn run(&self) -> Running {
        let store = self.open(None).unwrap();
        let master = self.master(&store).await.unwrap();
        let broker = self.broker(&store, &master);
        let hub = self.start(store, broker.connect(HUB), Arc::new(broker.clone())).await.unwrap();
        Running { hub, broker }
    }

    /// Asks the hub to erase `person`, at rest, on a store whose steps fail as
    /// `script` says. Returns whether it said that it is done.
    fn erase(&self, script: &Arc<Script>, person: &str) -> bool {
        let runtime = runtime();
        let Ok(store) = self.open(Some(script)) else { return false };
        let answer = runtime.block_on(async {
            let master = self.master(&store).await?;
            let broker = Broker::open(store.clone(), Sealing::new(&master, "bus"), BrokerOptions::default())?;
            let (bus, topology) = (broker.connect(HUB), Arc::new(broker));
            let hub = Hub::at_rest(&self.config, store, &master, bus, topology).await?;
            let request = Request::Erase { member: PROVIDER.into(), subject: person.into(), dry_run: false };
            Ok::<Answer, HubFault>(hub.handle(request).await)
        });
        drop(runtime);
        matches!(answer, Ok(Answer::Erased(_)))
    }

    fn lines(&self) -> usize {
        std::fs::read_to_string(&self.config.erasure.log).map_or(0, |log| log.lines().count())
    }

    /// A copy of this folder as it is.
    fn copied(&self) -> Place {
        let folder = tempfile::tempdir().unwrap();
        copy(self.folder.path(), folder.path());
        let config = HubConfig::load(&folder.path().join("hub.toml")).unwrap();
        Place { folder, config, key: PrivateKey::from_seed(&[1; 32]) }
    }
}

async fn ask(hub: &Hub, subject: &str) -> AccessReport {
    let (member, subject, lang) = (PROVIDER.to_owned(), subject.to_owned(), "fr".to_owned());
    match hub.handle(Request::Access { member, subject, lang }).await {
        Answer::Access(report) => report,
        other => panic!("{other:?}"),
    }
}

impl Running {
    async fn settled(&self, events: u64) {
        let settled = async {
            loop {
                let status = self.hub.status().unwrap();
                let is_done = status.recipients.iter().all(|r| r.undecided == 0 && r.confirmed == r.sequence);
                if status.events >= events && is_done {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, settled).await.expect("all is delivered in time");
    }

    async fn send(&self, events: Vec<(String, Message)>) {
        let count = events.len();
        let confirms = self.broker.connect(PROVIDER).publish(EVENTS, events).await.unwrap();
        assert_eq!(confirms, vec![Confirm::Accepted; count]);
    }

    /// All that waits for `recipient`.
    async fn taken(&self, recipient: &str) -> Vec<Message> {
        let status = self.hub.status().unwrap();
        let its = status.recipients.iter().find(|r| r.recipient == recipient).unwrap();
        let bus = self.broker.connect(recipient);
        let mut consumer = bus.consume(&format!("pirogue.to.{recipient}"), 0).await.unwrap();
        let mut all = Vec::new();
        while (all.len() as u64) < its.sequence {
            let limits = BatchLimits { messages: 1000, bytes: usize::MAX, linger: Duration::ZERO };
            let more = tokio::time::timeout(PATIENCE, consumer.next(&limits)).await;
            all.extend(more.expect("a message comes").unwrap().into_iter().map(|delivery| delivery.message));
        }
        all
    }
}

/// The folder: events of both, of which one's payloads are over their days.
fn filled() -> Place {
    let mut place = Place::new();
    let event =
        |place: &Place, person: &str, n: usize| place.event(&format!("{}-{n}", &person[7..]), person, NAMES);
    place.config.retention.replay_days = 0;
    let runtime = runtime();
    let running = runtime.block_on(async {
        let running = place.run().await;
        running.send((0..EACH).map(|n| event(&place, PERSONS[1], n)).collect()).await;
        running.settled(EACH as u64).await;
        let stop = tokio::sync::watch::Sender::new(false);
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1);
        assert_eq!(running.hub.expire(soon, &stop.subscribe()).await.unwrap().events, EACH as u64);
        running.send((0..EACH).map(|n| event(&place, PERSONS[0], n)).collect()).await;
        running.send((0..EACH).map(|n| event(&place, "person/3", 10 + n)).collect()).await;
        running.settled(3 * EACH as u64).await;
        running.hub.stop().await.unwrap();
        running
    });
    drop(runtime);
    drop(running);
    place
}

/// Starts the hub again, and holds what there is against whether the erasure of
/// `person` had begun.
fn completed(place: &Place, person: &str, has_begun: bool, when: &str) {
    let runtime = runtime();
    let running = runtime.block_on(async {
        let running = place.run().await;
        running.settled(3 * EACH as u64).await;
        let left = ask(&running.hub, person).await;
        let events = if has_begun { 0 } else { EACH as u64 };
        assert_eq!((left.events, left.erased_at.is_some()), (events, has_begun), "{when}");
        for other in PERSONS.iter().chain(&["person/3"]).filter(|other| **other != person) {
            assert_eq!(ask(&running.hub, other).await.events, EACH as u64, "{when}");
        }
        for recipient in RECIPIENTS {
            let taken = running.taken(recipient).await;
            let told = taken.iter().filter(|message| message.kind.as_deref() == Some(ERASED)).count();
            assert_eq!(told, usize::from(has_begun), "{when}: how often {recipient} is told");
            let mut numbers: BTreeMap<u64, usize> = BTreeMap::new();
            for message in &taken {
                let number = message.text("cloudEvents_sequence").unwrap().parse().unwrap();
                *numbers.entry(number).or_default() += 1;
            }
            assert!(numbers.keys().copied().eq(1..=taken.len() as u64), "{when}: {numbers:?}");
            let with_name =
                |message: &&Message| message.body.windows(NAMES.len()).any(|w| w == NAMES.as_bytes());
            let persons = if has_begun { 2 } else { 3 };
            let left = taken.iter().filter(with_name).count();
            assert_eq!(left, persons * EACH, "{when}: what waits for {recipient}");
        }
        running.hub.stop().await.unwrap();
        running
    });
    drop(runtime);
    drop(running);
    journal::read_all(&place.open(None).unwrap()).unwrap();
}

/// Erases `person` as often as there are steps, from `first` on every other one,
/// each time with another one that fails.
fn broken_off(person: &str, first: usize) {
    let filled = filled();
    let outcomes = [Outcome::NotDone, Outcome::Done, Outcome::Torn];
    let (mut begun, mut not_begun) = (0, 0);
    for nth in (first..).step_by(2) {
        let place = filled.copied();
        let script = Script::new(&place, Writes::Any, None, nth, outcomes[nth % outcomes.len()]);
        let is_done = place.erase(&script, person);
        let when = format!("{person}, step {nth}: {:?}", script.hit());
        let has_begun = place.lines() == 1;
        assert!(!is_done || has_begun, "{when}");
        if script.hit().is_none() {
            assert!(is_done, "{when}");
            break;
        }
        begun += usize::from(has_begun);
        not_begun += usize::from(!has_begun);
        completed(&place, person, has_begun, &when);
        if !has_begun {
            // It is asked for again, and done.
            let never = Script::new(&place, Writes::Any, None, usize::MAX - 1, Outcome::Happens);
            assert!(place.erase(&never, person), "{when}");
            assert_eq!(place.lines(), 1, "{when}");
        }
    }
    println!("{person}: broken off {not_begun} times before it had begun, {begun} times after");
    assert!(begun > 20 && not_begun > 0);
}

#[test]
fn an_erasure_that_the_disk_breaks_off_is_completed_at_the_next_start() {
    broken_off(PERSONS[0], 0);
}

#[test]
fn so_is_one_of_whom_no_payload_is_left_and_the_recipients_are_told() {
    broken_off(PERSONS[1], 1);
}
