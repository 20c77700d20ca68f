//! `pirogue journal audit`.

use super::super::render::{count, plain, print, short_time, table, time};
use super::place;
use crate::agreements;
use crate::event::MemberName;
use crate::journal::{Check, Entry, LogKey, hex};
use anyhow::Context;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Show a member what the hub has said about its keys and its agreements.
///
/// The whole journal is checked first, as `pirogue journal verify` does. Then
/// each change of the member's keys is listed in order, those of the hub's own
/// keys, and each agreement that came into force or ended. A key or an agreement
/// in this list that the member didn't make is what to look for.
///
/// The journal names an agreement by its ID:VERSION, its parties, and the SHA-256
/// of the text that both signed. With --agreements, a folder of the member's own
/// copies, one that the member has otherwise, or has no copy of, is pointed out.
///
/// The exit status is 1 where the journal is wrong, or says of an agreement what
/// the member's copies don't.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pirogue journal audit https://hub.example/log --member province-sud --hub-key 'nc+1a2b3c4d+AX…'")]
pub struct AuditCommand {
    /// Where the journal is: its folder, a hub's data folder, or its URL.
    #[arg(value_name = "DIR|URL", required_unless_present = "data")]
    place: Option<String>,
    /// A hub's data folder, instead.
    #[arg(long, value_name = "DIR", conflicts_with = "place")]
    data: Option<PathBuf>,
    /// The member.
    #[arg(long, value_name = "NAME", value_parser = member)]
    member: MemberName,
    /// The key of the hub's checkpoints, NAME+ID+BASE64, as it was given by hand.
    #[arg(long, value_name = "VKEY", value_parser = place::hub_key)]
    hub_key: LogKey,
    /// A folder of the agreements that the member signed, as it keeps them.
    #[arg(long, value_name = "DIR")]
    agreements: Option<PathBuf>,
    #[command(flatten)]
    token: place::Token,
}

fn member(text: &str) -> Result<MemberName, String> {
    MemberName::parse(text).map_err(|_| "a member's name is of a to z, 0 to 9 and -".to_owned())
}

impl AuditCommand {
    /// Checks the journal and shows what concerns the member.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let place = match (&self.place, &self.data) {
            (Some(place), _) => place.clone(),
            (None, data) => data.clone().unwrap_or_default().to_string_lossy().into_owned(),
        };
        let runtime = place::runtime()?;
        let source = place::log(&place, Some(&self.token), &runtime)?;
        let checkpoint = place::checkpoint(&*source, &place, &self.hub_key)?;
        let copies = self.agreements.as_deref().map(|folder| copies(folder, &self.member)).transpose()?;
        let mut check = Check::begin(source, checkpoint.head(), None)?;
        let bar = place::bar(checkpoint.head().size);
        let member = self.member.as_str().to_owned();
        let select = move |index, bytes: &[u8]| match Entry::decode(bytes) {
            Ok(entry @ Entry::Key { .. }) => {
                let Entry::Key { owner, .. } = &entry else { return None };
                (*owner == member || owner == "hub").then(|| (index, entry.clone()))
            }
            Ok(entry @ Entry::Agreement { .. }) => {
                let Entry::Agreement { provider, recipient, .. } = &entry else { return None };
                [provider, recipient].contains(&&member).then(|| (index, entry.clone()))
            }
            _ => None,
        };
        let mut said = Vec::new();
        let checked = runtime.block_on(async {
            while let Some(more) = check.step(select.clone()).await? {
                said.extend(more);
                bar.set_position(check.done());
            }
            anyhow::Ok(())
        });
        bar.finish_and_clear();
        checked?;
        let (text, others) = tell(&self.member, checkpoint.head().size, &said, copies.as_ref());
        print(&text)?;
        if others { Err(super::super::Printed.into()) } else { Ok(()) }
    }
}

/// An agreement: `ID:VERSION`, its provider, its recipient.
type Named = (String, String, String);

/// The digests of the member's own copies of each agreement. It may have kept more
/// than one: the draft, the note with one signature and with two.
type Copies = BTreeMap<Named, Vec<[u8; 32]>>;

fn copies(folder: &Path, member: &MemberName) -> anyhow::Result<Copies> {
    let unreadable = || format!("the agreements in {} can't be read", folder.display());
    let mut copies = Copies::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        // With its signatures or, as a draft, without.
        let read = agreements::read_note(&text).or_else(|| agreements::parse_agreement(&text).ok());
        let Some(agreement) = read else { continue };
        if agreement.provider == *member || agreement.recipient == *member {
            let parties = (agreement.provider.to_string(), agreement.recipient.to_string());
            let named = (agreement.reference(), parties.0, parties.1);
            copies.entry(named).or_default().push(agreement.digest());
        }
    }
    Ok(copies)
}

/// What the journal says, and whether it says of an agreement what the member's
/// copies don't.
fn tell(member: &MemberName, size: u64, said: &[(u64, Entry)], copies: Option<&Copies>) -> (String, bool) {
    let mut keys = table(&["entry", "when", "whose", "use", "key", "what holds"]);
    let mut agreed = table(&["entry", "when", "agreement", "provider", "recipient", "what holds", "text"]);
    let (mut of_member, mut others) = (0, false);
    let mut unsaid: BTreeSet<&Named> = copies.into_iter().flat_map(BTreeMap::keys).collect();
    for (index, entry) in said {
        match entry {
            Entry::Key { at, owner, kid, key_use, change, validity } => {
                of_member += u64::from(owner == member.as_str());
                keys.add_row([
                    index.to_string(),
                    short_time(*at),
                    plain(owner),
                    plain(key_use),
                    plain(kid),
                    standing(change, *validity),
                ]);
            }
            Entry::Agreement { at, reference, provider, recipient, digest, in_force } => {
                let named = (reference.clone(), provider.clone(), recipient.clone());
                unsaid.remove(&named);
                let text = match copies.map(|copies| copies.get(&named)) {
                    None => format!("SHA-256 {}…", hex(&digest[..8])),
                    Some(Some(copies)) if copies.contains(digest) => "as your copy".to_owned(),
                    Some(copy) => {
                        others = true;
                        if copy.is_some() { "NOT as your copy" } else { "you have NO copy" }.to_owned()
                    }
                };
                agreed.add_row([
                    index.to_string(),
                    short_time(*at),
                    plain(reference),
                    plain(provider),
                    plain(recipient),
                    if *in_force { "in force" } else { "ended" }.to_owned(),
                    text,
                ]);
            }
            _ => {}
        }
    }
    let mut text = format!("The journal is whole, {}.\n\n", count(size, "entry"));
    if of_member == 0 {
        text += &format!("It says nothing of keys of {member}: is that its name?\n");
    }
    if keys.row_count() > 0 {
        text += &format!("Keys of {member}, and of the hub:\n{keys}\n");
    }
    if agreed.row_count() > 0 {
        text += &format!("\nAgreements of {member}:\n{agreed}\n");
    } else {
        text += &format!("\nAgreements of {member}: none came into force.\n");
    }
    for (reference, provider, recipient) in unsaid {
        text += &format!(
            "\nYou have a copy of {reference} ({provider} to {recipient}), which never came into force.\n"
        );
    }
    (text, others)
}

fn standing(change: &str, [from, until, revoked]: [i64; 3]) -> String {
    let mut standing = plain(change);
    for (word, seconds) in [("valid from", from), ("until", until), ("revoked since", revoked)] {
        if seconds != 0 {
            standing += &format!(", {word} {}", time(seconds.saturating_mul(1000)));
        }
    }
    standing
}
