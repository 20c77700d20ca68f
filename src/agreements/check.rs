//! Everything that is wrong with the texts of agreements, before anyone signs
//! them or a hub reads them.

use super::force::{self, NotInForce};
use super::load::exists_in;
use super::text::{GrantPart, Parts, agreement_and_faults};
use super::view::{View, is_within};
use super::{Agreement, Grant, SubjectMode, parse_agreement, parse_revocation};
use crate::event::MemberName;
use crate::keys::note::SignedNote;
use crate::members::Directory;
use crate::schema::Registry;
use jiff::civil::Date;

/// The prefix of the event types that are the hub's own.
const RESERVED: &str = "nc.hub.";

/// What the texts are held against.
pub struct Against<'a> {
    /// The schemas.
    pub registry: &'a Registry,
    /// Who takes part, with their keys; none where that isn't known: then
    /// neither the parties nor the signatures can be checked.
    pub directory: Option<&'a Directory>,
    /// The notes that are there already, as pairs of a file's name and its text.
    pub notes: &'a [(String, String)],
    /// The day in New Caledonia.
    pub today: Date,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Gravity {
    /// Something to know; the agreement can come into force all the same.
    Warning,
    /// A party's signature isn't there yet. What is to be signed has this too.
    Unsigned,
    /// It has to be put right.
    Fault,
}

/// One thing that is wrong, or to know, about one file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The line, from 1; none where it is about the whole.
    pub line: Option<usize>,
    /// How grave it is.
    pub gravity: Gravity,
    /// What it is, in a sentence that names the key, or the line.
    pub sentence: String,
}

/// An agreement that reads, with where it is from.
struct Read {
    file: String,
    /// The text that is signed.
    text: String,
    agreement: Agreement,
}

/// Checks the agreements in `files`, pairs of a file's name and its content: a
/// text in TOML, or a signed note (what ends in `.note`, or has signatures).
///
/// Returns every finding, by file in the order given and by line: what
/// [`agreement_faults`](super::agreement_faults) says; types, versions and
/// fields that no schema has; types that are the hub's own; parties that don't
/// take part; signatures that are missing or bad, in notes; two agreements
/// between the same parties for one type whose days overlap, within `files` or
/// with `against.notes`; and, as warnings, what is allowed and rarely meant.
pub fn check(files: &[(String, String)], against: &Against<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut read: Vec<Read> = Vec::new();
    for (file, content) in files {
        let mut check = Check { file, against, found: Vec::new() };
        if let Some((text, agreement)) = check.one(content) {
            check.beside_others(&text, &agreement, &read);
            read.push(Read { file: file.clone(), text, agreement });
        }
        check.found.sort_by_key(|finding| finding.line.unwrap_or(usize::MAX));
        findings.append(&mut check.found);
    }
    findings
}

/// Whether a file of this name and content is read as a signed note.
pub fn is_note(file: &str, content: &str) -> bool {
    file.ends_with(".note") || content.contains("\n\n— ")
}

struct Check<'a> {
    file: &'a str,
    against: &'a Against<'a>,
    found: Vec<Finding>,
}

