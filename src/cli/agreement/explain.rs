//! `pirogue agreement explain`.

use super::{Document, lang, registry};
use crate::agreements::{
    Lang, explain, explain_changes, explain_revocation, explain_signatures, parse_revocation,
};
use crate::cli::render::print;
use std::path::PathBuf;

/// Say in plain French or English what an agreement gives to whom, and why.
///
/// What is given and what is withheld, field by field, under which identifier,
/// for which purpose, on what legal basis, until when, and for how long it is
/// kept. With --diff, what this version changes of another one instead.
/// Signatures are named and not verified: that is `pirogue agreement check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pirogue agreement explain emploi-gouvernement.note
  pirogue agreement explain emploi-gouvernement-2.toml --diff emploi-gouvernement.note --lang en")]
pub(super) struct ExplainCommand {
    /// The text (TOML) or signed note.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The language: fr or en.
    #[arg(long, value_name = "LANG", default_value = "fr", value_parser = lang())]
    lang: Lang,
    /// Say what changes from this older version.
    #[arg(long, value_name = "OLD")]
    diff: Option<PathBuf>,
    /// A folder of schemas beside those that the program has.
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
}

impl ExplainCommand {
    /// Prints the explanation.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let registry = registry(self.schemas.as_deref())?;
        let document = Document::read(&self.file)?;
        let signatures = explain_signatures(&document.signers, self.lang);
        if let (Ok(id), None) = (parse_revocation(&document.text), &self.diff) {
            return print(&format!("{}\n{signatures}", explain_revocation(&id, self.lang)));
        }
        let agreement = document.agreement(&self.file)?;
        match &self.diff {
            Some(old) => {
                let old = Document::read(old)?.agreement(old)?;
                print(&explain_changes(&old, &agreement, &registry, self.lang))
            }
            None => print(&format!("{}\n{signatures}", explain(&agreement, &registry, self.lang))),
        }
    }
}
