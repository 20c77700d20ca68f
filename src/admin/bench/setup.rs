//! Who takes part in a benchmark, and the folder of its hub.

use super::BenchFault;
use crate::admin::prepare::{self, MemberKeys};
use crate::event::MemberName;
use crate::keys::PrivateKey;
use std::path::{Path, PathBuf};

/// The hub's name.
pub(super) const HUB: &str = "bench";
/// How many members there are.
pub(super) const MEMBERS: usize = 60;
/// How many of them publish.
pub(super) const SOURCES: usize = 3;
/// How many types of events are published by each.
pub(super) const TYPES: usize = 4;
/// How many recipients each event can have at most: each member receives the
/// events of one type of one source.
pub(super) const MOST_RECIPIENTS: usize = MEMBERS / SOURCES / TYPES;
/// The types, and at the end one of which nobody publishes events.
const TYPE_NAMES: [&str; TYPES + 1] =
    ["nc.bench.first", "nc.bench.second", "nc.bench.third", "nc.bench.fourth", "nc.bench.silent"];
/// Every type has a schema of this form.
const SCHEMA: &str = include_str!("schema.avsc");
/// The environment variable that gives the hub its password.
pub(super) const PASSWORD: &str = "PIROGUE_BENCH_PASSWORD";

/// What events of one type from one source are: a number below [`SOURCES`] ×
/// [`TYPES`].
#[derive(Clone, Copy)]
pub(super) struct Class(usize);

impl Class {
    /// The class of the `nth` event: they take turns.
    pub(super) fn of(nth: usize) -> Class {
        Class(nth % (SOURCES * TYPES))
    }

    /// Every class.
    pub(super) fn all() -> impl Iterator<Item = Class> {
        (0..SOURCES * TYPES).map(Class)
    }

    /// Which of the sources publishes it.
    pub(super) fn source(self) -> usize {
        self.0 % SOURCES
    }

    /// The event type.
    pub(super) fn event_type(self) -> &'static str {
        TYPE_NAMES[self.0 / SOURCES]
    }

    /// The members that can receive it, as numbers: no two classes share one.
    pub(super) fn receivers(self) -> std::ops::Range<usize> {
        let first = (self.source() * TYPES + self.0 / SOURCES) * MOST_RECIPIENTS;
        first..first + MOST_RECIPIENTS
    }

    /// The member that publishes it, as a number: never one that receives it.
    fn provider(self) -> usize {
        provider(self.source())
    }
}

/// The member that is the `source`th source, as a number. It receives what
/// another source publishes.
fn provider(source: usize) -> usize {
    (source + 1) % SOURCES * (MEMBERS / SOURCES)
}

/// The members and the folder of their hub.
pub(super) struct Site {
    folder: PathBuf,
    members: Vec<(MemberName, MemberKeys)>,
}

impl Site {
    /// Makes members with new keys, and prepares the folder of a hub for them:
    /// its keys, their public keys, the schemas.
    pub(super) fn prepare(folder: &Path) -> Result<Site, BenchFault> {
        prepare::hub(folder)?;
        let mut members = Vec::new();
        for nth in 0..MEMBERS {
            let name = MemberName::parse(&format!("bench-{:02}", nth + 1)).map_err(|_| BenchFault::Own)?;
            let generate = || PrivateKey::generate().map_err(prepare::PrepareFault::Key);
            let keys = MemberKeys { event: generate()?, agreement: generate()? };
            prepare::write(&folder.join(format!("members/{name}.jwks.json")), &keys.public(&name).to_json())?;
            members.push((name, keys));
        }
        for name in TYPE_NAMES {
            let path = folder.join("schemas").join(name).join("1.avsc");
            prepare::write(&path, &SCHEMA.replace("TYPE", name))?;
        }
        Ok(Site { folder: folder.to_owned(), members })
    }

    /// The members.
    pub(super) fn members(&self) -> impl Iterator<Item = &MemberName> {
        self.members.iter().map(|(name, _)| name)
    }

    /// The name of a member by its number.
    pub(super) fn member(&self, nth: usize) -> &MemberName {
        &self.members[nth].0
    }

