//! The record of processing activities (*registre des traitements*, GDPR
//! article 30), as far as agreements say it: one entry for each agreement and
//! event type.

mod html;

pub use html::escape;

use super::view::View;
use super::words::{self, Lang, basis, clean, event_label, field_label_in_full, months};
use super::{Agreement, Agreements, Grant, NotInForce, Status};
use crate::schema::Registry;
use jiff::civil::Date;
use serde::Serialize;

/// The record on one day, in one language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Register {
    /// The hub whose agreements these are.
    pub hub: String,
    /// The language of what isn't quoted from agreements, `fr` or `en`.
    pub language: &'static str,
    /// The day in New Caledonia for which the states hold.
    pub day: String,
    /// One for each agreement and event type, by agreement, version and type.
    pub treatments: Vec<Treatment>,
    #[serde(skip)]
    lang: Lang,
}

/// One entry of the record: what one agreement says of one event type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Treatment {
    /// The agreement's id.
    pub agreement: String,
    /// Its version.
    pub version: u32,
    /// Its title.
    pub title: String,
    /// Who gives the data, and answers for it until it is given.
    pub provider: String,
    /// Who receives the data, and answers for it from then on.
    pub recipient: String,
    /// The purpose.
    pub purpose: String,
    /// The legal basis, in words.
    pub legal_basis: String,
    /// The text of law or decision.
    pub legal_reference: String,
    /// The event type, with the versions of its schema.
    pub event_type: String,
    /// What the event says.
    pub event: String,
    /// The categories of persons.
    pub data_subjects: String,
    /// The categories of personal data.
    pub data_categories: String,
    /// The fields that are given.
    pub fields: String,
    /// Under which identifier the recipient knows the person.
    pub identifier: String,
    /// How long the recipient keeps the data, and why where that is long.
    pub retention: String,
    /// The security measures of the exchange.
    pub security: String,
    /// Transfers to others and to other countries.
    pub transfers: String,
    /// The first day.
    pub valid_from: String,
    /// The last day.
    pub valid_until: String,
    /// How the agreement stands.
    pub state: String,
}

impl Register {
    /// The record of `agreements` on the day `today`.
    ///
    /// What neither counts nor counted isn't in it: texts that a party didn't
    /// sign, copies, and texts that grant what no schema has.
    pub fn of(hub: &str, agreements: &Agreements, registry: &Registry, today: Date, lang: Lang) -> Register {
        let counts = |status: &Status| match status {
            Status::InForce | Status::InForceExcept(_) => true,
            Status::NotInForce(reason) => matches!(
                reason,
                NotInForce::Superseded { .. }
                    | NotInForce::Revoked { .. }
                    | NotInForce::NotYet(_)
                    | NotInForce::KeyNotYet(_)
                    | NotInForce::Ended(_)
                    | NotInForce::RevokedKey(_)
            ),
        };
        let mut treatments: Vec<Treatment> = Vec::new();
        for (agreement, status) in agreements.all(today).filter(|(_, status)| counts(status)) {
            let state = words::state(&status, lang);
            let of = |grant| treatment(agreement, grant, &state, registry, lang);
            treatments.extend(agreement.grants.iter().map(of));
        }
        treatments.sort_by(|a, b| {
            let key = |t: &Treatment| {
                (
                    t.agreement.clone(),
                    t.provider.clone(),
                    t.recipient.clone(),
                    t.version,
                    t.event_type.clone(),
                )
            };
            key(a).cmp(&key(b))
        });
        Register { hub: hub.to_owned(), language: lang.as_str(), day: today.to_string(), treatments, lang }
    }

    /// The record as CSV (RFC 4180 but for its lines, which end in a newline alone; in UTF-8) with the names of the columns in
    /// its language.
    ///
    /// A cell that a spreadsheet would take for a formula begins with an
    /// apostrophe.
    pub fn to_csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let names = COLUMNS.map(|(french, english, _)| self.lang.pick(french, english));
        // Writing to memory can't fail, nor can a row be of another length.
        let mut written = writer.write_record(names);
        for treatment in &self.treatments {
            let cells = COLUMNS.map(|(_, _, cell)| harmless(&cell(treatment)));
            written = written.and_then(|()| writer.write_record(cells));
        }
        let bytes = written.ok().and_then(|()| writer.into_inner().ok()).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    }

    /// The record as a page of HTML that can be printed, and needs nothing else.
    pub fn to_html(&self) -> String {
        html::page(self, self.lang)
    }
}

/// A column: its name in French and in English, and what stands in it.
type Column = (&'static str, &'static str, fn(&Treatment) -> String);

const COLUMNS: [Column; 20] = [
    ("Convention", "Agreement", |t| t.agreement.clone()),
    ("Version", "Version", |t| t.version.to_string()),
    ("Titre", "Title", |t| t.title.clone()),
    ("Fournisseur (responsable jusqu'à la remise)", "Provider (controller until handed over)", |t| {
        t.provider.clone()
    }),
    ("Destinataire (responsable ensuite)", "Recipient (controller from then on)", |t| t.recipient.clone()),
    ("Finalité", "Purpose", |t| t.purpose.clone()),
    ("Base légale", "Legal basis", |t| t.legal_basis.clone()),
    ("Référence", "Reference", |t| t.legal_reference.clone()),
    ("Type d'événement", "Event type", |t| t.event_type.clone()),
    ("Événement", "Event", |t| t.event.clone()),
    ("Catégories de personnes", "Categories of data subjects", |t| t.data_subjects.clone()),
    ("Catégories de données", "Categories of data", |t| t.data_categories.clone()),
    ("Champs donnés", "Fields given", |t| t.fields.clone()),
    ("Identifiant", "Identifier", |t| t.identifier.clone()),
    ("Conservation", "Retention", |t| t.retention.clone()),
    ("Mesures de sécurité", "Security measures", |t| t.security.clone()),
    ("Transferts", "Transfers", |t| t.transfers.clone()),
    ("Premier jour", "First day", |t| t.valid_from.clone()),
    ("Dernier jour", "Last day", |t| t.valid_until.clone()),
    ("État", "State", |t| t.state.clone()),
];

