//! A whole hub on a store whose steps fail as a test says, and on a bus that
//! outlives it.

mod crashes;
mod erasing;
mod post;

use crate::agreements::sign_text;
use crate::config::HubConfig;
use crate::event::{Attributes, Envelope, MemberName, Message};
use crate::hub::{self, Hub, HubFault, Topology};
use crate::journal::tile::CHECKPOINT;
use crate::journal::{self, Head, LogKey, SignedCheckpoint};
use crate::keys::{Jwk, Jwks, KeyUse, PrivateKey};
use crate::metrics::Metrics;
use crate::schema::Registry;
use crate::seal::MasterKey;
use crate::store::{Faults, Outcome, Step, Store, StoreOptions};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const NAME: &str = "nouvelle-caledonie";
const PROVIDER: &str = "province-sud";
/// One gets all unchanged, the other a name and a pseudonym.
const RECIPIENTS: [&str; 2] = ["gouvernement", "province-nord"];
const JOBSEEKER: &str = "nc.employment.jobseeker.registered";
/// The name of the threads of a hub: those of its store have others.
const THREADS: &str = "hub";
/// How long a hub may take for what it has to do.
const PATIENCE: Duration = Duration::from_secs(120);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(member: &str) -> MemberName {
    MemberName::parse(member).unwrap()
}

/// The folder of a hub with three members.
struct Place {
    folder: TempDir,
    config: HubConfig,
    /// Signs the provider's events.
    key: PrivateKey,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for path in ["keys", "members", "agreements"] {
            std::fs::create_dir(at(path)).unwrap();
        }
        for path in ["keys/delivery.pem", "keys/checkpoint.pem"] {
            PrivateKey::generate().unwrap().write(&at(path), None).unwrap();
        }
        let members = [PROVIDER, RECIPIENTS[0], RECIPIENTS[1]].map(|member| {
            let keys =
                [KeyUse::Event, KeyUse::Agreement].map(|key_use| (key_use, PrivateKey::generate().unwrap()));
            let own = |(key_use, key): &(KeyUse, PrivateKey)| {
                Jwk::new(key.public().clone(), *key_use, Some(member.to_owned()))
            };
            let public = Jwks { keys: keys.iter().map(own).collect() };
            std::fs::write(at(&format!("members/{member}.jwks.json")), public.to_json()).unwrap();
            keys.map(|(_, key)| key)
        });
        let [[key, provider], [_, first], [_, second]] = members;
        for (recipient, its, fields, subject) in [
            (RECIPIENTS[0], &first, "*", "publisher"),
            (RECIPIENTS[1], &second, "person.family_name", "pseudonym"),
        ] {
            let text = format!(
                "id = \"{recipient}\"\nversion = 1\ntitle = \"Essai\"\nprovider = \"{PROVIDER}\"\n\
                 recipient = \"{recipient}\"\npurpose = \"Essai\"\nlegal_basis = \"public-interest\"\n\
                 retention_months = 12\nvalid_from = 2026-01-01\nvalid_until = 2099-12-31\n\n[[grant]]\n\
                 type = \"{JOBSEEKER}\"\nversions = [1]\nfields = [\"{fields}\"]\nsubject = \"{subject}\"\n"
            );
            let note = sign_text(&text, &[(&name(PROVIDER), &provider), (&name(recipient), its)]).unwrap();
            std::fs::write(at(&format!("agreements/{recipient}.note")), note).unwrap();
        }
        let toml = format!(
            "name = \"{NAME}\"\n[http]\nenabled = false\n[store]\nlow_water_mib = 1\nsegment_mib = 1\n\
             [journal]\ncheckpoint_ms = 50\n[limits]\nbatch_events = 4\n"
        );
        std::fs::write(at("hub.toml"), toml).unwrap();
        let config = HubConfig::load(&at("hub.toml")).unwrap();
        Place { folder, config, key }
    }

    /// An event about `subject` with its routing key, signed.
    fn event(&self, id: &str, subject: &str, family_name: &str) -> (String, Message) {
        let record = json!({
            "person": {
                "given_names": ["Marie"], "family_name": family_name, "birthdate": "1987-03-14", "birthplace": "98818",
            },
            "contact": {"email": "a@exemple.nc", "phone": "+687451234", "address": {"commune": "98817"}},
            "status": "active",
            "registered_on": "2026-03-02",
        });
        let schema = Registry::embedded().unwrap();
        let body = schema.get(JOBSEEKER, 1).unwrap().encode_json(&record).unwrap();
        let mut attributes = Attributes::default();
        for (name, value) in [
            ("specversion", "1.0"),
            ("id", id),
            ("source", &source()),
            ("type", JOBSEEKER),
            ("subject", subject),
            ("time", "2026-03-14T08:12:45Z"),
            ("datacontenttype", "application/avro"),
            ("dataschema", &format!("urn:pirogue:schema:{JOBSEEKER}:1")),
        ] {
            attributes.set(name, value);
        }
        let signature = self.key.sign_event(NAME, &attributes, &body);
        let envelope = Envelope { attributes, signature, origin_signature: None };
        (format!("{PROVIDER}.{JOBSEEKER}"), envelope.message(PROVIDER, body.into()))
    }

    /// Opens the store, whose steps fail as `script` says.
    fn open(&self, script: Option<&Arc<Script>>) -> Result<Store, HubFault> {
        let faults = script.map(|script| Arc::clone(script) as Arc<dyn Faults>);
        // So that many are there to fail.
        let settle_after = Some(std::time::Duration::from_millis(5));
        Ok(Store::open(&self.config.data, StoreOptions { faults, settle_after, ..StoreOptions::default() })?)
    }

    async fn master(&self, store: &Store) -> Result<MasterKey, HubFault> {
        hub::master_key(&self.config.keys.master, store).await
    }

    async fn start(
        &self,
        store: Store,
        bus: Arc<dyn crate::bus::Bus>,
        topology: Arc<dyn Topology>,
    ) -> Result<Arc<Hub>, HubFault> {
        let master = self.master(&store).await?;
        Hub::start(&self.config, store, &master, bus, topology, Metrics::new()).await
    }

    fn log_key(&self) -> LogKey {
        let key = PrivateKey::read(&self.config.keys.checkpoint, None).unwrap();
        LogKey { name: NAME.to_owned(), key: key.public().clone() }
    }
}

