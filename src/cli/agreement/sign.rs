//! `pirogue agreement sign`.

use super::{Document, Surroundings, confirm, lang, member, tell};
use crate::admin::agreements as files;
use crate::agreements::{Lang, explain_in_short, is_note, sign_checked};
use crate::cli::keys::open_private;
use crate::cli::render::print;
use crate::event::MemberName;
use std::path::PathBuf;

/// Sign an agreement as one of its parties.
///
/// The first party signs the text, which makes the note; the second one signs
/// the note. What is signed is shown in short before, and only signed with
/// --yes or an answer at the terminal. A text that the check refuses isn't
/// signed, nor a note whose other signature can't be verified: that takes
/// --members, a folder with the other party's published keys. Where the
/// signer's own keys are there too, the key has to be among them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pirogue agreement sign emploi-gouvernement.toml --as province-sud --key agreement.pem
  pirogue agreement sign emploi-gouvernement.note --as gouvernement --key agreement.pem --members members")]
pub(super) struct SignCommand {
    /// The text (TOML), or the note that the other party signed.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The member who signs.
    #[arg(long = "as", value_name = "MEMBER", value_parser = member)]
    signer: MemberName,
    /// The member's private key for agreements.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Take the passphrase of an encrypted key from the first line of this file.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Where to write the note. A text's goes beside it, a note is replaced.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    surroundings: Surroundings,
    /// The language in which it is shown: fr or en.
    #[arg(long, value_name = "LANG", default_value = "fr", value_parser = lang())]
    lang: Lang,
    /// Sign without asking.
    #[arg(long)]
    yes: bool,
}

impl SignCommand {
    /// Shows what is signed, asks, signs and writes.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let known = self.surroundings.read()?;
        let content = files::read(&self.file)?;
        let name = self.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (key, _) = open_private(&self.key, self.passphrase_file.as_deref())?;
        // What can't be signed isn't asked about.
        let note = sign_checked(&name, &content, &self.signer, &key, &known.against())?;
        let document = Document::read(&self.file)?;
        let agreement = document.agreement(&self.file)?;
        print(&explain_in_short(&agreement, &known.registry, self.lang))?;
        confirm(self.yes, &format!("Sign {} as {}?", agreement.reference(), self.signer))?;
        let out = match (&self.out, is_note(&name, &content)) {
            (Some(out), _) => {
                files::write_new(out, &note)?;
                out.clone()
            }
            (None, true) => {
                files::replace(&self.file, &note)?;
                self.file.clone()
            }
            (None, false) => {
                let out = self.file.with_extension("note");
                files::write_new(&out, &note)?;
                out
            }
        };
        let shown = out.display();
        let other = [&agreement.provider, &agreement.recipient].into_iter().find(|party| {
            **party != self.signer && !document.signers.iter().any(|signer| signer == party.as_str())
        });
        tell(&match other {
            Some(other) => {
                format!("{} signed {shown}. Now {other} signs it: pirogue agreement sign", self.signer)
            }
            None => format!(
                "{} signed {shown}. Both parties have: it goes into the hub's folder of agreements, then pirogue \
                 reload",
                self.signer
            ),
        });
        Ok(())
    }
}
