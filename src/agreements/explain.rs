//! An agreement in plain words, for those who sign it.

use super::view::View;
use super::words::{self, Lang, Page, basis, day, field_label, months, versions};
use super::{Agreement, Grant};
use crate::schema::Registry;

/// What `agreement` gives to whom, why, until when, and what it withholds: a
/// text of 80 columns for people who never saw the file. It ends in a newline.
///
/// The fields have the labels of the schemas in `registry`. What the schemas
/// don't have is named, with the advice to have the text checked.
pub fn explain(agreement: &Agreement, registry: &Registry, lang: Lang) -> String {
    let mut page = Page::default();
    summary(&mut page, agreement, lang);
    for grant in &agreement.grants {
        page.gap();
        of_grant(&mut page, agreement, grant, registry, lang);
    }
    page.finish()
}

/// The first half of [`explain`], and one line for each type: what is shown
/// before a signature.
pub fn explain_in_short(agreement: &Agreement, registry: &Registry, lang: Lang) -> String {
    let mut page = Page::default();
    summary(&mut page, agreement, lang);
    for grant in &agreement.grants {
        let view = View::of(grant, registry);
        page.gap();
        page.paragraph("", &title(grant, &view, lang));
        let given: Vec<String> = match &view.schema {
            Some(schema) => {
                let label = |path: &String| words::field_label_in_full(schema, path, lang);
                view.given.iter().map(|path| format!("{} ({path})", label(path))).collect()
            }
            None => view.given.clone(),
        };
        page.paragraph(lang.pick("  donné : ", "  given: "), &given.join(" ; "));
        let count = words::fields(view.withheld.len(), lang);
        page.paragraph(lang.pick("  non donné : ", "  withheld: "), &count);
        page.paragraph(
            lang.pick("  identifiant : ", "  identifier: "),
            &words::subject(grant.subject, agreement, lang),
        );
    }
    page.finish()
}

fn summary(page: &mut Page, agreement: &Agreement, lang: Lang) {
    let Agreement { id, version, provider, recipient, .. } = agreement;
    page.heading(&match lang {
        Lang::Fr => format!("Convention {id}, version {version}"),
        Lang::En => format!("Agreement {id}, version {version}"),
    });
    page.paragraph("", &agreement.title);
    page.gap();
    page.entry(lang.pick("Qui donne", "Who gives"), provider.as_str());
    page.entry(lang.pick("Qui reçoit", "Who receives"), recipient.as_str());
    page.entry(lang.pick("Pourquoi", "What for"), &agreement.purpose);
    page.entry(lang.pick("Base légale", "Legal basis"), basis(agreement.legal_basis, lang));
    if let Some(reference) = &agreement.legal_reference {
        page.entry("", reference);
    }
    let (from, until) = (day(agreement.valid_from, lang), day(agreement.valid_until, lang));
    page.entry(
        lang.pick("Durée", "Duration"),
        &match lang {
            Lang::Fr => format!("du {from} au {until}, ces deux jours compris (heure de Nouméa)"),
            Lang::En => format!("from {from} to {until}, both days included (Nouméa time)"),
        },
    );
    page.entry(
        lang.pick("Conservation", "Retention"),
        &match lang {
            Lang::Fr => format!("{} chez {recipient}", months(agreement.retention_months, lang)),
            Lang::En => format!("{}, by {recipient}", months(agreement.retention_months, lang)),
        },
    );
    if let Some(justification) = &agreement.retention_justification {
        page.entry("", justification);
    }
    page.entry(
        lang.pick("Fin anticipée", "Ending it"),
        &match lang {
            Lang::Fr => {
                format!("{provider} ou {recipient} peut y mettre fin seul, à tout moment, par un texte signé")
            }
            Lang::En => format!("{provider} or {recipient} can end it alone, at any time, by a signed text"),
        },
    );
}

/// What the events of a grant say, with their type.
fn title(grant: &Grant, view: &View, lang: Lang) -> String {
    let name = format!("{}, {}", grant.event_type, versions(&grant.versions));
    match &view.schema {
        Some(schema) => format!("{} ({name})", words::event_label(schema, lang)),
        None => name,
    }
}