fn source() -> String {
    format!("/{PROVIDER}/boost")
}

/// What runs a hub; dropping it ends the hub where it is.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).thread_name(THREADS).enable_all().build().unwrap()
}

/// What of a hub writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    /// Its commits.
    Store,
    /// The tiles of its journal.
    Tiles,
    /// The checkpoints.
    Checkpoint,
    /// All of it.
    Any,
}

/// Makes one step end otherwise, and collects every checkpoint that was ever
/// signed: it looks for one before each step.
struct Script {
    journal: PathBuf,
    key: LogKey,
    state: Mutex<Steps>,
}

#[derive(Default)]
struct Steps {
    armed: Option<(Writes, Option<Step>, usize, Outcome)>,
    /// Steps of the armed kind, until now.
    seen: usize,
    /// The step that was made to fail.
    hit: Option<Step>,
    /// The last step of a writing of files, and how many writings there were.
    last: Option<Step>,
    writings: usize,
    checkpoints: BTreeSet<(u64, [u8; 32])>,
}

impl Script {
    /// Makes the step `nth` of those of `writes` (of the kind `step`, or of any) end
    /// with `outcome`.
    fn new(place: &Place, writes: Writes, step: Option<Step>, nth: usize, outcome: Outcome) -> Arc<Script> {
        let state = Steps { armed: Some((writes, step, nth, outcome)), ..Steps::default() };
        Arc::new(Script {
            journal: place.config.data.join(journal::FOLDER),
            key: place.log_key(),
            state: Mutex::new(state),
        })
    }

    fn hit(&self) -> Option<Step> {
        lock(&self.state).hit
    }

    /// The checkpoints that were signed until now, by their size.
    fn checkpoints(&self) -> Vec<Head> {
        let mut state = lock(&self.state);
        self.look(&mut state);
        state.checkpoints.iter().map(|(size, root)| Head { size: *size, root: *root }).collect()
    }

    fn read(&self, path: &Path) -> Option<Head> {
        let note = std::fs::read_to_string(path).ok()?;
        Some(SignedCheckpoint::open(&note, &self.key).ok()?.head())
    }

    fn look(&self, state: &mut Steps) {
        // In its place, and on its way there.
        for path in [self.journal.join(CHECKPOINT), self.journal.join("new/0")] {
            state.checkpoints.extend(self.read(&path).map(|head| (head.size, head.root)));
        }
    }

    /// What writes, by the thread: files are written by the hub's own. Tiles and
    /// their checkpoint are, in turn.
    fn writes(&self, state: &mut Steps, step: Step) -> Writes {
        if std::thread::current().name() != Some(THREADS) {
            return Writes::Store;
        }
        if step == Step::Open && !matches!(state.last, Some(Step::Open | Step::Write)) {
            state.writings += 1;
        }
        state.last = Some(step);
        let writes = if state.writings % 2 == 1 { Writes::Tiles } else { Writes::Checkpoint };
        if step == Step::RenameFile && writes == Writes::Checkpoint {
            assert!(self.read(&self.journal.join("new/0")).is_some(), "this is no checkpoint");
        }
        writes
    }
}

impl Faults for Script {
    fn next(&self, step: Step) -> Outcome {
        let state = &mut *lock(&self.state);
        self.look(state);
        let writes = self.writes(state, step);
        let Some((of, kind, nth, outcome)) = state.armed else { return Outcome::Happens };
        if (of != Writes::Any && of != writes) || kind.is_some_and(|kind| kind != step) {
            return Outcome::Happens;
        }
        state.seen += 1;
        if state.seen != nth + 1 {
            return Outcome::Happens;
        }
        state.hit = Some(step);
        outcome
    }
}
