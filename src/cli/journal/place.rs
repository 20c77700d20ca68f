//! What the commands about a journal have in common: where it is, its key, what
//! an entry says in words.

use super::super::render::{plain, time};
use crate::journal::tile::{CHECKPOINT, Folder, TileSource};
use crate::journal::{Entry, LogKey, SignedCheckpoint, hex};
use crate::ops::log::RemoteLog;
use anyhow::{Context, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use zeroize::Zeroizing;

/// The largest checkpoint or proof that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Reads the key that was given by hand.
pub(super) fn hub_key(text: &str) -> Result<LogKey, String> {
    text.parse()
        .map_err(|fault| format!("{fault}; it is one line NAME+ID+BASE64, as the hub's operator gave it"))
}

/// What fetches and computes.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

/// Whose token is sent for entries over HTTP.
#[derive(Debug, clap::Args)]
pub(super) struct Token {
    /// Over HTTP: a file that holds the token which the hub's operator gave to read
    /// entries.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Token {
    fn read(&self) -> anyhow::Result<Option<Zeroizing<String>>> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let token = Zeroizing::new(read(file)?);
        Ok(Some(Zeroizing::new(token.trim().to_owned())))
    }
}

/// The log at a URL, in a folder, or in the folder `journal` of a hub's data.
pub(super) fn log(
    place: &str,
    token: Option<&Token>,
    runtime: &Runtime,
) -> anyhow::Result<Arc<dyn TileSource>> {
    if place.starts_with("http://") || place.starts_with("https://") {
        let token = token.map(Token::read).transpose()?.flatten();
        let token = token.as_ref().map(|token| token.as_str());
        return Ok(Arc::new(RemoteLog::new(place, token, runtime.handle().clone())?));
    }
    let folder = Path::new(place);
    let below = folder.join("journal");
    let is_data = !folder.join(CHECKPOINT).exists() && below.join(CHECKPOINT).exists();
    Ok(Arc::new(Folder(if is_data { below } else { folder.to_owned() })))
}

/// The log's checkpoint, its signature verified.
pub(super) fn checkpoint(
    source: &dyn TileSource,
    place: &str,
    key: &LogKey,
) -> anyhow::Result<SignedCheckpoint> {
    let bytes = source.get(CHECKPOINT)?.ok_or_else(|| {
        anyhow!("{place} has no file `checkpoint`: is it the folder or the address of a journal, with at least one entry?")
    })?;
    let text = String::from_utf8(bytes).map_err(|_| anyhow!("the checkpoint of {place} isn't text"))?;
    Ok(SignedCheckpoint::open(&text, key)?)
}

/// The text of a small file.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    let unreadable = || format!("{} can't be read", path.display());
    if std::fs::metadata(path).with_context(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(anyhow!("{} is over a mebibyte: it isn't what is asked for", path.display()));
    }
    std::fs::read_to_string(path).with_context(unreadable)
}

/// A bar on standard error, where that is a terminal.
pub(super) fn bar(entries: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} entries, {per_sec}, {eta} left");
    ProgressBar::new(entries).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// What an entry says, in words.
pub(super) fn says(entry: &Entry) -> String {
    let under = |agreement: &str| match agreement {
        "" => "as a message of the hub's own, under no agreement".to_owned(),
        agreement => format!("under the agreement {}", plain(agreement)),
    };
    match entry {
        Entry::Event { at, publisher, event_type, version, kid, .. } => {
            let signed =
                if kid.is_empty() { String::new() } else { format!(", signed with the key {}", plain(kid)) };
            format!(
                "on {}, the hub took in an event of {}: a {}, version {version}{signed}",
                time(*at),
                plain(publisher),
                plain(event_type)
            )
        }
        Entry::Delivered { at, recipient, epoch, sequence, agreement, .. } => format!(
            "on {}, the hub decided to deliver a message to {}, number {sequence} of epoch {epoch}, {}",
            time(*at),
            plain(recipient),
            under(agreement)
        ),
        Entry::Withheld { at, recipient, agreement, .. } => format!(
            "on {}, the hub withheld an event from {}, since the agreement {} was no longer in force",
            time(*at),
            plain(recipient),
            plain(agreement)
        ),
        Entry::Key { at, owner, kid, key_use, change, validity: [from, until, revoked] } => {
            let mut said = format!(
                "on {}, the hub went by this from then on: the {} key {} of {} was {}",
                time(*at),
                plain(key_use),
                plain(kid),
                plain(owner),
                plain(change)
            );
            for (word, seconds) in [("valid from", from), ("valid until", until), ("revoked since", revoked)]
            {
                if *seconds != 0 {
                    said += &format!(", {word} {}", time(seconds.saturating_mul(1000)));
                }
            }
            said
        }
        Entry::Agreement { at, reference, provider, recipient, digest, in_force } => format!(
            "on {}, the agreement {} of {} for {} {}; the SHA-256 of the text that both signed is {}",
            time(*at),
            plain(reference),
            plain(provider),
            plain(recipient),
            if *in_force { "came into force" } else { "ended" },
            hex(digest)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_entry_says_reads_well() {
        let at = 1_793_675_112_345;
        let said = [
            Entry::Event {
                at,
                name: [0; 32],
                publisher: "province-sud".into(),
                event_type: "nc.employment.jobseeker.registered".into(),
                version: 1,
                kid: "kPrK".into(),
            },
            Entry::Delivered {
                at,
                name: [0; 32],
                event: [0; 32],
                recipient: "gouvernement".into(),
                epoch: 1,
                sequence: 7,
                agreement: "emploi:1".into(),
            },
            Entry::Withheld { at, event: [0; 32], recipient: "cafat".into(), agreement: "emploi:1".into() },
            Entry::Key {
                at,
                owner: "hub".into(),
                kid: "kPrK".into(),
                key_use: "delivery".into(),
                change: "changed".into(),
                validity: [0, 0, at / 1000],
            },
            Entry::Agreement {
                at,
                reference: "emploi:1".into(),
                provider: "province-sud".into(),
                recipient: "cafat".into(),
                digest: [0xab; 32],
                in_force: false,
            },
        ]
        .map(|entry| says(&entry))
        .join("\n");
        insta::assert_snapshot!(said, @r"
        on 3 November 2026 at 14:05:12, the hub took in an event of province-sud: a nc.employment.jobseeker.registered, version 1, signed with the key kPrK
        on 3 November 2026 at 14:05:12, the hub decided to deliver a message to gouvernement, number 7 of epoch 1, under the agreement emploi:1
        on 3 November 2026 at 14:05:12, the hub withheld an event from cafat, since the agreement emploi:1 was no longer in force
        on 3 November 2026 at 14:05:12, the hub went by this from then on: the delivery key kPrK of hub was changed, revoked since 3 November 2026 at 14:05:12
        on 3 November 2026 at 14:05:12, the agreement emploi:1 of province-sud for cafat ended; the SHA-256 of the text that both signed is abababababababababababababababababababababababababababababababab
        ");
    }

    #[test]
    fn a_key_that_is_none_is_refused_with_its_form() {
        assert!(hub_key("nc").unwrap_err().contains("NAME+ID+BASE64"));
    }
}
