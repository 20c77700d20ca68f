//! The text that a new agreement begins from, and that of its next version.

use super::words::{Lang, clean, event_label, field_label};
use super::{AgreementFault, LegalBasis, SubjectMode, parse_agreement};
use crate::event::{EventType, MemberName};
use crate::schema::{EventSchema, Registry};
use jiff::civil::Date;
use std::fmt::Write as _;
use std::sync::Arc;
use toml::de::DeTable;

/// What is known of a new agreement. What isn't is left empty in its text, and
/// a check names it.
#[derive(Clone, Debug)]
pub struct Blank {
    /// Its id.
    pub id: String,
    /// Who gives.
    pub provider: MemberName,
    /// Who receives.
    pub recipient: MemberName,
    /// What people call it.
    pub title: Option<String>,
    /// What for.
    pub purpose: Option<String>,
    /// Why it is lawful.
    pub legal_basis: Option<LegalBasis>,
    /// The text of law or decision.
    pub legal_reference: Option<String>,
    /// For how many months the recipient keeps the data.
    pub retention_months: u32,
    /// The first day.
    pub valid_from: Date,
    /// The last day.
    pub valid_until: Date,
    /// The event types, at least one.
    pub types: Vec<EventType>,
    /// The fields that are granted, of whichever type has them; none where that
    /// is to be chosen.
    pub fields: Vec<String>,
    /// How the subject is named.
    pub subject: SubjectMode,
}

/// Why there is no such text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// No schema of this type.
    #[error("there is no schema of {event_type}; there are {known}")]
    NoType {
        /// The type.
        event_type: EventType,
        /// Those that members may publish.
        known: String,
    },
    /// A field that none of the types has.
    #[error("{0}")]
    NoField(String),
    /// What it is made from isn't an agreement.
    #[error(transparent)]
    Agreement(#[from] AgreementFault),
    /// There is no higher version.
    #[error("`version`: {0} is the highest that there can be: take another id")]
    LastVersion(u32),
}

/// The text of a new agreement, in TOML, each key explained in French and
/// English, and every field of the schemas listed with its French label, those
/// that aren't granted as comments.
///
/// Where `blank.fields` is empty nothing is granted, and the text is refused by
/// [`parse_agreement`] until a field is chosen, as it is until a title, a
/// purpose and a legal basis are there. The last version of each schema is
/// taken. Fails where a type or a field isn't in `registry`.
pub fn template(blank: &Blank, registry: &Registry) -> Result<String, TemplateFault> {
    let mut schemas = Vec::new();
    for event_type in &blank.types {
        let versions = (1..).map_while(|version| registry.get(event_type.as_str(), version));
        schemas.push(versions.last().ok_or_else(|| {
            let known = registry.types().map(|t| t.as_str()).filter(|t| !t.starts_with("nc.hub."));
            TemplateFault::NoType {
                event_type: event_type.clone(),
                known: known.collect::<Vec<_>>().join(", "),
            }
        })?);
    }
    for field in blank.fields.iter().filter(|field| *field != "*") {
        let faults: Vec<_> =
            schemas.iter().map(|schema| schema.project(std::slice::from_ref(field)).err()).collect();
        if let Some(Some(fault)) = faults.iter().find(|_| faults.iter().all(Option::is_some)) {
            return Err(TemplateFault::NoField(fault.to_string()));
        }
    }
    let mut out = String::new();
    // Writing to a text can't fail.
    let _ = head(&mut out, blank);
    for schema in schemas {
        let _ = grant(&mut out, blank, schema);
    }
    Ok(out)
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(clean(text)).to_string()
}

