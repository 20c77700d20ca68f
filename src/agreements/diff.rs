//! What one version of an agreement changes of another, in plain words.

use super::view::View;
use super::words::{self, Lang, Page, basis, clean, day, field_label_in_full, months};
use super::{Agreement, Grant};
use crate::schema::Registry;

/// What `new` changes of `old`: fields that are given or withdrawn, days,
/// purpose, legal basis, retention, identifiers. A text of 80 columns that ends
/// in a newline.
///
/// Fields are compared as the schemas of `registry` have them, so that a record
/// that is granted at once is the same as its fields one by one.
pub fn explain_changes(old: &Agreement, new: &Agreement, registry: &Registry, lang: Lang) -> String {
    let mut page = Page::default();
    page.heading(&match lang {
        Lang::Fr => {
            format!("Ce qui change dans {} (avant : {})", new.reference(), old.reference())
        }
        Lang::En => format!("What {} changes of {}", new.reference(), old.reference()),
    });
    if (&old.id, &old.provider, &old.recipient) != (&new.id, &new.provider, &new.recipient) {
        page.paragraph(
            lang.pick("Attention : ", "Careful: "),
            lang.pick(
                "ce ne sont pas deux versions d'une même convention (autre nom ou autres parties) ; la seconde \
                 ne remplace pas la première.",
                "these aren't two versions of one agreement (another id, or other parties); the second one \
                 doesn't replace the first.",
            ),
        );
    } else if new.version <= old.version {
        page.paragraph(
            lang.pick("Attention : ", "Careful: "),
            lang.pick(
                "la version n'est pas plus haute que l'autre, qui reste donc celle qui compte.",
                "the version isn't higher than the other one, which therefore remains the one that counts.",
            ),
        );
    }
    let (mut more, mut less) = (0, 0);
    let mut details = Page::default();
    let mut of_types = |event_type: &crate::event::EventType| {
        let at = |agreement: &Agreement| agreement.grant_of(event_type.as_str()).cloned();
        let (before, now) = (at(old), at(new));
        let (added, withdrawn) =
            of_type(&mut details, (old, before.as_ref()), (new, now.as_ref()), registry, lang);
        more += added;
        less += withdrawn;
    };
    new.grants.iter().for_each(|grant| of_types(&grant.event_type));
    let gone = old.grants.iter().filter(|grant| new.grant_of(grant.event_type.as_str()).is_none());
    gone.for_each(|grant| of_types(&grant.event_type));

    let (added, withdrawn) = (words::fields(more, lang), words::fields(less, lang));
    page.paragraph(
        "",
        &match (lang, more + less) {
            (Lang::Fr, 0) => "Les champs donnés restent les mêmes.".to_owned(),
            (Lang::En, 0) => "The fields that are given stay the same.".to_owned(),
            (Lang::Fr, _) => format!("{added} de plus, {withdrawn} de moins."),
            (Lang::En, _) => format!("{added} more, {withdrawn} fewer."),
        },
    );
    let terms = terms(old, new, lang);
    if !terms.is_empty() {
        page.gap();
    }
    for (name, before, now) in &terms {
        page.paragraph("", name);
        page.paragraph(lang.pick("  avant       ", "  before  "), before);
        page.paragraph(lang.pick("  désormais   ", "  now     "), now);
    }
    let details = details.finish();
    if terms.is_empty() && details.is_empty() {
        page.paragraph(
            "",
            lang.pick("Rien d'autre ne change que la version.", "Nothing else changes but the version."),
        );
    }
    page.finish() + &details
}

