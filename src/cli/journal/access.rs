//! `pirogue journal access`.

use super::super::ask::{WhichHub, print_json, unexpected};
use super::super::render::{plain, print, write_private};
use super::page;
use super::prove;
use crate::agreements::Lang;
use crate::hub::operator::{AccessDelivery, AccessReport, Answer, Request};
use anyhow::{Context, bail};
use jiff::{Timestamp, tz::TimeZone};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Tell a person who got its data: when, which fields, why, by what right.
///
/// The person is named as a member names it: the member, then the identifier that
/// its software gives as KIND/LOCAL-ID (person/4711), or LOCAL-ID alone for a
/// person. Each delivery is listed with its agreement, purpose and legal basis,
/// and its entry in the journal; in French, unless set otherwise, as text, as
/// JSON, or as a page that can be printed and handed over. What was erased isn't
/// listed: that it was erased is said.
///
/// With --proofs, the proof of each delivery is written to a folder, for
/// `pirogue journal verify-proof`. A proof names the person's identifier.
///
/// The exit status is 1 where the hub has nothing of such a person.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  pirogue journal access --person province-sud 4711 --format html --out acces.html \
                        --config /etc/pirogue/hub.toml"
)]
pub struct AccessCommand {
    /// The member, and the identifier that it gives, [KIND/]LOCAL-ID.
    #[arg(long, num_args = 2, value_names = ["MEMBER", "LOCAL-ID"], required = true)]
    person: Vec<String>,
    /// The language.
    #[arg(long, default_value = "fr", value_parser = clap::builder::PossibleValuesParser::new(["fr", "en"]))]
    lang: String,
    /// As what.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Where to write it; otherwise it is printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A folder for the proofs, one for each delivery that can be proven.
    #[arg(long, value_name = "DIR")]
    proofs: Option<PathBuf>,
    #[command(flatten)]
    hub: WhichHub,
}

/// As what the answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Text for a terminal.
    Text,
    /// JSON for machines.
    Json,
    /// A page that can be printed.
    Html,
}

impl AccessCommand {
    /// Asks the hub, and writes what it says.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let [member, subject] = self.person.as_slice() else { bail!("say whom: --person MEMBER LOCAL-ID") };
        let request =
            Request::Access { member: member.clone(), subject: subject.clone(), lang: self.lang.clone() };
        let Answer::Access(report) = self.hub.ask(&request)? else { return Err(unexpected()) };
        let lang = Lang::parse(&self.lang).unwrap_or_default();
        let subject = if subject.contains('/') { subject.clone() } else { format!("person/{subject}") };
        if let Some(folder) = &self.proofs {
            self.write_proofs(&report, folder)?;
        }
        let text = match (self.format, &self.out) {
            (Format::Json, None) => return print_json(&report),
            (Format::Json, Some(_)) => serde_json::to_string_pretty(&report)? + "\n",
            (Format::Text, _) => tell(&report, &subject, lang),
            (Format::Html, _) => page::page(&report, &subject, lang),
        };
        match &self.out {
            None => print(&text),
            Some(out) => write_private(out, &text),
        }
    }

    fn write_proofs(&self, report: &AccessReport, folder: &Path) -> anyhow::Result<()> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("{} can't be made", folder.display()))?;
        let mut written = 0;
        for delivery in report.deliveries.iter().filter(|delivery| delivery.provable) {
            let proof =
                prove::of_delivery(&self.hub, &delivery.recipient, delivery.sequence, Some(delivery.epoch))?;
            let name = page::proof_name(delivery);
            let path = folder.join(name);
            write_private(&path, &proof)?;
            written += 1;
        }
        let proofs = if written == 1 { "1 proof is" } else { &format!("{written} proofs are") };
        eprintln!("{proofs} in {}.", folder.display());
        Ok(())
    }
}

/// A moment in words, in Nouméa.
pub(super) fn moment(milliseconds: i64, lang: Lang) -> String {
    let zone = TimeZone::get("Pacific/Noumea").unwrap_or(TimeZone::fixed(jiff::tz::offset(11)));
    let Ok(time) = Timestamp::from_millisecond(milliseconds) else { return milliseconds.to_string() };
    let time = time.to_zoned(zone);
    let clock = time.strftime(lang.pick("%H h %M", "%H:%M")).to_string();
    format!("{}{}{clock}", crate::agreements::day_in_words(time.date(), lang), lang.pick(" à ", " at "))
}

/// Where a delivery is: confirmed, or on its way.
pub(super) fn state(delivery: &AccessDelivery, lang: Lang) -> String {
    match delivery.delivered_at {
        Some(at) => moment(at, lang),
        None => {
            let at = moment(delivery.decided_at, lang);
            match lang {
                Lang::Fr => format!("décidé le {at}, pas encore remis"),
                Lang::En => format!("decided on {at}, not handed over yet"),
            }
        }
    }
}

