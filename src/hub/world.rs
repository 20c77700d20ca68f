//! What the hub goes by: members, agreements, schemas, as one snapshot that is
//! replaced whole when any of it changes.

use crate::agreements::{Agreement, Agreements, Grant, Status};
use crate::event::{EventType, MemberName};
use crate::hub::HubFault;
use crate::hub::decide::Cut;
use crate::hub::recorded::{Class, decode_row, encode_row};
use crate::journal::{self, Entry, Leaf};
use crate::keys::Jwks;
use crate::members::Directory;
use crate::schema::{EventSchema, Registry};
use crate::store::Store;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// Where members, agreements and schemas are read from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The folder of the members' public keys.
    pub members: PathBuf,
    /// The folder of the signed agreements.
    pub agreements: PathBuf,
    /// A folder of schemas beside those that are built in.
    pub schemas: Option<PathBuf>,
}

/// What the hub goes by at one moment.
pub struct World {
    /// Who takes part, and their keys.
    pub directory: Directory,
    /// The agreements.
    pub agreements: Agreements,
    /// The schemas.
    pub registry: Registry,
    /// The hub's own types.
    pub hub_types: HubTypes,
    /// The number of the set of agreements in force.
    pub set: u32,
    /// The day in Pacific/Noumea for which this holds.
    pub day: Date,
    /// The projections that were made of these schemas.
    cuts: Cuts,
}

/// Projections, by type, version and fields.
type Cuts = RwLock<HashMap<(String, u32, Vec<String>), Arc<Cut>>>;

/// An agreement in force, as the row of its set keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InForce {
    /// `ID:VERSION`.
    pub reference: String,
    provider: MemberName,
    recipient: MemberName,
    /// SHA-256 of the text that they signed.
    digest: [u8; 32],
    grants: Vec<(EventType, Vec<u32>)>,
}

/// Where the text of an agreement is kept: by its parties too, since others may
/// give theirs the same id.
pub(super) fn text_key(reference: &str, provider: &MemberName, recipient: &MemberName) -> Vec<u8> {
    format!("agreement/{reference}/{provider}/{recipient}").into_bytes()
}

impl InForce {
    /// Whether it is `other`, whatever of its grants counts: an id is its parties'
    /// own, and they may have signed another text under it since.
    fn is(&self, other: &InForce) -> bool {
        self.reference == other.reference
            && self.provider == other.provider
            && self.recipient == other.recipient
            && self.digest == other.digest
    }

    /// What the journal says of it.
    fn entry(&self, at: i64, in_force: bool) -> Leaf {
        Leaf::new(&Entry::Agreement {
            at,
            reference: self.reference.clone(),
            provider: self.provider.to_string(),
            recipient: self.recipient.to_string(),
            digest: self.digest,
            in_force,
        })
    }

    /// To whom it grants.
    pub(super) fn recipient(&self) -> &MemberName {
        &self.recipient
    }

    /// Whether it grants its recipient events of `class`.
    pub(super) fn grants(&self, class: &Class) -> bool {
        class.publisher.as_ref() == Some(&self.provider)
            && self
                .grants
                .iter()
                .any(|(t, versions)| *t == class.event_type && versions.contains(&class.version))
    }
}

impl World {
    /// Reads everything from `sources`. Fails with the sentence of the first
    /// thing that is wrong; what is in use stays in use.
    pub(super) fn load(sources: &Sources, day: Date) -> Result<World, HubFault> {
        let directory = Directory::load(&sources.members)?;
        let registry = match &sources.schemas {
            Some(folder) => Registry::load(folder)?,
            None => Registry::embedded()?,
        };
        let agreements = Agreements::load(&sources.agreements, &directory)?.fit_to(&registry);
        let hub_types = HubTypes::of(&registry)?;
        Ok(World { directory, agreements, registry, hub_types, set: 0, day, cuts: RwLock::default() })
    }

    /// The grant of an event type from `provider` to `recipient` that is in
    /// force on `day`. It isn't asked for the day of the snapshot: a new day ends
    /// agreements also where nothing can be read again.
    pub fn grant(
        &self,
        provider: &str,
        recipient: &str,
        event_type: &str,
        version: u32,
        day: Date,
    ) -> Option<(&Arc<Agreement>, &Grant)> {
        self.agreements.grant(provider, recipient, event_type, version, day)
    }

