//! Who got a person's data, as a page: it prints, it is read by a screen reader,
//! and it loads nothing.

use super::access::{facts, moment, summary};
use crate::agreements::{Lang, escape};
use crate::hub::operator::{AccessDelivery, AccessReport};
use std::fmt::Write as _;

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;color:#1b1b1b;background:#fff;max-width:48rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0}h2{font-size:1.2rem;margin:2rem 0 .5rem}h3{font-size:1rem;margin:1rem 0 .25rem}
p,ul{margin:.5rem 0}
table{border-collapse:collapse;width:100%}
th,td{border:1px solid #767676;padding:.35rem .6rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{background:#f0f3f5;font-weight:600;width:30%}
footer{margin-top:2rem;border-top:1px solid #767676;font-size:.9em}
@page{size:A4;margin:15mm}
@media print{body{font-size:10pt;margin:0;max-width:none;padding:0}tr,li{break-inside:avoid}h2,h3{break-after:avoid}
th{background:none}}
";

/// The name of the file that proves `delivery`.
pub(super) fn proof_name(delivery: &AccessDelivery) -> String {
    format!("{}-{}-{}.tlog-proof", delivery.recipient, delivery.epoch, delivery.sequence)
}

/// The page about the person that `report.member` calls `subject`.
pub(super) fn page(report: &AccessReport, subject: &str, lang: Lang) -> String {
    let mut out = String::new();
    // Writing to a text can't fail.
    let _ = write(&mut out, report, subject, lang);
    out
}

fn write(out: &mut String, report: &AccessReport, subject: &str, lang: Lang) -> std::fmt::Result {
    let title = lang.pick("Qui a reçu mes données ?", "Who got my data?");
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} – {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>",
        lang.as_str(),
        escape(&report.hub),
    )?;
    let (whose, at) = (lang.pick("Identifiant", "Identifier"), moment(report.at, lang));
    writeln!(
        out,
        "<p>{whose}{} <strong>{}</strong>, {} {}.</p>",
        lang.pick(" :", ":"),
        escape(subject),
        lang.pick("chez", "of"),
        escape(&report.member)
    )?;
    for sentence in summary(report, lang) {
        writeln!(out, "<p>{}</p>", escape(&sentence))?;
    }
    for (number, delivery) in (1..).zip(&report.deliveries) {
        writeln!(
            out,
            "<section aria-labelledby=\"d{number}\">\n<h2 id=\"d{number}\">{number}. {}</h2>\n\
             <table aria-labelledby=\"d{number}\">\n<tbody>",
            escape(&delivery.recipient)
        )?;
        for (name, value) in facts(delivery, lang) {
            writeln!(out, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escape(&value))?;
        }
        writeln!(
            out,
            "</tbody>\n</table>\n<h3 id=\"f{number}\">{}</h3>\n<ul aria-labelledby=\"f{number}\">",
            lang.pick("Ce qui a été donné", "What was given")
        )?;
        for (_, label) in &delivery.fields {
            writeln!(out, "<li>{}</li>", escape(label))?;
        }
        writeln!(out, "</ul>\n</section>")?;
    }
    let made = match lang {
        Lang::Fr => format!(
            "Établi le {at} (heure de Nouméa) par le hub {}. Chaque livraison est une écriture de son journal, que le hub \
             ne peut changer sans que cela se voie ; la preuve s'en demande au hub.",
            escape(&report.hub)
        ),
        Lang::En => format!(
            "Made on {at} (Nouméa time) by the hub {}. Each delivery is an entry of its journal, which the hub can't \
             change unseen; ask the hub for its proof.",
            escape(&report.hub)
        ),
    };
    writeln!(out, "</main>\n<footer>\n<p>{made}</p>\n</footer>\n</body>\n</html>")
}

#[cfg(test)]
mod tests {
    use super::super::access::tests::report;
    use super::*;

    #[test]
    fn the_page_loads_nothing_and_lets_no_text_be_markup() {
        for lang in Lang::ALL {
            let page = page(&report(), "person/4711", lang);
            assert!(page.starts_with(&format!("<!DOCTYPE html>\n<html lang=\"{}\">", lang.as_str())));
            for loading in ["src=", "href=", "<script", "url(", "@import"] {
                assert!(!page.contains(loading), "{loading}");
            }
            assert!(page.contains("Nom &lt;b&gt;") && !page.contains("<b>"));
            assert_eq!(page.matches("<section").count(), 2);
            assert_eq!(page.matches("<h1>").count(), 1);
        }
    }
}
