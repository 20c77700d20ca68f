//! The record as a page: it prints, it is read by a screen reader, and it loads
//! nothing.

use super::{COLUMNS, Lang, Register, Treatment};
use std::fmt::Write as _;

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;color:#1b1b1b;background:#fff;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0}h2{font-size:1.2rem;margin:2.5rem 0 .5rem}
p{margin:.5rem 0}
table{border-collapse:collapse;width:100%}
caption{text-align:left;font-weight:600;padding:.5rem 0}
th,td{border:1px solid #767676;padding:.35rem .6rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{background:#f0f3f5;font-weight:600}
section th{width:30%}
th span,h1 span{display:block;font-weight:400;font-size:.85em;color:#4a4a4a}
@page{size:A4;margin:15mm}
@media print{body{font-size:10pt;margin:0;max-width:none;padding:0}tr,h2{break-inside:avoid}h2{break-after:avoid}
th{background:none}}
";

/// The columns of the overview, as positions in [`COLUMNS`].
const OVERVIEW: [usize; 5] = [3, 4, 5, 9, 19];

/// The page.
pub(super) fn page(register: &Register, lang: Lang) -> String {
    let mut out = String::new();
    // Writing to a text can't fail.
    let _ = write(&mut out, register, lang);
    out
}

fn write(out: &mut String, register: &Register, lang: Lang) -> std::fmt::Result {
    let (first, second) =
        both(lang, "Registre des activités de traitement", "Record of processing activities");
    let hub = escape(&register.hub);
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"{lang}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{first} – {hub}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{first} {}</h1>",
        other(lang, second),
        lang = lang.as_str(),
    )?;
    let day = &register.day;
    let count = match (register.treatments.len(), lang) {
        (1, Lang::Fr) => "1 traitement".to_owned(),
        (count, Lang::Fr) => format!("{count} traitements"),
        (1, Lang::En) => "1 activity".to_owned(),
        (count, Lang::En) => format!("{count} activities"),
    };
    let intro = match lang {
        Lang::Fr => format!(
            "RGPD, article 30. Échanges du hub <strong>{hub}</strong>, d'après les conventions signées, au \
             <time datetime=\"{day}\">{day}</time> (heure de Nouméa) : {count}. Les titres, finalités et références \
             sont ceux des conventions. Chaque partie complète ce registre de ses coordonnées, de celles de son \
             délégué à la protection des données et de ses propres mesures."
        ),
        Lang::En => format!(
            "GDPR, article 30. Exchanges of the hub <strong>{hub}</strong>, by the signed agreements, on \
             <time datetime=\"{day}\">{day}</time> (Nouméa time): {count}. Titles, purposes and references are those \
             of the agreements. Each party adds its contact details, those of its data protection officer, and its \
             own measures."
        ),
    };
    writeln!(out, "<p>{intro}</p>")?;
    if register.treatments.is_empty() {
        let none = lang.pick("Aucune convention n'a encore compté.", "No agreement has counted yet.");
        return writeln!(out, "<p>{none}</p>\n</main>\n</body>\n</html>");
    }
    overview(out, register, lang)?;
    for (treatment, number) in register.treatments.iter().zip(1..) {
        detail(out, treatment, number, lang)?;
    }
    writeln!(out, "</main>\n</body>\n</html>")
}

fn overview(out: &mut String, register: &Register, lang: Lang) -> std::fmt::Result {
    let caption = lang.pick("Vue d'ensemble", "Overview");
    writeln!(out, "<table>\n<caption>{caption}</caption>\n<thead>\n<tr>")?;
    let name = both(lang, "Convention", "Agreement");
    writeln!(out, "<th scope=\"col\">{} {}</th>", name.0, other(lang, name.1))?;
    for at in OVERVIEW {
        let (french, english, _) = COLUMNS[at];
        let (first, second) = both(lang, french, english);
        writeln!(out, "<th scope=\"col\">{} {}</th>", escape(first), other(lang, second))?;
    }
    writeln!(out, "</tr>\n</thead>\n<tbody>")?;
    for (treatment, number) in register.treatments.iter().zip(1..) {
        let name = escape(&format!("{}, version {}", treatment.agreement, treatment.version));
        writeln!(out, "<tr>\n<th scope=\"row\"><a href=\"#t{number}\">{name}</a></th>")?;
        for at in OVERVIEW {
            writeln!(out, "<td>{}</td>", escape(&(COLUMNS[at].2)(treatment)))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody>\n</table>")
}

fn detail(out: &mut String, treatment: &Treatment, number: usize, lang: Lang) -> std::fmt::Result {
    let title = match treatment.event.is_empty() {
        true => treatment.event_type.clone(),
        false => treatment.event.clone(),
    };
    writeln!(
        out,
        "<section aria-labelledby=\"t{number}\">\n<h2 id=\"t{number}\">{number}. {} – {}</h2>\n<table aria-labelledby=\"t{number}\">\n<tbody>",
        escape(&treatment.title),
        escape(&title)
    )?;
    for (french, english, cell) in COLUMNS {
        let cell = cell(treatment);
        if cell.is_empty() {
            continue;
        }
        let (first, second) = both(lang, french, english);
        writeln!(
            out,
            "<tr><th scope=\"row\">{} {}</th><td>{}</td></tr>",
            escape(first),
            other(lang, second),
            escape(&cell)
        )?;
    }
    writeln!(out, "</tbody>\n</table>\n</section>")
}

/// The name in the page's language, then in the other one.
fn both(lang: Lang, french: &'static str, english: &'static str) -> (&'static str, &'static str) {
    match lang {
        Lang::Fr => (french, english),
        Lang::En => (english, french),
    }
}

/// A name in the other language, marked as such.
fn other(lang: Lang, name: &str) -> String {
    format!("<span lang=\"{}\">{}</span>", lang.pick("en", "fr"), escape(name))
}

/// A text as it stands in HTML, in an element or in a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
