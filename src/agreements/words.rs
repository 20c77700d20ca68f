//! The words of the documents that are made of agreements, in French and
//! English, and how they are set on a page.

use super::{Agreement, LegalBasis, NotInForce, Status, SubjectMode};
use crate::schema::EventSchema;
use jiff::civil::Date;

/// The language of a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// French.
    #[default]
    Fr,
    /// English.
    En,
}

impl Lang {
    /// Every language.
    pub const ALL: [Lang; 2] = [Lang::Fr, Lang::En];

    /// The language's code, `fr` or `en` (BCP 47).
    pub fn as_str(self) -> &'static str {
        self.pick("fr", "en")
    }

    /// The language with this code.
    pub fn parse(code: &str) -> Option<Lang> {
        Lang::ALL.into_iter().find(|lang| lang.as_str() == code)
    }

    /// The one of two texts that is in this language.
    pub fn pick<'a>(self, french: &'a str, english: &'a str) -> &'a str {
        match self {
            Lang::Fr => french,
            Lang::En => english,
        }
    }

    /// The side of a schema's `doc` (`Nom de naissance. / Birth name.`) in this
    /// language, as a label: without its final point, and without the mark of
    /// what was assumed, which is a note to who writes schemas.
    pub(super) fn label(self, doc: &str) -> String {
        let side = doc.split_once(" / ").map_or(doc, |(french, english)| self.pick(french, english));
        clean(side).replace(" [A]", "").trim().trim_end_matches('.').to_owned()
    }
}

/// What an event of `schema` says, in one sentence without its final point.
pub fn event_label(schema: &EventSchema, lang: Lang) -> String {
    let label = lang.label(schema.doc());
    label.split_once(". ").map_or(label.clone(), |(first, _)| first.to_owned())
}

/// What the field at `path` is; its path where no schema says.
pub(super) fn field_label(schema: &EventSchema, path: &str, lang: Lang) -> String {
    schema.doc_of(path).map_or_else(|| path.to_owned(), |doc| lang.label(doc))
}

/// What the field at `path` is, after what the records are that it is in:
/// `Métier, au ROME › Libellé`.
pub fn field_label_in_full(schema: &EventSchema, path: &str, lang: Lang) -> String {
    let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
    let labels: Vec<String> = ends.map(|end| field_label(schema, &path[..end], lang)).collect();
    labels.join(" › ")
}

/// A day in words: `1er janvier 2026`, `1 January 2026`.
pub fn day(date: Date, lang: Lang) -> String {
    const MONTHS: [(&str, &str); 12] = [
        ("janvier", "January"),
        ("février", "February"),
        ("mars", "March"),
        ("avril", "April"),
        ("mai", "May"),
        ("juin", "June"),
        ("juillet", "July"),
        ("août", "August"),
        ("septembre", "September"),
        ("octobre", "October"),
        ("novembre", "November"),
        ("décembre", "December"),
    ];
    let month = MONTHS.get(date.month().unsigned_abs() as usize - 1).map_or("", |(fr, en)| lang.pick(fr, en));
    let first = if date.day() == 1 { lang.pick("er", "") } else { "" };
    format!("{}{first} {month} {}", date.day(), date.year())
}

/// The legal basis in words, with its place in the GDPR.
pub fn basis(basis: LegalBasis, lang: Lang) -> &'static str {
    match basis {
        LegalBasis::Consent => {
            lang.pick("consentement de la personne (RGPD, article 6-1-a)", "consent (GDPR, article 6(1)(a))")
        }
        LegalBasis::Contract => lang.pick(
            "contrat avec la personne (RGPD, article 6-1-b)",
            "contract with the person (GDPR, article 6(1)(b))",
        ),
        LegalBasis::LegalObligation => {
            lang.pick("obligation légale (RGPD, article 6-1-c)", "legal obligation (GDPR, article 6(1)(c))")
        }
        LegalBasis::VitalInterest => lang.pick(
            "sauvegarde d'intérêts vitaux (RGPD, article 6-1-d)",
            "vital interests (GDPR, article 6(1)(d))",
        ),
        LegalBasis::PublicInterest => lang.pick(
            "mission d'intérêt public (RGPD, article 6-1-e)",
            "task in the public interest (GDPR, article 6(1)(e))",
        ),
    }
}

/// Under which identifier the recipient knows whom or what an event is about.
pub(super) fn subject(mode: SubjectMode, agreement: &Agreement, lang: Lang) -> String {
    let (provider, recipient) = (&agreement.provider, &agreement.recipient);
    match (mode, lang) {
        (SubjectMode::Pseudonym, Lang::Fr) => format!(
            "un pseudonyme fait pour {recipient} seul, qui ne dit ni qui est la personne ni comment d'autres \
             la nomment"
        ),
        (SubjectMode::Pseudonym, Lang::En) => format!(
            "a pseudonym made for {recipient} alone, which tells neither who the person is nor how others \
             name that person"
        ),
        (SubjectMode::Own, Lang::Fr) => format!(
            "l'identifiant qu'a déjà {recipient}, là où le hub connaît le lien ; sinon un pseudonyme fait \
             pour {recipient} seul"
        ),
        (SubjectMode::Own, Lang::En) => format!(
            "the identifier that {recipient} has already, where the hub knows the link; else a pseudonym \
             made for {recipient} alone"
        ),
        (SubjectMode::Publisher, Lang::Fr) => format!("l'identifiant du membre {provider}, tel quel"),
        (SubjectMode::Publisher, Lang::En) => format!("the identifier of {provider}, unchanged"),
    }
}

