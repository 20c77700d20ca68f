//! A folder of signed notes, and what is in force of it.

use super::force::{self, Conflict, NotInForce, Status};
use super::{Agreement, AgreementFault, Grant, day_of, parse_agreement, parse_revocation};
use crate::event::{EventType, MemberName};
use crate::keys::note::{MAX_NOTE_BYTES, SignedNote};
use crate::members::Directory;
use crate::schema::Registry;
use jiff::civil::Date;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder of agreements, or a file in it, can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{path} can't be read: {source}")]
pub struct LoadFault {
    /// The folder or file.
    pub path: PathBuf,
    /// What the system says.
    pub source: std::io::Error,
}

/// A file that counts for nothing: it holds neither an agreement nor a
/// revocation that ends one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableFile {
    /// The file's name in its folder.
    pub file: String,
    /// Why.
    pub reason: Unfit,
}

/// Why a file counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Its name doesn't end in `.note`.
    #[error("its name doesn't end in .note, so it isn't read as a signed note")]
    NotANote,
    /// Its bytes aren't a text.
    #[error("it isn't a text in UTF-8")]
    NotText,
    /// It isn't a signed agreement or revocation.
    #[error("{0}")]
    Text(#[from] AgreementFault),
    /// It is a revocation, and a signature isn't of this text.
    #[error("a signature isn't of this text: it was changed after signing")]
    BadSignature,
    /// It is a revocation that no party of such an agreement signed.
    #[error("no party of an agreement {0} signed this revocation with a published key for agreements")]
    EndsNothing(String),
}

struct Item {
    file: String,
    agreement: Arc<Agreement>,
    /// Why it isn't in force on any day.
    refusal: Option<NotInForce>,
    /// The first day on which all keys that signed it are valid.
    keys_from: Option<Date>,
    /// What it grants and no schema has, as a sentence: see [`Agreements::fit_to`].
    unfit: Option<String>,
}

/// Where a grant is: which agreement, which of its grants.
#[derive(Clone, Copy)]
struct Place {
    item: usize,
    grant: usize,
}

/// Every agreement of a folder, at one moment. Immutable; what is in force
/// depends on the day, which is a parameter.
#[derive(Default)]
pub struct Agreements {
    /// Sorted by file.
    items: Vec<Item>,
    unusable: Vec<UnusableFile>,
    /// Provider, type and recipient of what isn't refused for ever.
    index: HashMap<MemberName, HashMap<EventType, BTreeMap<MemberName, Vec<Place>>>>,
}

impl Agreements {
    /// Reads `folder`: each `*.note` in it is a signed agreement or revocation.
    /// Hidden files and subfolders are left alone.
    ///
    /// Only a folder or file that can't be read is an error. What isn't in
    /// force is kept with the reason why: see [`Agreements::all`] and
    /// [`Agreements::unusable`].
    pub fn load(folder: &Path, directory: &Directory) -> Result<Agreements, LoadFault> {
        let failed = |path: &Path, source| LoadFault { path: path.to_owned(), source };
        let (mut notes, mut unusable) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(folder).map_err(|e| failed(folder, e))? {
            let path = entry.map_err(|e| failed(folder, e))?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if file.starts_with('.') || path.is_dir() {
                continue;
            }
            if !file.ends_with(".note") {
                unusable.push(UnusableFile { file, reason: Unfit::NotANote });
                continue;
            }
            let mut bytes = Vec::new();
            // One byte over the limit is enough for the parser to refuse it.
            let source = std::fs::File::open(&path).map_err(|e| failed(&path, e))?;
            source.take(MAX_NOTE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|e| failed(&path, e))?;
            match String::from_utf8(bytes) {
                Ok(note) => notes.push((file, note)),
                Err(_) => unusable.push(UnusableFile { file, reason: Unfit::NotText }),
            }
        }
        let mut agreements = Agreements::of(notes, directory);
        agreements.unusable.extend(unusable);
        agreements.unusable.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(agreements)
    }

    /// What these notes amount to: pairs of a file's name and its text.
    pub fn of(notes: impl IntoIterator<Item = (String, String)>, directory: &Directory) -> Agreements {
        let mut notes: Vec<_> = notes.into_iter().collect();
        notes.sort();
        let mut all = Agreements::default();
        let (mut texts, mut complete, mut revocations) = (Vec::new(), Vec::new(), Vec::new());
        for (file, note) in notes {
            match read(&file, &note) {
                Ok(Content::Agreement(agreement, signed)) => {
                    let signatures = force::signatures(&agreement, &signed, directory);
                    texts.push(signed.text);
                    complete.push(signatures.complete);
                    all.items.push(Item {
                        file,
                        agreement: Arc::new(Agreement { note, ..agreement }),
                        refusal: signatures.refusal,
                        keys_from: signatures.from.map(day_of_second),
                        unfit: None,
                    });
                }
                Ok(Content::Revocation(id, signed)) => revocations.push((file, id, signed)),
                Err(fault) => all.unusable.push(UnusableFile { file, reason: fault.into() }),
            }
        }
        all.keep_highest_versions(&texts, &complete);
        for (file, id, signed) in revocations {
            all.revoke(file, id, force::revoked_by(&signed, directory));
        }
        all.build_index();
        all
    }

