//! `pirogue agreement revoke`.

use super::{confirm, lang, member, tell};
use crate::admin::agreements as files;
use crate::agreements::{Lang, explain_revocation, sign_text};
use crate::cli::keys::open_private;
use crate::cli::render::print;
use crate::event::MemberName;
use std::path::PathBuf;

/// Sign the end of an agreement: all its versions, at once and for good.
///
/// Either party can do so alone. The note that this writes counts from the
/// moment when it lies in the hub's folder of agreements and the hub has read it
/// (pirogue reload). To exchange again takes an agreement with another id.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pirogue agreement revoke emploi-gouvernement --as province-sud --key agreement.pem")]
pub(super) struct RevokeCommand {
    /// The agreement's id.
    #[arg(value_name = "ID", value_parser = member)]
    id: MemberName,
    /// The member who signs, a party of the agreement.
    #[arg(long = "as", value_name = "MEMBER", value_parser = member)]
    signer: MemberName,
    /// The member's private key for agreements.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Take the passphrase of an encrypted key from the first line of this file.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Where to write the note, ID.MEMBER.revoked.note unless it is given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The language in which it is shown: fr or en.
    #[arg(long, value_name = "LANG", default_value = "fr", value_parser = lang())]
    lang: Lang,
    /// Sign without asking.
    #[arg(long)]
    yes: bool,
}

impl RevokeCommand {
    /// Asks, signs and writes the revocation.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (key, _) = open_private(&self.key, self.passphrase_file.as_deref())?;
        let text = format!("revoke = \"{}\"\n", self.id);
        let note = sign_text(&text, &[(&self.signer, &key)])?;
        print(&explain_revocation(self.id.as_str(), self.lang))?;
        confirm(self.yes, &format!("End {} as {}?", self.id, self.signer))?;
        let name = || PathBuf::from(format!("{}.{}.revoked.note", self.id, self.signer));
        let out = self.out.clone().unwrap_or_else(name);
        files::write_new(&out, &note)?;
        tell(&format!(
            "The revocation is in {}. It counts once it is in the hub's folder of agreements: pirogue reload",
            out.display()
        ));
        Ok(())
    }
}