fn of_grant(page: &mut Page, agreement: &Agreement, grant: &Grant, registry: &Registry, lang: Lang) {
    let view = View::of(grant, registry);
    page.heading(&title(grant, &view, lang));
    page.entry(lang.pick("Identifiant", "Identifier"), &words::subject(grant.subject, agreement, lang));
    let Some(schema) = &view.schema else {
        page.paragraph(
            lang.pick("Attention : ", "Careful: "),
            lang.pick(
                "aucun schéma connu n'a ce type dans cette version, rien ne sera donné ; faites vérifier le \
                 texte (pirogue agreement check). Champs demandés :",
                "no known schema has this type in this version, nothing will be given; have the text checked \
                 (pirogue agreement check). Fields asked for:",
            ),
        );
        view.given.iter().for_each(|path| page.paragraph("  - ", path));
        return;
    };
    if !view.unknown.is_empty() {
        let fields = view.unknown.join(", ");
        page.paragraph(
            lang.pick("Attention : ", "Careful: "),
            &match lang {
                Lang::Fr => format!(
                    "le schéma n'a pas {fields} ; tant que le texte le demande, rien ne sera donné. Faites \
                     vérifier le texte (pirogue agreement check)."
                ),
                Lang::En => format!(
                    "the schema doesn't have {fields}; as long as the text asks for it, nothing will be \
                     given. Have the text checked (pirogue agreement check)."
                ),
            },
        );
    }
    let all = view.given.len() + view.withheld.len();
    page.gap();
    let given = words::fields(view.given.len(), lang);
    page.paragraph(
        "",
        &match lang {
            Lang::Fr if view.withheld.is_empty() => format!("Ce qui est donné : tout ({given})"),
            Lang::En if view.withheld.is_empty() => format!("What is given: everything ({given})"),
            Lang::Fr => format!("Ce qui est donné ({given} sur {all}) :"),
            Lang::En => format!("What is given ({given} of {all}):"),
        },
    );
    for (path, whole) in view.given_tree() {
        let depth = path.matches('.').count();
        let part = if whole { "" } else { lang.pick(", en partie", ", in part") };
        let label = format!("{}{part} ({path})", field_label(schema, &path, lang));
        page.paragraph(&format!("{}- ", "  ".repeat(depth + 1)), &label);
    }
    if view.withheld.is_empty() {
        return;
    }
    page.gap();
    let withheld = words::fields(view.withheld.len(), lang);
    page.paragraph(
        "",
        &match lang {
            Lang::Fr => format!("Ce qui n'est pas donné ({withheld}) :"),
            Lang::En => format!("What is withheld ({withheld}):"),
        },
    );
    for path in view.withheld_tops() {
        page.paragraph("  - ", &format!("{} ({path})", field_label(schema, &path, lang)));
    }
}

/// Who signed a text, by the names in its note: a line that says that these
/// signatures weren't verified.
pub fn explain_signatures(signers: &[String], lang: Lang) -> String {
    let mut page = Page::default();
    let names = signers.join(", ");
    page.entry(
        "Signatures",
        &match lang {
            _ if signers.is_empty() => lang.pick("aucune encore", "none yet").to_owned(),
            Lang::Fr => format!("{names} (non vérifiées ici : voir pirogue agreement check)"),
            Lang::En => format!("{names} (not verified here: see pirogue agreement check)"),
        },
    );
    page.finish()
}

/// What the revocation of the agreement `id` does, in a sentence.
pub fn explain_revocation(id: &str, lang: Lang) -> String {
    let mut page = Page::default();
    page.paragraph(
        "",
        &match lang {
            Lang::Fr => format!(
                "Ce texte met fin à la convention {id} entre celui qui le signe et l'autre partie : à toutes \
                 ses versions, y compris celles à venir, et pour toujours. Ce qui a été livré n'est pas repris."
            ),
            Lang::En => format!(
                "This text ends the agreement {id} between who signs it and the other party: all its versions, \
                 also those to come, and for good. What was delivered isn't taken back."
            ),
        },
    );
    page.finish()
}