    /// Refuses what a higher version replaces, and what stands twice.
    fn keep_highest_versions(&mut self, texts: &[String], complete: &[bool]) {
        // By the parties too: a version that others sign under the same id
        // replaces nothing of theirs.
        let mut groups: HashMap<(MemberName, MemberName, String), Vec<usize>> = HashMap::new();
        for (at, item) in self.items.iter().enumerate().filter(|(at, _)| complete[*at]) {
            let a = &item.agreement;
            let key = (a.provider.clone(), a.recipient.clone(), a.id.clone());
            groups.entry(key).or_default().push(at);
        }
        for group in groups.values() {
            let version = |at: usize| self.items[at].agreement.version;
            let highest = group.iter().map(|at| version(*at)).max().unwrap_or_default();
            let (top, lower): (Vec<usize>, Vec<usize>) =
                group.iter().partition(|at| version(**at) == highest);
            // Of copies of one text, one that nothing else speaks against.
            let kept = top.iter().find(|at| self.items[**at].refusal.is_none()).or(top.first());
            let Some(&kept) = kept else { continue };
            let file = self.items[kept].file.clone();
            for at in lower {
                let superseded = NotInForce::Superseded { version: highest, file: file.clone() };
                self.items[at].refusal.get_or_insert(superseded);
            }
            for &at in &top {
                let other = top.iter().find(|other| texts[**other] != texts[at]);
                if let Some(other) = other {
                    self.items[at].refusal = Some(NotInForce::OtherText(self.items[*other].file.clone()));
                } else if at != kept {
                    self.items[at].refusal = Some(NotInForce::Copy(file.clone()));
                }
            }
        }
    }

    /// Ends what `signers` ended by the revocation in `file`.
    fn revoke(&mut self, file: String, id: String, signers: Option<Vec<MemberName>>) {
        let Some(signers) = signers else {
            self.unusable.push(UnusableFile { file, reason: Unfit::BadSignature });
            return;
        };
        let mut ended = false;
        for item in self.items.iter_mut().filter(|item| item.agreement.id == id) {
            let parties = [&item.agreement.provider, &item.agreement.recipient];
            if let Some(by) = signers.iter().find(|signer| parties.contains(signer)) {
                ended = true;
                let revoked = NotInForce::Revoked { by: by.clone(), file: file.clone() };
                item.refusal.get_or_insert(revoked);
            }
        }
        if !ended {
            self.unusable.push(UnusableFile { file, reason: Unfit::EndsNothing(id) });
        }
    }

    fn build_index(&mut self) {
        for (at, item) in self.items.iter().enumerate().filter(|(_, item)| item.refusal.is_none()) {
            let types = self.index.entry(item.agreement.provider.clone()).or_default();
            for (grant, granted) in item.agreement.grants.iter().enumerate() {
                let recipients = types.entry(granted.event_type.clone()).or_default();
                let places = recipients.entry(item.agreement.recipient.clone()).or_default();
                places.push(Place { item: at, grant });
            }
        }
    }

    /// Holds the agreements against the schemas: one that grants a type, a
    /// version or a field that `registry` doesn't have grants nothing.
    ///
    /// Each stands for itself, whichever id it has: the same id between other
    /// parties is another agreement.
    #[must_use]
    pub fn fit_to(mut self, registry: &Registry) -> Agreements {
        for item in &mut self.items {
            let exists =
                |event_type: &EventType, version, path: &str| exists_in(registry, event_type, version, path);
            item.unfit = item.agreement.check_against(&exists).into_iter().next();
        }
        self
    }

    /// What is granted to `recipient` on the day `today` of `provider`'s events
    /// of this type and version, and by which agreement. `None`: nothing is,
    /// and nothing may be delivered.
    pub fn grant(
        &self,
        provider: &str,
        recipient: &str,
        event_type: &str,
        version: u32,
        today: Date,
    ) -> Option<(&Arc<Agreement>, &Grant)> {
        let places = self.index.get(provider)?.get(event_type)?.get(recipient)?;
        let (agreement, grant) = self.only_one(places, today)?;
        grant.versions.contains(&version).then_some((agreement, grant))
    }

    /// The members that are granted something of `provider`'s events of this
    /// type on the day `today`, in whichever versions, sorted by name.
    pub fn recipients(
        &self,
        provider: &str,
        event_type: &str,
        today: Date,
    ) -> impl Iterator<Item = &MemberName> {
        let recipients = self.index.get(provider).and_then(|types| types.get(event_type));
        recipients
            .into_iter()
            .flatten()
            .filter(move |(_, places)| self.only_one(places, today).is_some())
            .map(|(recipient, _)| recipient)
    }