fn head(out: &mut String, blank: &Blank) -> std::fmt::Result {
    let Blank { id, provider, recipient, .. } = blank;
    let text = |text: &Option<String>| quoted(text.as_deref().unwrap_or_default());
    writeln!(
        out,
        "# Convention : ce que donne {provider} à {recipient}. À compléter, à vérifier avec\n\
         # « pirogue agreement check FICHIER », puis à signer par les deux parties.\n\
         # Agreement: what {provider} gives to {recipient}. Complete it, check it with\n\
         # `pirogue agreement check FILE`, then both parties sign it.\n\
         # Ni tabulation ni retour chariot. / No tab and no carriage return.\n\n\
         # Son nom, le même dans toutes ses versions. / Its name, the same in all its versions.\n\
         id = {}\n\n\
         # La version ; la plus haute qui soit signée compte seule. / The highest signed one counts.\n\
         version = 1\n\n\
         # Un titre pour les gens. / A title for people.\n\
         title = {}\n\n\
         # Qui donne, qui reçoit. / Who gives, who receives.\n\
         provider = {}\n\
         recipient = {}\n\n\
         # La finalité : à quoi sert la donnée reçue. / The purpose of what is received.\n\
         purpose = {}\n\n\
         # La base légale (RGPD, article 6). / The legal basis (GDPR, article 6):\n\
         #   \"consent\"           consentement de la personne\n\
         #   \"contract\"          contrat avec la personne\n\
         #   \"legal-obligation\"  obligation légale\n\
         #   \"vital-interest\"    sauvegarde d'intérêts vitaux\n\
         #   \"public-interest\"   mission d'intérêt public\n\
         legal_basis = {}",
        quoted(id),
        text(&blank.title),
        quoted(provider.as_str()),
        quoted(recipient.as_str()),
        text(&blank.purpose),
        quoted(blank.legal_basis.map_or("", LegalBasis::as_str)),
    )?;
    writeln!(out, "\n# Le texte de loi ou de délibération. / The text of law or decision.")?;
    match &blank.legal_reference {
        Some(reference) => writeln!(out, "legal_reference = {}", quoted(reference))?,
        None => writeln!(out, "# legal_reference = \"Délibération n° …\"")?,
    }
    writeln!(
        out,
        "\n# Combien de mois le destinataire garde la donnée ; au-delà de 36, dire pourquoi.\n\
         # For how many months the recipient keeps the data; over 36, say why.\n\
         retention_months = {}\n\
         # retention_justification = \"…\"\n\n\
         # Premier et dernier jour, compris (heure de Nouméa). / First and last day, included.\n\
         valid_from = {}\n\
         valid_until = {}",
        blank.retention_months, blank.valid_from, blank.valid_until
    )
}

fn grant(out: &mut String, blank: &Blank, schema: &Arc<EventSchema>) -> std::fmt::Result {
    let label = |lang| event_label(schema, lang);
    writeln!(
        out,
        "\n# {}.\n# {}.\n[[grant]]\ntype = {}\nversions = [{}]",
        label(Lang::Fr),
        label(Lang::En),
        quoted(schema.event_type().as_str()),
        schema.version()
    )?;
    writeln!(
        out,
        "# Sous quel identifiant le destinataire connaît la personne. / Under which identifier:\n\
         #   \"pseudonym\"  un pseudonyme fait pour lui seul / made for the recipient alone\n\
         #   \"own\"        le sien, là où le hub connaît le lien / its own, where it is linked\n\
         #   \"publisher\"  celui du fournisseur, tel quel / the provider's, unchanged\n\
         subject = {}",
        quoted(blank.subject.as_str())
    )?;
    writeln!(
        out,
        "# Les champs donnés : enlever le # devant chacun ; un champ donne tout ce qu'il contient.\n\
         # The fields that are given: take away the # before each; a field gives all that it holds."
    )?;
    if blank.fields == ["*"] {
        return writeln!(out, "fields = [\"*\"]");
    }
    writeln!(out, "fields = [")?;
    for path in schema.field_paths() {
        let mark = if blank.fields.contains(&path) { "" } else { "# " };
        writeln!(out, "    {mark}{},  # {}", quoted(&path), field_label(schema, &path, Lang::Fr))?;
    }
    writeln!(out, "]")
}

/// The text of the next version of the agreement `text`: its version is one
/// higher, and everything else is left as it is, its comments too.
///
/// Fails where `text` isn't an agreement.
pub fn next_version(text: &str) -> Result<String, TemplateFault> {
    let agreement = parse_agreement(text)?;
    let next = agreement.version.checked_add(1).ok_or(TemplateFault::LastVersion(agreement.version))?;
    let missing = || AgreementFault::Missing { key: "version", expected: "a whole number from 1" };
    let table = DeTable::parse(text).map_err(|_| missing())?;
    let version = table.get_ref().iter().find(|(key, _)| key.get_ref() == "version");
    let span = version.map(|(_, value)| value.span()).ok_or_else(missing)?;
    let mut new = text.to_owned();
    new.replace_range(span, &next.to_string());
    // What is handed on reads as what it says it is.
    parse_agreement(&new)?;
    Ok(new)
}