    /// The projection of a schema to `fields`, made once.
    pub(super) fn cut(
        &self,
        event_type: &str,
        version: u32,
        fields: &[String],
    ) -> Result<Arc<Cut>, HubFault> {
        let key = (event_type.to_owned(), version, fields.to_vec());
        if let Some(known) = self.cuts.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(known));
        }
        let schema = self
            .registry
            .get(event_type, version)
            .ok_or(HubFault::Damaged("an event was decided whose schema isn't registered any more"))?;
        let made = Arc::new(Cut::of(schema.project(fields)?));
        self.cuts.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&made));
        Ok(made)
    }

    /// The agreements in force, for some of what they grant at least.
    pub(super) fn in_force(&self) -> impl Iterator<Item = &Arc<Agreement>> {
        let all = self.agreements.all(self.day).filter(|(_, status)| status.is_in_force());
        all.map(|(agreement, _)| agreement)
    }

    /// `agreement` as the row of its set keeps it: with the grants that count,
    /// which those of a type that another agreement grants too don't.
    fn as_in_force(&self, agreement: &Agreement) -> InForce {
        let (provider, recipient) = (&agreement.provider, &agreement.recipient);
        let counts = |grant: &&Grant| {
            let of = |version| {
                self.grant(
                    provider.as_str(),
                    recipient.as_str(),
                    grant.event_type.as_str(),
                    version,
                    self.day,
                )
            };
            grant.versions.iter().any(|version| of(*version).is_some())
        };
        let grants = agreement.grants.iter().filter(counts);
        InForce {
            reference: agreement.reference(),
            provider: provider.clone(),
            recipient: recipient.clone(),
            digest: agreement.digest(),
            grants: grants.map(|grant| (grant.event_type.clone(), grant.versions.clone())).collect(),
        }
    }

    /// Why an agreement of this status isn't in force, or isn't for all that it
    /// grants; none where it is.
    pub(super) fn not_in_force(status: &Status) -> Option<String> {
        match status {
            Status::InForce => None,
            Status::NotInForce(reason) => Some(reason.to_string()),
            Status::InForceExcept(conflicts) => {
                let conflicts: Vec<_> = conflicts.iter().map(ToString::to_string).collect();
                Some(conflicts.join("; "))
            }
        }
    }

    /// Compares this snapshot with what the store has of the last one: writes
    /// the journal's entries for keys and agreements that changed, and numbers
    /// the set of agreements in force. `own` are the hub's own keys.
    pub(super) async fn adopt(mut self, store: &Store, own: &Jwks) -> Result<World, HubFault> {
        // A recipient would refuse whatever a key signs that is both the hub's and
        // a member's.
        if let Some(key) =
            own.keys.iter().find_map(|key| self.directory.find(key.public.thumbprint().as_str()))
        {
            return Err(HubFault::OwnKey { member: key.member.to_string() });
        }
        let at = jiff::Timestamp::now().as_millisecond();
        let mut rows: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        let mut leaves = self.changed_keys(store, own, at, &mut rows)?;

        let in_force: Vec<(&Arc<Agreement>, InForce)> =
            self.in_force().map(|agreement| (agreement, self.as_in_force(agreement))).collect();
        let (number, last) = current_set(store)?;
        let mut adopted = number;
        if !in_force.iter().map(|(_, now)| now).eq(&last) {
            // First what ended: another text may come into force under its name.
            let ended = last.iter().filter(|before| !in_force.iter().any(|(_, now)| now.is(before)));
            leaves.extend(ended.map(|before| before.entry(at, false)));
            for (agreement, now) in &in_force {
                if !last.iter().any(|before| before.is(now)) {
                    leaves.push(now.entry(at, true));
                    // The text is kept: what was decided under it must stay
                    // explicable when the file is gone.
                    let key = text_key(&now.reference, &now.provider, &now.recipient);
                    rows.push((key, Some(agreement.note().as_bytes().to_vec())));
                }
            }
            let set: Vec<&InForce> = in_force.iter().map(|(_, now)| now).collect();
            adopted = number + 1;
            rows.push((set_key(adopted), Some(encode_row(&set))));
        }
        if !rows.is_empty() || !leaves.is_empty() {
            store
                .commit(move |tx| {
                    for (key, value) in &rows {
                        match value {
                            Some(value) => tx.put(key, value),
                            None => tx.remove(key),
                        }
                    }
                    journal::append(tx, &leaves).map(drop)
                })
                .await?;
        }
        self.set = adopted;
        Ok(self)
    }

    /// The entries of the keys that were added, changed or removed.
    fn changed_keys(
        &self,
        store: &Store,
        own: &Jwks,
        at: i64,
        rows: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<Vec<Leaf>, HubFault> {
        const PREFIX: &[u8] = b"key/";
        let validity = |times: [Option<i64>; 3]| times.map(Option::unwrap_or_default);
        let mut now: BTreeMap<String, KeyRow> = BTreeMap::new();
        for key in self.directory.keys() {
            let row = KeyRow {
                owner: key.member.to_string(),
                key_use: key.key_use.as_str().to_owned(),
                validity: validity([key.not_before, key.expires, key.revoked]),
            };
            now.insert(key.public.thumbprint().to_string(), row);
        }
        for key in &own.keys {
            let row = KeyRow {
                owner: "hub".to_owned(),
                key_use: key.key_use.as_str().to_owned(),
                validity: validity([key.not_before, key.expires, key.revoked]),
            };
            now.insert(key.public.thumbprint().to_string(), row);
        }
        let mut before: BTreeMap<String, KeyRow> = BTreeMap::new();
        for entry in store.scan(PREFIX) {
            let (key, row) = entry?;
            before.insert(String::from_utf8_lossy(&key[PREFIX.len()..]).into_owned(), decode_row(&row)?);
        }
        let mut leaves = Vec::new();
        let mut note = |kid: &String, row: &KeyRow, change: &str, value: Option<Vec<u8>>| {
            leaves.push(Leaf::new(&Entry::Key {
                at,
                owner: row.owner.clone(),
                kid: kid.clone(),
                key_use: row.key_use.clone(),
                change: change.to_owned(),
                validity: row.validity,
            }));
            rows.push(([PREFIX, kid.as_bytes()].concat(), value));
        };
        for (kid, row) in &now {
            match before.get(kid) {
                Some(known) if known == row => {}
                known => {
                    note(kid, row, if known.is_some() { "changed" } else { "added" }, Some(encode_row(row)))
                }
            }
        }
        for (kid, row) in before.iter().filter(|(kid, _)| !now.contains_key(*kid)) {
            note(kid, row, "removed", None);
        }
        Ok(leaves)
    }
}