    /// The source that publishes `class`, and its key.
    pub(super) fn publisher(&self, class: Class) -> (&MemberName, &PrivateKey) {
        let (name, keys) = &self.members[class.provider()];
        (name, &keys.event)
    }

    /// The folder of the schemas.
    pub(super) fn schemas(&self) -> PathBuf {
        self.folder.join("schemas")
    }

    /// Writes agreements by which each event has `recipients` recipients. Every
    /// member has one in force; those that are to receive nothing are granted a
    /// type that nobody publishes.
    pub(super) fn agree(&self, recipients: usize) -> Result<(), BenchFault> {
        for class in Class::all() {
            let (provider, provider_keys) = &self.members[class.provider()];
            for (nth, receiver) in class.receivers().enumerate() {
                let (recipient, keys) = &self.members[receiver];
                let granted = if nth < recipients { class.event_type() } else { TYPE_NAMES[TYPES] };
                let text = format!(
                    "id = \"{recipient}\"\nversion = 1\ntitle = \"Mesure\"\nprovider = \"{provider}\"\n\
                     recipient = \"{recipient}\"\npurpose = \"Mesure\"\nlegal_basis = \"public-interest\"\n\
                     retention_months = 1\nvalid_from = 2020-01-01\nvalid_until = 2099-12-31\n\n\
                     [[grant]]\ntype = \"{granted}\"\nversions = [1]\nsubject = \"pseudonym\"\n\
                     fields = [\"reference\", \"person.family_name\", \"person.given_names\", \
                     \"person.birthdate\", \"status\"]\n"
                );
                let note = self.folder.join(format!("agreements/{recipient}.note"));
                let signers = [(provider, &provider_keys.agreement), (recipient, &keys.agreement)];
                prepare::agreement(&note, &text, signers[0], signers[1])?;
            }
        }
        Ok(())
    }

    /// Writes the hub's configuration: RabbitMQ at `url`, HTTP on `port`.
    pub(super) fn configure(&self, url: &str, ca: Option<&Path>, port: u16) -> Result<PathBuf, BenchFault> {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let ca = match ca {
            Some(ca) => format!("ca = {}\n", quoted(&ca.to_string_lossy())),
            None => String::new(),
        };
        let text = format!(
            "name = \"{HUB}\"\ndata = \"data\"\nbus = {}\nschemas = \"schemas\"\n\
             [broker]\npassword = {{ env = \"{PASSWORD}\" }}\n{ca}\
             [http]\nlisten = \"127.0.0.1:{port}\"\n[log]\nlevel = \"warn\"\n",
            quoted(url)
        );
        let path = self.folder.join("hub.toml");
        prepare::write(&path, &text)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreements::Agreements;
    use crate::members::Directory;
    use crate::schema::Registry;
    use std::collections::BTreeSet;

    #[test]
    fn every_member_receives_one_class_and_none_its_own() {
        let received: Vec<usize> = Class::all().flat_map(Class::receivers).collect();
        assert_eq!(received.iter().collect::<BTreeSet<_>>().len(), MEMBERS);
        assert_eq!(received.len(), MEMBERS);
        for class in Class::all() {
            assert!(!class.receivers().contains(&class.provider()));
        }
        let providers: BTreeSet<_> = (0..SOURCES).map(provider).collect();
        assert_eq!(providers.len(), SOURCES);
    }

    #[test]
    fn each_event_has_as_many_recipients_as_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::prepare(folder.path()).unwrap();
        let directory = Directory::load(&folder.path().join("members")).unwrap();
        let registry = Registry::load(&site.schemas()).unwrap();
        for recipients in [1, MOST_RECIPIENTS] {
            site.agree(recipients).unwrap();
            let agreements = Agreements::load(&folder.path().join("agreements"), &directory).unwrap();
            let today = crate::agreements::today();
            assert_eq!(agreements.all(today).filter(|(_, status)| status.is_in_force()).count(), MEMBERS);
            for class in Class::all() {
                let (provider, _) = site.publisher(class);
                assert!(registry.get(class.event_type(), 1).is_some());
                let granted = site.members().filter(|member| {
                    let (provider, recipient) = (provider.as_str(), member.as_str());
                    agreements.grant(provider, recipient, class.event_type(), 1, today).is_some()
                });
                assert_eq!(granted.count(), recipients);
            }
        }
    }
}