/// What is said of the whole, a sentence each.
pub(super) fn summary(report: &AccessReport, lang: Lang) -> Vec<String> {
    let mut said = Vec::new();
    let member = &report.member;
    if let Some(at) = report.erased_at {
        let at = moment(at, lang);
        said.push(match lang {
            Lang::Fr => format!("Des événements de cette personne ont été effacés le {at}."),
            Lang::En => format!("Events about this person were erased on {at}."),
        });
    }
    said.push(match (report.events, lang) {
        (0, Lang::Fr) => "Le hub n'a rien d'autre sur elle.".to_owned(),
        (0, Lang::En) => "The hub has nothing else about this person.".to_owned(),
        (1, Lang::Fr) => format!("{member} a transmis 1 événement sur cette personne."),
        (1, Lang::En) => format!("{member} sent 1 event about this person."),
        (n, Lang::Fr) => format!("{member} a transmis {n} événements sur cette personne."),
        (n, Lang::En) => format!("{member} sent {n} events about this person."),
    });
    if report.events > 0 {
        said.push(match (report.deliveries.len(), lang) {
            (0, Lang::Fr) => "Aucun n'a été remis à personne.".to_owned(),
            (0, Lang::En) => "None was handed over to anyone.".to_owned(),
            (1, Lang::Fr) => "Voici à qui le hub en a remis quelque chose, en 1 livraison.".to_owned(),
            (1, Lang::En) => "This is whom the hub handed something of it to, in 1 delivery.".to_owned(),
            (n, Lang::Fr) => format!("Voici à qui le hub en a remis quelque chose, en {n} livraisons."),
            (n, Lang::En) => format!("This is whom the hub handed something of it to, in {n} deliveries."),
        });
    }
    said
}

/// The facts of a delivery, each with what it is.
pub(super) fn facts(delivery: &AccessDelivery, lang: Lang) -> Vec<(&'static str, String)> {
    let agreement = match delivery.title.as_str() {
        "" => delivery.agreement.clone(),
        title => format!("{title} ({})", delivery.agreement),
    };
    let mut facts = vec![
        (lang.pick("Quand", "When"), state(delivery, lang)),
        (lang.pick("Événement", "Event"), format!("{} ({})", delivery.event, delivery.event_type)),
        (lang.pick("Convention", "Agreement"), agreement),
    ];
    let mut add = |name, value: &str| {
        if !value.is_empty() {
            facts.push((name, value.to_owned()));
        }
    };
    add(lang.pick("Finalité", "Purpose"), &delivery.purpose);
    add(lang.pick("Base légale", "Legal basis"), &delivery.legal_basis);
    add(lang.pick("Texte", "Text"), delivery.legal_reference.as_deref().unwrap_or_default());
    let kept = delivery.retention_months.map(|months| match lang {
        Lang::Fr => format!("{months} mois chez {}", delivery.recipient),
        Lang::En => format!("{months} months, by {}", delivery.recipient),
    });
    add(lang.pick("Conservation", "Retention"), &kept.unwrap_or_default());
    let number = match (delivery.journal_entry, lang) {
        (Some(entry), Lang::Fr) => {
            format!("n° {} (époque {}), écriture {entry} du journal", delivery.sequence, delivery.epoch)
        }
        (Some(entry), Lang::En) => {
            format!("number {} (epoch {}), entry {entry} of the journal", delivery.sequence, delivery.epoch)
        }
        (None, Lang::Fr) => format!("n° {} (époque {})", delivery.sequence, delivery.epoch),
        (None, Lang::En) => format!("number {} (epoch {})", delivery.sequence, delivery.epoch),
    };
    add(lang.pick("Livraison", "Delivery"), &number);
    facts
}

fn tell(report: &AccessReport, subject: &str, lang: Lang) -> String {
    let mut text = match lang {
        Lang::Fr => {
            format!("Qui a reçu les données de {} (identifiant du membre {})", plain(subject), report.member)
        }
        Lang::En => format!("Who got the data of {} (identifier of {})", plain(subject), report.member),
    };
    text += &format!("\n\n{}\n", summary(report, lang).join("\n"));
    for (number, delivery) in (1..).zip(&report.deliveries) {
        text += &format!("\n{number}. {}\n", plain(&delivery.recipient));
        for (name, value) in facts(delivery, lang) {
            text += &format!("   {name}{}{}\n", lang.pick(" : ", ": "), plain(&value));
        }
        text += lang.pick("   Ce qui a été donné :\n", "   What was given:\n");
        for (path, label) in &delivery.fields {
            text += &format!("     - {} ({})\n", plain(label), plain(path));
        }
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn report() -> AccessReport {
        let delivery = AccessDelivery {
            recipient: "gouvernement".into(),
            decided_at: 1_793_675_112_345,
            delivered_at: Some(1_793_675_113_000),
            event_type: "nc.employment.jobseeker.registered".into(),
            event: "Un demandeur d'emploi s'est inscrit".into(),
            fields: vec![("person.family_name".into(), "Personne › Nom <b>".into())],
            agreement: "emploi-gouvernement:1".into(),
            title: "Suivi des demandeurs d'emploi".into(),
            purpose: "Instruction des aides".into(),
            legal_basis: "mission d'intérêt public (RGPD, article 6-1-e)".into(),
            legal_reference: Some("Délibération n° 7".into()),
            retention_months: Some(12),
            epoch: 1,
            sequence: 7,
            journal_entry: Some(41),
            provable: true,
        };
        let waiting = AccessDelivery {
            recipient: "cafat".into(),
            delivered_at: None,
            title: String::new(),
            journal_entry: None,
            legal_reference: None,
            provable: false,
            ..delivery.clone()
        };
        AccessReport {
            hub: "nc".into(),
            at: 1_793_675_200_000,
            member: "province-sud".into(),
            erased_at: None,
            events: 1,
            deliveries: vec![delivery, waiting],
        }
    }

    #[test]
    fn who_got_what_is_told_in_french_and_in_english() {
        insta::assert_snapshot!(tell(&report(), "person/4711", Lang::Fr));
        insta::assert_snapshot!(tell(&report(), "person/4711", Lang::En));
    }

    #[test]
    fn of_what_was_erased_only_that_it_was_is_told() {
        let erased =
            AccessReport { erased_at: Some(1_793_675_112_345), events: 0, deliveries: vec![], ..report() };
        insta::assert_snapshot!(tell(&erased, "person/4711", Lang::Fr));
    }
}