    /// Every agreement with its status on the day `today`, sorted by file.
    pub fn all(&self, today: Date) -> impl Iterator<Item = (&Arc<Agreement>, Status)> {
        self.files(today).map(|(_, agreement, status)| (agreement, status))
    }

    /// As [`Agreements::all`], each with the name of its file.
    pub fn files(&self, today: Date) -> impl Iterator<Item = (&str, &Arc<Agreement>, Status)> {
        self.items.iter().map(move |item| (item.file.as_str(), &item.agreement, self.status(item, today)))
    }

    /// The files that count for nothing, sorted by name.
    pub fn unusable(&self) -> &[UnusableFile] {
        &self.unusable
    }

    /// The one grant of `places` that is in force; none where two are.
    fn only_one(&self, places: &[Place], today: Date) -> Option<(&Arc<Agreement>, &Grant)> {
        let mut active = places.iter().filter(|place| out_of_time(&self.items[place.item], today).is_none());
        let (place, None) = (active.next()?, active.next()) else { return None };
        // After the count: what an unfit agreement says stays in doubt, and so
        // does another one of the same type beside it.
        if self.items[place.item].unfit.is_some() {
            return None;
        }
        let agreement = &self.items[place.item].agreement;
        Some((agreement, &agreement.grants[place.grant]))
    }

    fn status(&self, item: &Item, today: Date) -> Status {
        let unfit = || item.unfit.clone().map(NotInForce::Unfit);
        if let Some(reason) = item.refusal.clone().or_else(unfit).or_else(|| out_of_time(item, today)) {
            return Status::NotInForce(reason);
        }
        let agreement = &item.agreement;
        let types = self.index.get(&agreement.provider);
        let mut conflicts = Vec::new();
        for grant in &agreement.grants {
            let places =
                types.and_then(|t| t.get(&grant.event_type)).and_then(|r| r.get(&agreement.recipient));
            let other = places.into_iter().flatten().map(|place| &self.items[place.item]).find(|other| {
                !Arc::ptr_eq(&other.agreement, agreement) && out_of_time(other, today).is_none()
            });
            if let Some(other) = other {
                conflicts.push(Conflict {
                    event_type: grant.event_type.clone(),
                    first: agreement.reference(),
                    second: other.agreement.reference(),
                });
            }
        }
        match conflicts.is_empty() {
            true => Status::InForce,
            false => Status::InForceExcept(conflicts),
        }
    }
}

/// Counts, without what the agreements say.
impl std::fmt::Debug for Agreements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Agreements");
        shown.field("agreements", &self.items.len()).field("unusable", &self.unusable.len());
        shown.finish_non_exhaustive()
    }
}

/// Whether `registry` has this type, version and path (`*`: everything), or a
/// sentence that says what it doesn't have.
pub(super) fn exists_in(
    registry: &Registry,
    event_type: &EventType,
    version: u32,
    path: &str,
) -> Result<(), String> {
    let Some(schema) = registry.get(event_type.as_str(), version) else {
        return Err(format!("it grants version {version} of {event_type}, of which there is no schema"));
    };
    match path {
        "*" => Ok(()),
        path => schema.project(&[path.to_owned()]).map(drop).map_err(|fault| {
            let near = fault.detail.split_once("; ").map_or("", |(_, near)| near);
            format!("{event_type} has no field {path} in version {version}; {near}")
        }),
    }
}

enum Content {
    Agreement(Agreement, SignedNote),
    Revocation(String, SignedNote),
}

/// What a note says: a revocation is one by its text, whatever its file's name.
fn read(file: &str, note: &str) -> Result<Content, AgreementFault> {
    let signed = SignedNote::parse(note)?;
    match parse_revocation(&signed.text) {
        Ok(id) => Ok(Content::Revocation(id, signed)),
        Err(fault) if file.ends_with(".revoked.note") => Err(fault),
        Err(_) => parse_agreement(&signed.text).map(|agreement| Content::Agreement(agreement, signed)),
    }
}

/// Why an agreement that is otherwise good isn't in force on the day `today`.
fn out_of_time(item: &Item, today: Date) -> Option<NotInForce> {
    let agreement = &item.agreement;
    if today > agreement.valid_until {
        Some(NotInForce::Ended(agreement.valid_until))
    } else if today < agreement.valid_from {
        Some(NotInForce::NotYet(agreement.valid_from))
    } else {
        item.keys_from.filter(|from| today < *from).map(NotInForce::KeyNotYet)
    }
}

/// The day in New Caledonia at this second since 1970; the end of time where a
/// key says one that no calendar has.
fn day_of_second(second: i64) -> Date {
    match jiff::Timestamp::from_second(second) {
        Ok(time) => day_of(time),
        Err(_) if second < 0 => Date::MIN,
        Err(_) => Date::MAX,
    }
}