impl Check<'_> {
    fn find(&mut self, gravity: Gravity, line: Option<usize>, sentence: String) {
        // What names its line already doesn't need it twice.
        let named = line.filter(|line| !sentence.starts_with(&format!("line {line}")));
        let sentence = named.map_or(sentence.clone(), |line| format!("line {line}: {sentence}"));
        self.found.push(Finding { file: self.file.to_owned(), line, gravity, sentence });
    }

    fn fault(&mut self, line: Option<usize>, sentence: String) {
        self.find(Gravity::Fault, line, sentence);
    }

    fn warn(&mut self, line: Option<usize>, sentence: String) {
        self.find(Gravity::Warning, line, sentence);
    }

    /// Checks one file by itself. Returns what is signed and the agreement,
    /// where it reads as one.
    fn one(&mut self, content: &str) -> Option<(String, Agreement)> {
        let mut note = None;
        if is_note(self.file, content) {
            match SignedNote::parse(content) {
                Ok(signed) => note = Some(signed),
                Err(fault) => {
                    self.fault(None, fault.to_string());
                    return None;
                }
            }
        }
        let text = note.as_ref().map_or(content, |note| note.text.as_str());
        if let Some(id) = self.revocation(text, note.as_ref()) {
            self.warn(None, format!("it is a revocation: it ends every version of {id}, also those to come"));
            return None;
        }
        let (agreement, parts, faults) = agreement_and_faults(text);
        for fault in faults {
            self.fault(fault.line(), fault.to_string());
        }
        self.parties(&parts);
        for (part, position) in parts.grants.iter().zip(1..) {
            if let Some(grant) = &part.grant {
                self.grant(grant, part, position);
            }
        }
        let agreement = agreement?;
        if agreement.valid_until < self.against.today {
            self.warn(None, format!("`valid_until`: it ended on {}", agreement.valid_until));
        }
        if let Some(note) = &note {
            self.signatures(&agreement, note);
        }
        Some((text.to_owned(), agreement))
    }

    /// The id that `text` ends, where it is a revocation, whose signatures are
    /// looked at.
    fn revocation(&mut self, text: &str, note: Option<&SignedNote>) -> Option<String> {
        let id = match parse_revocation(text) {
            Ok(id) => id,
            Err(fault) if self.file.ends_with(".revoked.note") => {
                self.fault(None, format!("its name is that of a revocation, and it isn't one: {fault}"));
                return None;
            }
            Err(_) => return None,
        };
        if let (Some(note), Some(directory)) = (note, self.against.directory) {
            match force::revoked_by(note, directory) {
                None => self
                    .fault(None, "a signature isn't of this text: it was changed after signing".to_owned()),
                Some(members) if members.is_empty() => {
                    let sentence = "no member signed it with a published key for agreements".to_owned();
                    self.find(Gravity::Unsigned, None, sentence);
                }
                Some(_) => {}
            }
        }
        Some(id)
    }

    fn parties(&mut self, parts: &Parts) {
        let Some(directory) = self.against.directory else { return };
        for (key, party) in [("provider", &parts.provider), ("recipient", &parts.recipient)] {
            let Some((line, name)) = party else { continue };
            if !directory.contains(name.as_str()) {
                let near = nearest(name.as_str(), directory.members().map(MemberName::as_str), 3);
                let near = if near.is_empty() { "there are none".to_owned() } else { near.join(", ") };
                self.fault(
                    Some(*line),
                    format!("`{key}`: {name} isn't a member; members with like names: {near}"),
                );
            }
        }
    }

    fn grant(&mut self, grant: &Grant, part: &GrantPart, position: usize) {
        let registry = self.against.registry;
        let line = Some(part.line);
        let event_type = grant.event_type.as_str();
        if event_type.starts_with(RESERVED) {
            self.fault(
                line,
                format!("grant {position}: `type`: {event_type} is the hub's own: no member publishes it"),
            );
            return;
        }
        let versions: Vec<u32> =
            (1..).take_while(|version| registry.get(event_type, *version).is_some()).collect();
        if versions.is_empty() {
            let types = registry.types().map(|t| t.as_str()).filter(|t| !t.starts_with(RESERVED));
            let near = nearest(event_type, types, 3).join(", ");
            self.fault(
                line,
                format!("grant {position}: `type`: there is no schema of {event_type}; near it are {near}"),
            );
            return;
        }
        for version in grant.versions.iter().filter(|version| !versions.contains(version)) {
            self.fault(
                line,
                format!(
                    "grant {position}: `versions`: there is no version {version} of {event_type}; there {}",
                    if versions.len() == 1 {
                        "is version 1 only".to_owned()
                    } else {
                        format!("are versions 1 to {}", versions.len())
                    }
                ),
            );
        }
        for (at, path) in grant.fields.iter().enumerate() {
            let line = part.fields.get(at).copied();
            for version in grant.versions.iter().filter(|version| versions.contains(version)) {
                if let Err(sentence) = exists_in(registry, &grant.event_type, *version, path) {
                    self.fault(line, format!("grant {position}: `fields`: {sentence}"));
                }
            }
            if let Some(over) = grant.fields.iter().find(|over| *over != path && is_within(path, over)) {
                self.warn(
                    line,
                    format!("grant {position}: `fields`: {path} is inside {over}, which gives it already"),
                );
            }
        }
        if grant.subject == SubjectMode::Publisher && View::of(grant, registry).is_personal() {
            self.warn(
                line,
                format!(
                    "grant {position}: `subject`: \"publisher\" hands the provider's own number of a person to \
                     the recipient, who can then join its data with whoever else knows that number"
                ),
            );
        }
    }

    fn signatures(&mut self, agreement: &Agreement, note: &SignedNote) {
        let parties = [&agreement.provider, &agreement.recipient];
        let strangers = note.signatures.iter().filter(|s| !parties.iter().any(|p| p.as_str() == s.name));
        for stranger in strangers {
            let name = &stranger.name;
            self.warn(None, format!("the signature of {name} counts for nothing: {name} isn't a party"));
        }
        for party in parties {
            let reason = match self.against.directory {
                Some(directory) => match force::refusal_of(note, party, directory) {
                    Some(reason) => reason,
                    None => continue,
                },
                None if note.signatures.iter().any(|s| s.name == party.as_str()) => {
                    self.warn(
                        None,
                        format!("the signature of {party} wasn't verified: give --members with its keys"),
                    );
                    continue;
                }
                None => NotInForce::Unsigned(party.clone()),
            };
            match reason {
                // Said of the key `provider` or `recipient` already.
                NotInForce::NotAMember(_) => {}
                NotInForce::Unsigned(_) if !note.signatures.iter().any(|s| s.name == party.as_str()) => {
                    self.find(Gravity::Unsigned, None, format!("it isn't signed by {party}"));
                }
                NotInForce::Unsigned(_) => {
                    let sentence = format!(
                        "the signature of {party} is by no key that it has published for agreements: publish \
                         the key in {party}.jwks.json, or sign with a published one"
                    );
                    self.fault(None, sentence);
                }
                reason => self.fault(None, reason.to_string()),
            }
        }
    }

    /// Holds an agreement against those that are there: the earlier ones of the
    /// same command, and the notes of the folder.
    fn beside_others(&mut self, text: &str, agreement: &Agreement, earlier: &[Read]) {
        let others = |notes: &[(String, String)]| -> Vec<Read> {
            let read = notes.iter().filter_map(|(file, note)| {
                let text = SignedNote::parse(note).ok()?.text;
                let agreement = parse_agreement(&text).ok()?;
                Some(Read { file: file.clone(), text, agreement })
            });
            read.collect()
        };
        let in_folder = others(self.against.notes);
        self.ended(agreement);
        let beside = in_folder.iter().map(|other| (other, self.counts(other, &in_folder)));
        let all: Vec<(&Read, bool)> = earlier.iter().map(|other| (other, true)).chain(beside).collect();
        for (other, counts) in all {
            // The same file again, or a copy of it.
            if other.text == text {
                continue;
            }
            let (one, two) = (agreement, &other.agreement);
            let file = &other.file;
            if same_agreement(one, two) {
                if one.version == two.version {
                    self.fault(
                        None,
                        format!(
                            "`version`: {file} has another text with the same id and version: neither would \
                             count; take a higher version"
                        ),
                    );
                } else if counts && one.version < two.version {
                    self.warn(
                        None,
                        format!("`version`: {file} has version {}, which replaces this one", two.version),
                    );
                }
                continue;
            }
            let apart = (&one.provider, &one.recipient) != (&two.provider, &two.recipient)
                || one.valid_from > two.valid_until
                || two.valid_from > one.valid_until;
            if apart || !counts {
                continue;
            }
            for grant in &one.grants {
                if two.grant_of(grant.event_type.as_str()).is_some() {
                    self.fault(
                        None,
                        format!(
                            "`grant`: {} is granted between the same parties by {} ({file}) too, in the same \
                             days: neither would count for it; end one, or grant all in one agreement",
                            grant.event_type,
                            two.reference()
                        ),
                    );
                }
            }
        }
    }

    /// Whether a note of the folder is in another one's way: it is signed, nobody
    /// ended it, and no higher version replaces it.
    fn counts(&self, other: &Read, in_folder: &[Read]) -> bool {
        let replaced = in_folder.iter().any(|higher| {
            same_agreement(&higher.agreement, &other.agreement)
                && higher.agreement.version > other.agreement.version
                && self.is_signed(higher)
        });
        !replaced && self.is_signed(other) && self.revocation_of(&other.agreement).is_none()
    }

    /// Whether both parties signed it: by their keys where these are known, else
    /// by their names.
    fn is_signed(&self, read: &Read) -> bool {
        let note = self.against.notes.iter().find(|(file, _)| *file == read.file);
        let Some(note) = note.and_then(|(_, note)| SignedNote::parse(note).ok()) else { return false };
        match self.against.directory {
            Some(directory) => force::signatures(&read.agreement, &note, directory).complete,
            None => [&read.agreement.provider, &read.agreement.recipient]
                .iter()
                .all(|party| note.signatures.iter().any(|s| s.name == party.as_str())),
        }
    }

    /// The file that revokes `agreement`, and who signed that.
    fn revocation_of(&self, agreement: &Agreement) -> Option<(String, MemberName)> {
        self.against.notes.iter().find_map(|(file, note)| {
            let signed = SignedNote::parse(note).ok()?;
            if parse_revocation(&signed.text).ok()? != agreement.id {
                return None;
            }
            let parties = [&agreement.provider, &agreement.recipient];
            let by = match self.against.directory {
                Some(directory) => {
                    force::revoked_by(&signed, directory)?.into_iter().find(|m| parties.contains(&m))
                }
                None => {
                    let signed =
                        |party: &&MemberName| signed.signatures.iter().any(|s| s.name == party.as_str());
                    parties.into_iter().find(signed).cloned()
                }
            }?;
            Some((file.clone(), by))
        })
    }

    fn ended(&mut self, agreement: &Agreement) {
        if let Some((file, by)) = self.revocation_of(agreement) {
            let id = &agreement.id;
            self.fault(
                None,
                format!("`id`: {by} ended {id} with all its versions, also those to come ({file}); take another id"),
            );
        }
    }
}

/// Whether two texts are versions of one agreement: an id is its parties' own.
fn same_agreement(one: &Agreement, two: &Agreement) -> bool {
    (&one.id, &one.provider, &one.recipient) == (&two.id, &two.provider, &two.recipient)
}

/// The `most` names that are the most like `name`.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    let mut ranked: Vec<(usize, &str)> =
        known.map(|known| (strsim::levenshtein(name, known), known)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(most).map(|(_, known)| known).collect()
}
