//! `pirogue agreement new`.

use super::{Document, day, member, registry, tell};
use crate::admin::agreements as files;
use crate::agreements::{Blank, LegalBasis, SubjectMode, next_version, template, today};
use crate::cli::render::print;
use crate::event::{EventType, MemberName};
use anyhow::anyhow;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::civil::Date;
use jiff::{Span, ToSpan};
use std::path::PathBuf;

/// Write the text of a new agreement, or of the next version of one.
///
/// Each key is explained in French and in English, and every field of the event
/// type is listed with its label; nothing is granted but what --fields names or
/// what is chosen in the text afterwards. What isn't given here (title, purpose,
/// legal basis) is left empty: `pirogue agreement check` names it until it is
/// there. With --from the text is that of an agreement with its version one
/// higher, to be changed and signed anew.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pirogue agreement new --id emploi-gouvernement --provider province-sud --recipient gouvernement \\
    --type nc.employment.jobseeker.registered --out emploi-gouvernement.toml
  pirogue agreement new --from emploi-gouvernement.note --out emploi-gouvernement-2.toml")]
pub(super) struct NewCommand {
    /// Its id, the same in all its versions.
    #[arg(long, value_name = "ID", value_parser = member, required_unless_present = "from")]
    id: Option<MemberName>,
    /// The member who gives.
    #[arg(long, value_name = "MEMBER", value_parser = member, required_unless_present = "from")]
    provider: Option<MemberName>,
    /// The member who receives.
    #[arg(long, value_name = "MEMBER", value_parser = member, required_unless_present = "from")]
    recipient: Option<MemberName>,
    /// The event type, once or several times.
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type, required_unless_present = "from")]
    types: Vec<EventType>,
    /// The fields to give, with commas between, or *.
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    fields: Vec<String>,
    /// What people call it.
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// What the recipient needs the data for.
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    /// The legal basis.
    #[arg(long, value_name = "BASIS", value_parser = basis())]
    legal_basis: Option<LegalBasis>,
    /// The text of law or decision.
    #[arg(long, value_name = "TEXT")]
    legal_reference: Option<String>,
    /// For how many months the recipient keeps the data.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=36))]
    retention_months: u32,
    /// The first day, today unless it is given.
    #[arg(long, value_name = "DAY", value_parser = day)]
    valid_from: Option<Date>,
    /// The last day, three years later unless it is given.
    #[arg(long, value_name = "DAY", value_parser = day)]
    valid_until: Option<Date>,
    /// Under which identifier the recipient knows the person.
    #[arg(long, value_name = "MODE", default_value = "pseudonym", value_parser = subject())]
    subject: SubjectMode,
    /// An agreement, signed or not, whose next version it is.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "id", "provider", "recipient", "types", "fields", "title", "purpose", "legal_basis",
            "legal_reference", "retention_months", "valid_from", "valid_until", "subject", "schemas"
        ]
    )]
    from: Option<PathBuf>,
    /// A folder of schemas beside those that the program has.
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
    /// Where to write the text: a new file. Without it, it is printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn event_type(text: &str) -> Result<EventType, String> {
    EventType::parse(text).map_err(|fault| fault.to_string())
}

fn basis() -> impl TypedValueParser<Value = LegalBasis> {
    PossibleValuesParser::new(LegalBasis::ALL.map(LegalBasis::as_str))
        .try_map(|text| LegalBasis::parse(&text).ok_or("a legal basis"))
}

fn subject() -> impl TypedValueParser<Value = SubjectMode> {
    PossibleValuesParser::new(SubjectMode::ALL.map(SubjectMode::as_str))
        .try_map(|text| SubjectMode::parse(&text).ok_or("a mode"))
}

impl NewCommand {
    /// Makes the text, and writes or prints it.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let text = self.text()?;
        let Some(out) = &self.out else { return print(&text) };
        files::write_new(out, &text)?;
        let shown = out.display();
        tell(&format!("The text is in {shown}. Complete it, then: pirogue agreement check {shown}"));
        Ok(())
    }

    fn text(&self) -> anyhow::Result<String> {
        if let Some(from) = &self.from {
            let document = Document::read(from)?;
            document.agreement(from)?;
            return Ok(next_version(&document.text)?);
        }
        let given = |name: &Option<MemberName>| {
            name.clone().ok_or_else(|| anyhow!("give --id, --provider, --recipient and --type, or --from"))
        };
        let valid_from = self.valid_from.unwrap_or_else(today);
        let three_years: Span = 3.years();
        let later = || valid_from.saturating_add(three_years).yesterday().unwrap_or(Date::MAX);
        let blank = Blank {
            id: given(&self.id)?.to_string(),
            provider: given(&self.provider)?,
            recipient: given(&self.recipient)?,
            title: self.title.clone(),
            purpose: self.purpose.clone(),
            legal_basis: self.legal_basis,
            legal_reference: self.legal_reference.clone(),
            retention_months: self.retention_months,
            valid_from,
            valid_until: self.valid_until.unwrap_or_else(later),
            types: self.types.clone(),
            fields: self.fields.iter().map(|field| field.trim().to_owned()).collect(),
            subject: self.subject,
        };
        Ok(template(&blank, &registry(self.schemas.as_deref())?)?)
    }
}