/// For how long the recipient keeps the data.
pub(super) fn months(months: u32, lang: Lang) -> String {
    match (lang, months) {
        (Lang::Fr, _) => format!("{months} mois au plus"),
        (Lang::En, 1) => "1 month at most".to_owned(),
        (Lang::En, _) => format!("{months} months at most"),
    }
}

/// `un champ`, `12 champs`; `one field`, `12 fields`.
pub(super) fn fields(count: usize, lang: Lang) -> String {
    match (lang, count) {
        (Lang::Fr, 0 | 1) => format!("{count} champ"),
        (Lang::Fr, _) => format!("{count} champs"),
        (Lang::En, 1) => "1 field".to_owned(),
        (Lang::En, _) => format!("{count} fields"),
    }
}

/// Versions of a schema: `version 1`, `versions 1, 2`.
pub(super) fn versions(versions: &[u32]) -> String {
    let numbers: Vec<String> = versions.iter().map(ToString::to_string).collect();
    // The word is the same in both languages.
    format!("version{} {}", if versions.len() > 1 { "s" } else { "" }, numbers.join(", "))
}

/// A category of personal data, as the property `pii` of schemas names it.
pub(super) fn pii(category: &str, lang: Lang) -> &str {
    match category {
        "identity" => lang.pick("identité", "identity"),
        "contact" => lang.pick("coordonnées", "contact details"),
        "employment" => lang.pick("vie professionnelle", "employment"),
        "education" => lang.pick("formation", "education"),
        other => other,
    }
}

/// How an agreement stands, in a sentence without a final point.
pub fn state(status: &Status, lang: Lang) -> String {
    if lang == Lang::En {
        return match status {
            Status::NotInForce(NotInForce::Unsigned(member)) => {
                format!("waiting for a signature of {member}")
            }
            status => status.to_string(),
        };
    }
    match status {
        Status::InForce => "en vigueur".to_owned(),
        Status::InForceExcept(conflicts) => {
            let each = conflicts.iter().map(|c| {
                format!(
                    "{} : {} et {} l'accordent toutes deux, aucune ne compte",
                    c.event_type, c.first, c.second
                )
            });
            format!("en vigueur, sauf pour {}", each.collect::<Vec<_>>().join(" ; "))
        }
        Status::NotInForce(reason) => match reason {
            NotInForce::NotAMember(member) => format!("{member} n'est pas membre"),
            NotInForce::Unsigned(member) => format!("en attente d'une signature du membre {member}"),
            NotInForce::BadSignature(member) => {
                format!("la signature du membre {member} n'est pas celle de ce texte, changé depuis")
            }
            NotInForce::RevokedKey(member) => {
                format!("la clé avec laquelle {member} a signé est révoquée : à signer avec une autre")
            }
            NotInForce::Superseded { version, file } => {
                format!("remplacée par la version {version} ({file})")
            }
            NotInForce::Copy(file) => format!("le même texte est dans {file}"),
            NotInForce::OtherText(file) => {
                format!(
                    "un autre texte de même nom et même version est dans {file} : aucun des deux ne compte"
                )
            }
            NotInForce::Revoked { by, file } => format!("dénoncée par {by} ({file})"),
            // What schemas say is in English, and names the field.
            NotInForce::Unfit(sentence) => format!("inapplicable : {sentence}"),
            NotInForce::NotYet(date) => format!("à venir, à partir du {}", day(*date, lang)),
            NotInForce::KeyNotYet(date) => {
                format!("à venir : une clé qui l'a signée vaut à partir du {}", day(*date, lang))
            }
            NotInForce::Ended(date) => format!("terminée depuis le {}", day(*date, lang)),
        },
    }
}

/// A text of others in one line: a control character could move a terminal's
/// cursor, one of the bidirectional algorithm show words in another order than
/// that in which they are signed.
pub(super) fn clean(text: &str) -> String {
    let words = text.split(|c: char| c != '\u{a0}' && c.is_whitespace()).filter(|word| !word.is_empty());
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let joined = words.collect::<Vec<_>>().join(" ");
    joined.chars().map(|c| if hidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A page of plain text, 80 columns wide.
#[derive(Default)]
pub(super) struct Page {
    out: String,
}

impl Page {
    const WIDTH: usize = 80;

    /// A heading with a line under it.
    pub(super) fn heading(&mut self, text: &str) {
        self.paragraph("", text);
        self.out.push_str(&"=".repeat(clean(text).chars().count().min(Page::WIDTH)));
        self.out.push('\n');
    }

    /// An empty line.
    pub(super) fn gap(&mut self) {
        self.out.push('\n');
    }

    /// A text after `first`, the lines after the first one indented as wide.
    pub(super) fn paragraph(&mut self, first: &str, text: &str) {
        let indent = first.chars().count();
        let (mut line, mut width) = (first.to_owned(), indent);
        let mut bare = true;
        for word in clean(text).split(' ') {
            let length = word.chars().count();
            // French sets a space before these; the line doesn't break there.
            let glued = matches!(word, ":" | ";" | "?" | "!" | "»");
            if !bare && !glued && width + 1 + length > Page::WIDTH {
                self.out.push_str(line.trim_end());
                self.out.push('\n');
                (line, width, bare) = (" ".repeat(indent), indent, true);
            }
            if !bare {
                line.push(' ');
                width += 1;
            }
            line.push_str(word);
            width += length;
            bare = false;
        }
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    /// A text beside its name, the texts of a list one below the other.
    pub(super) fn entry(&mut self, name: &str, text: &str) {
        let space = 16usize.saturating_sub(name.chars().count());
        self.paragraph(&format!("{name}{}", " ".repeat(space)), text);
    }

    /// The text. It ends in a newline.
    pub(super) fn finish(self) -> String {
        self.out
    }
}