/// A cell that no spreadsheet takes for a formula.
fn harmless(cell: &str) -> String {
    let first = cell.trim_start().chars().next();
    let formula = first.is_some_and(|c| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠'));
    match formula || cell.starts_with(['\t', '\r', '\n']) {
        true => format!("'{cell}"),
        false => cell.to_owned(),
    }
}

fn treatment(
    agreement: &Agreement,
    grant: &Grant,
    state: &str,
    registry: &Registry,
    lang: Lang,
) -> Treatment {
    let view = View::of(grant, registry);
    let optional = |text: &Option<String>| text.as_deref().map(clean).unwrap_or_default();
    let mut retention = months(agreement.retention_months, lang);
    if let Some(justification) = &agreement.retention_justification {
        retention = format!("{retention} ({})", clean(justification));
    }
    let categories: Vec<String> = view.categories().iter().map(|c| words::pii(c, lang).to_owned()).collect();
    let fields: Vec<String> = match &view.schema {
        Some(schema) => view
            .given
            .iter()
            .map(|path| format!("{} ({path})", field_label_in_full(schema, path, lang)))
            .collect(),
        None => view.given.clone(),
    };
    Treatment {
        agreement: agreement.id.clone(),
        version: agreement.version,
        title: clean(&agreement.title),
        provider: agreement.provider.to_string(),
        recipient: agreement.recipient.to_string(),
        purpose: clean(&agreement.purpose),
        legal_basis: basis(agreement.legal_basis, lang).to_owned(),
        legal_reference: optional(&agreement.legal_reference),
        event_type: format!("{}, {}", grant.event_type, words::versions(&grant.versions)),
        event: view.schema.as_ref().map(|schema| event_label(schema, lang)).unwrap_or_default(),
        data_subjects: subjects(&view, lang),
        data_categories: match categories.is_empty() {
            true => {
                lang.pick("aucune donnée marquée comme personnelle", "no data marked as personal").to_owned()
            }
            false => categories.join(", "),
        },
        fields: fields.join(" ; "),
        identifier: words::subject(grant.subject, agreement, lang),
        retention,
        security: security(lang).to_owned(),
        transfers: transfers(agreement, lang),
        valid_from: agreement.valid_from.to_string(),
        valid_until: agreement.valid_until.to_string(),
        state: state.to_owned(),
    }
}

/// The categories of persons that events of this type are about.
fn subjects(view: &View, lang: Lang) -> String {
    let kinds = view.schema.iter().flat_map(|schema| schema.subject_kinds());
    let persons: Vec<&str> = kinds.filter(|(_, personal)| *personal).map(|(kind, _)| kind).collect();
    let event = view.schema.as_ref().map(|schema| event_label(schema, lang)).unwrap_or_default();
    match (persons.is_empty(), view.categories().is_empty(), lang) {
        (false, _, Lang::Fr) => format!("les personnes dont parle l'événement « {event} »"),
        (false, _, Lang::En) => format!("the persons of whom the event tells: {event}"),
        (true, false, Lang::Fr) => "les personnes que nomment des champs donnés".to_owned(),
        (true, false, Lang::En) => "the persons whom fields that are given name".to_owned(),
        (true, true, Lang::Fr) => "aucune : l'événement ne parle pas d'une personne".to_owned(),
        (true, true, Lang::En) => "none: the event isn't about a person".to_owned(),
    }
}

/// What the exchange does for the security of the data, and what it can't do.
/// The same for every agreement: it is the program's, not the parties'.
fn security(lang: Lang) -> &'static str {
    lang.pick(
        "Chaque événement est signé par le fournisseur et chaque livraison par le hub (Ed25519) ; seuls les champs \
         de la convention quittent le hub ; ce que garde le hub est scellé au repos (XChaCha20-Poly1305) ; un \
         journal sans donnée personnelle consigne chaque livraison. Restent à préciser par l'exploitant et par les \
         parties : le chiffrement des liaisons (TLS), l'accès aux machines, et la sécurité chez le destinataire.",
        "Each event is signed by the provider and each delivery by the hub (Ed25519); only the fields of the \
         agreement leave the hub; what the hub keeps is sealed at rest (XChaCha20-Poly1305); a journal without \
         personal data names each delivery. For the operator and the parties to add: encryption of the links \
         (TLS), access to the machines, and the security at the recipient's.",
    )
}

fn transfers(agreement: &Agreement, lang: Lang) -> String {
    let (provider, recipient) = (&agreement.provider, &agreement.recipient);
    match lang {
        Lang::Fr => {
            format!("la convention n'en prévoit aucun, hors de {provider} vers {recipient} par le hub")
        }
        Lang::En => format!("the agreement provides for none but from {provider} to {recipient} by the hub"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_would_be_a_formula_is_made_a_text() {
        for (cell, safe) in [
            ("=1+1", "'=1+1"),
            ("  =1+1", "'  =1+1"),
            ("+687261234", "'+687261234"),
            ("-2", "'-2"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("a = b", "a = b"),
            ("", ""),
        ] {
            assert_eq!(harmless(cell), safe);
        }
    }
}