/// What the journal said last of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeyRow {
    owner: String,
    key_use: String,
    validity: [i64; 3],
}

const SETS: &[u8] = b"agreements-in-force/";

fn set_key(number: u32) -> Vec<u8> {
    [SETS, &number.to_be_bytes()].concat()
}

/// The last set of agreements in force, and its number; 0 where there was none.
fn current_set(store: &Store) -> Result<(u32, Vec<InForce>), HubFault> {
    match store.last_at_or_before(SETS, &set_key(u32::MAX))? {
        None => Ok((0, Vec::new())),
        Some((key, row)) => {
            let number = key.last_chunk::<4>().map_or(0, |b| u32::from_be_bytes(*b));
            Ok((number, decode_row(&row)?))
        }
    }
}

/// The set of agreements that was in force under `number`.
pub(super) fn set_in_force(store: &Store, number: u32) -> Result<Vec<InForce>, HubFault> {
    match store.get(&set_key(number))? {
        Some(row) => decode_row(&row),
        None => Ok(Vec::new()),
    }
}

/// The schemas of the hub's own messages: fixed, version 1.
pub struct HubTypes(BTreeMap<EventType, Arc<EventSchema>>);

impl HubTypes {
    fn of(registry: &Registry) -> Result<HubTypes, HubFault> {
        let mut types = BTreeMap::new();
        for name in [super::SCHEMA_PUBLISHED, super::REJECTED, super::WITHHELD, super::ERASED] {
            let missing = HubFault::Damaged("a schema of the hub's own types isn't built in");
            let Some(schema) = registry.get(name, 1) else { return Err(missing) };
            let Ok(event_type) = EventType::parse(name) else { return Err(missing) };
            types.insert(event_type, Arc::clone(schema));
        }
        Ok(HubTypes(types))
    }

    /// The body of the hub's own message of type `name`.
    pub(super) fn encode(
        &self,
        name: &str,
        record: &serde_json::Value,
    ) -> Result<(EventType, Vec<u8>), HubFault> {
        let unfit = HubFault::Damaged("a message of the hub's own doesn't fit its schema");
        let Some((event_type, schema)) = self.0.get_key_value(name) else { return Err(unfit) };
        match schema.encode_json(record) {
            Ok(body) => Ok((event_type.clone(), body)),
            Err(faults) => {
                tracing::error!(%event_type, fault = ?faults.first().map(ToString::to_string), "{unfit}");
                Err(unfit)
            }
        }
    }
}