/// The terms that differ: name, before, now.
fn terms(old: &Agreement, new: &Agreement, lang: Lang) -> Vec<(&'static str, String, String)> {
    let none = || lang.pick("(rien)", "(nothing)").to_owned();
    let optional = |text: &Option<String>| text.as_deref().map_or_else(none, clean);
    let name = |french: &'static str, english: &'static str| lang.pick(french, english);
    let all = [
        (name("Titre", "Title"), clean(&old.title), clean(&new.title)),
        (name("Qui donne", "Who gives"), old.provider.to_string(), new.provider.to_string()),
        (name("Qui reçoit", "Who receives"), old.recipient.to_string(), new.recipient.to_string()),
        (name("Pourquoi", "What for"), clean(&old.purpose), clean(&new.purpose)),
        (
            name("Base légale", "Legal basis"),
            basis(old.legal_basis, lang).to_owned(),
            basis(new.legal_basis, lang).to_owned(),
        ),
        (name("Référence", "Reference"), optional(&old.legal_reference), optional(&new.legal_reference)),
        (name("Premier jour", "First day"), day(old.valid_from, lang), day(new.valid_from, lang)),
        (name("Dernier jour", "Last day"), day(old.valid_until, lang), day(new.valid_until, lang)),
        (
            name("Conservation", "Retention"),
            months(old.retention_months, lang),
            months(new.retention_months, lang),
        ),
        (
            name("Justification de la conservation", "Justification of the retention"),
            optional(&old.retention_justification),
            optional(&new.retention_justification),
        ),
    ];
    all.into_iter().filter(|(_, before, now)| before != now).collect()
}

/// What changes for one type. Returns how many fields are added and withdrawn.
fn of_type(
    page: &mut Page,
    (old, before): (&Agreement, Option<&Grant>),
    (new, now): (&Agreement, Option<&Grant>),
    registry: &Registry,
    lang: Lang,
) -> (usize, usize) {
    let view = |grant: Option<&Grant>| grant.map(|grant| View::of(grant, registry));
    let (old_view, new_view) = (view(before), view(now));
    let given = |view: &Option<View>| view.as_ref().map_or_else(Vec::new, |view| view.given.clone());
    let (had, has) = (given(&old_view), given(&new_view));
    let added: Vec<&String> = has.iter().filter(|path| !had.contains(path)).collect();
    let withdrawn: Vec<&String> = had.iter().filter(|path| !has.contains(path)).collect();
    let mut other = Vec::new();
    if let (Some(before), Some(now)) = (before, now) {
        if before.versions != now.versions {
            other.push(("Versions", words::versions(&before.versions), words::versions(&now.versions)));
        }
        if before.subject != now.subject {
            other.push((
                lang.pick("Identifiant", "Identifier"),
                words::subject(before.subject, old, lang),
                words::subject(now.subject, new, lang),
            ));
        }
    }
    let Some(event_type) = now.or(before).map(|grant| &grant.event_type) else { return (0, 0) };
    if added.is_empty() && withdrawn.is_empty() && other.is_empty() {
        return (0, 0);
    }
    page.gap();
    let schema = new_view.iter().chain(&old_view).find_map(|view| view.schema.as_ref());
    let title = match schema {
        Some(schema) => format!("{} ({event_type})", words::event_label(schema, lang)),
        None => event_type.to_string(),
    };
    page.heading(&title);
    match (before, now) {
        (None, _) => {
            page.paragraph("", lang.pick("Ce type est donné désormais.", "This type is given from now on."))
        }
        (_, None) => {
            page.paragraph("", lang.pick("Ce type n'est plus donné.", "This type is no longer given."))
        }
        _ => {}
    }
    let mut list = |name: &str, paths: &[&String], of: &Option<View>| {
        if paths.is_empty() {
            return;
        }
        page.paragraph("", name);
        let schema = of.as_ref().and_then(|view| view.schema.as_ref());
        for path in paths {
            let label = schema.map_or_else(String::new, |schema| field_label_in_full(schema, path, lang));
            page.paragraph("  - ", &format!("{label} ({path})"));
        }
    };
    list(lang.pick("Donné en plus :", "Given in addition:"), &added, &new_view);
    list(lang.pick("Retiré :", "Withdrawn:"), &withdrawn, &old_view);
    for (name, before, now) in &other {
        page.paragraph("", name);
        page.paragraph(lang.pick("  avant       ", "  before  "), before);
        page.paragraph(lang.pick("  désormais   ", "  now     "), now);
    }
    (added.len(), withdrawn.len())
}
