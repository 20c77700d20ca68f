//! `pirogue agreement`: agreements as documents, one file per subcommand.

mod check;
mod explain;
mod list;
mod new;
mod register;
mod revoke;
mod sign;

use super::confirm;
use crate::admin::agreements as files;
use crate::agreements::{
    Against, Agreement, Agreements, Lang, is_note, parse_agreement, parse_revocation, today,
};
use crate::config::HubConfig;
use crate::event::MemberName;
use crate::keys::note::SignedNote;
use crate::members::Directory;
use crate::schema::Registry;
use anyhow::{Context, anyhow, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::path::{Path, PathBuf};

/// Write, check, sign, explain, end and list agreements.
///
/// An agreement is a text that two members sign: what one gives to the other,
/// field by field, why, until when, and for how long it is kept. Without one
/// nothing is delivered. Write it with `new`, read it with `explain`, put it
/// right with `check`; each party signs it with `sign`, and the hub's operator
/// puts the note into the folder of agreements and runs `pirogue reload`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  pirogue agreement explain emploi-gouvernement.note",
    arg_required_else_help = true
)]
pub(super) struct AgreementCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    New(new::NewCommand),
    Sign(sign::SignCommand),
    Check(check::CheckCommand),
    Revoke(revoke::RevokeCommand),
    List(list::ListCommand),
    Explain(explain::ExplainCommand),
    Register(register::RegisterCommand),
}

impl AgreementCommand {
    /// Runs the command; its answer goes to standard output.
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::New(command) => command.run(),
            What::Sign(command) => command.run(),
            What::Check(command) => command.run(),
            What::Revoke(command) => command.run(),
            What::List(command) => command.run(),
            What::Explain(command) => command.run(),
            What::Register(command) => command.run(),
        }
    }
}

/// What a text is held against.
#[derive(Clone, Debug, Default, clap::Args)]
struct Surroundings {
    /// A hub's configuration: its members, schemas and agreements count.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the members' public keys, MEMBER.jwks.json for each.
    #[arg(long, value_name = "DIR")]
    members: Option<PathBuf>,
    /// A folder of schemas beside those that the program has.
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
    /// A folder of signed agreements that are there already.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
}

/// What [`Surroundings`] names, read.
struct Known {
    registry: Registry,
    directory: Option<Directory>,
    notes: Vec<(String, String)>,
}

impl Surroundings {
    fn read(&self) -> anyhow::Result<Known> {
        let config = self.config.as_deref().map(HubConfig::load).transpose()?;
        let of_config = config.as_ref();
        let members = self.members.as_ref().or(of_config.map(|c| &c.members));
        let schemas = self.schemas.as_ref().or(of_config.and_then(|c| c.schemas.as_ref()));
        let against = self.against.as_ref().or(of_config.map(|c| &c.agreements));
        Ok(Known {
            registry: registry(schemas.map(PathBuf::as_path))?,
            directory: members.map(|folder| Directory::load(folder)).transpose()?,
            notes: against.map(|folder| files::notes(folder)).transpose()?.unwrap_or_default(),
        })
    }
}

impl Known {
    fn against(&self) -> Against<'_> {
        Against {
            registry: &self.registry,
            directory: self.directory.as_ref(),
            notes: &self.notes,
            today: today(),
        }
    }
}

/// The schemas that the program has, and those of `folder`.
fn registry(folder: Option<&Path>) -> anyhow::Result<Registry> {
    Ok(match folder {
        Some(folder) => Registry::load(folder)?,
        None => Registry::embedded()?,
    })
}

/// The agreements of a hub, held to the schemas that it has, and these.
fn of_hub(config: &HubConfig) -> anyhow::Result<(Agreements, Registry)> {
    let directory = Directory::load(&config.members)?;
    let registry = registry(config.schemas.as_deref())?;
    let agreements = Agreements::load(&config.agreements, &directory).map_err(files::FileFault::from)?;
    let agreements = agreements.fit_to(&registry);
    Ok((agreements, registry))
}

/// The text of an agreement or a revocation, with the names in its signatures.
struct Document {
    text: String,
    signers: Vec<String>,
}

impl Document {
    fn read(path: &Path) -> anyhow::Result<Document> {
        let content = files::read(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !is_note(&name, &content) {
            return Ok(Document { text: content, signers: Vec::new() });
        }
        let note = SignedNote::parse(&content).with_context(|| path.display().to_string())?;
        let mut signers: Vec<String> = note.signatures.into_iter().map(|signature| signature.name).collect();
        signers.dedup();
        Ok(Document { text: note.text, signers })
    }

    /// The agreement that it is; `path` is its file, for the fault.
    fn agreement(&self, path: &Path) -> anyhow::Result<Agreement> {
        parse_agreement(&self.text).map_err(|fault| {
            let shown = path.display();
            match parse_revocation(&self.text) {
                Ok(id) => anyhow!("{shown} is the revocation of {id}, not an agreement"),
                Err(_) => anyhow!("{shown}: {fault}; pirogue agreement check {shown} names every fault"),
            }
        })
    }
}

/// Reads a language on the command line.
fn lang() -> impl TypedValueParser<Value = Lang> {
    PossibleValuesParser::new(Lang::ALL.map(Lang::as_str))
        .try_map(|code| Lang::parse(&code).ok_or("fr or en"))
}

/// Reads a member's name on the command line.
fn member(text: &str) -> Result<MemberName, String> {
    MemberName::parse(text).map_err(|fault| fault.to_string())
}

/// Reads a day on the command line.
fn day(text: &str) -> Result<jiff::civil::Date, String> {
    text.parse().map_err(|_| "a day of the form 2026-01-01".to_owned())
}

/// Goes on only where a person agrees: by `yes`, or at the terminal.
fn confirm(yes: bool, question: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !confirm::is_possible() {
        bail!("{question} There is no terminal to answer on: read what is printed above, then give --yes");
    }
    confirm::ask(question, "nothing was signed")
}

/// Prints lines on standard error: what was done, and what to do next.
fn tell(text: &str) {
    // Standard error is gone: there is nobody to tell.
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{text}\n"));
}
