//! `pirogue trace`.

use super::Printed;
use super::ask::{WhichHub, print_json, unexpected};
use super::render::{plain, print, span, time};
use crate::hub::operator::{Answer, Request, TraceDecision, TraceReport};

/// Tell one event's whole story: taken in or refused, decided, delivered.
///
/// The event is named by its source and its id, as its publisher gave them. The
/// story says when it was taken in or why it was refused, for whom it was
/// decided and under which agreement, which fields were granted and withheld,
/// and when each delivery was confirmed. Times are those of Nouméa.
///
/// The exit status is 1 where the hub knows no such event.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  pirogue trace /province-sud/boost 4711-1 --config /etc/pirogue/hub.toml")]
pub(super) struct TraceCommand {
    /// The event's source as its publisher gave it, /MEMBER/SYSTEM.
    source: String,
    /// The event's id.
    // One that the hub made can begin with a hyphen.
    #[arg(allow_hyphen_values = true)]
    id: String,
    #[command(flatten)]
    hub: WhichHub,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl TraceCommand {
    /// Asks the hub and prints the story.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let request = Request::Trace { source: self.source, id: self.id };
        let Answer::Trace(report) = self.hub.ask(&request)? else { return Err(unexpected()) };
        if self.json {
            print_json(&report)?
        } else {
            print(&tell(&report))?
        }
        if report.taken_in.is_none() && report.refused.is_empty() { Err(Printed.into()) } else { Ok(()) }
    }
}

fn tell(report: &TraceReport) -> String {
    let mut story = format!("Event {} of {}\n", plain(&report.id), plain(&report.source));
    for refusal in &report.refused {
        story += &format!(
            "\nRefused on {} as {}: {} It is entry {} of the quarantine.\n",
            time(refusal.at),
            plain(&refusal.reason),
            as_sentence(&refusal.detail),
            plain(&refusal.quarantine)
        );
    }
    let Some(intake) = &report.taken_in else {
        if report.refused.is_empty() {
            story += "\nThis hub never took in such an event, and has none in quarantine. Was it published, and \
                      under exactly this source and id?\n";
        }
        return story;
    };
    story += &format!("\nTaken in on {}, as number {}", time(intake.at), intake.index);
    if let Some(entry) = intake.journal_entry {
        story += &format!(" (entry {entry} of the journal)");
    }
    story += &format!(
        ".\nIt is a {}, by {}, signed with the key {}.\n",
        plain(&intake.event_type),
        plain(&intake.schema),
        plain(&intake.signed_by)
    );
    match intake.gone.as_deref() {
        None => {}
        Some("erased") => story += "Its content was erased.\n",
        Some(_) => story += "Its content was removed: its days are over (retention.replay_days).\n",
    }
    for decision in &report.decisions {
        story += &tell_decision(decision);
    }
    if !report.undecided.is_empty() {
        story += &format!("\nNot decided yet for: {}.\n", list(&report.undecided));
    } else if report.decisions.is_empty() {
        story += "\nNo agreement in force grants it to anyone: it was delivered to nobody.\n";
    }
    story
}

fn tell_decision(decision: &TraceDecision) -> String {
    let mut story = format!("\nFor {}", plain(&decision.recipient));
    if let Some(agreement) = &decision.agreement {
        story += &format!(", under the agreement {}", plain(agreement));
    }
    story += &format!(", it was decided on {}", time(decision.decided_at));
    match decision.sequence {
        Some(sequence) => story += &format!(" as delivery number {sequence}.\n"),
        None => story += ".\n",
    }
    match decision.granted.as_slice() {
        [] => {}
        [all] if all == "*" => story += "  Granted: every field.\n",
        fields => story += &format!("  Granted: {}.\n", list(fields)),
    }
    if !decision.withheld.is_empty() {
        story += &format!("  Withheld: {}.\n", list(&decision.withheld));
    }
    if let Some(why) = &decision.not_sent {
        story += &format!("  Not sent: {}\n", as_sentence(why));
    }
    match (decision.delivered_at, decision.sequence) {
        (Some(at), _) => {
            story += &format!("  Delivered on {}, {} later.\n", time(at), span(at - decision.decided_at));
        }
        (None, Some(_)) if decision.not_sent.is_none() => {
            story += "  Not confirmed yet: it is sent again until the bus confirms it.\n";
        }
        _ => {}
    }
    story
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", ")
}

/// A detail with a point at its end. It begins as it is: often with a field.
fn as_sentence(detail: &str) -> String {
    let end = if detail.ends_with(['.', '?', '!']) { "" } else { "." };
    format!("{}{end}", plain(detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::operator::{TraceIntake, TraceRefusal};

    const AT: i64 = 1_793_675_112_345;

    fn report() -> TraceReport {
        TraceReport { source: "/province-sud/boost".into(), id: "4711-1".into(), ..TraceReport::default() }
    }

    fn taken_in() -> TraceReport {
        TraceReport {
            taken_in: Some(TraceIntake {
                at: AT,
                index: 12,
                journal_entry: Some(40),
                event_type: "nc.employment.jobseeker.registered".into(),
                schema: "urn:pirogue:schema:nc.employment.jobseeker.registered:1".into(),
                signed_by: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".into(),
                gone: None,
            }),
            ..report()
        }
    }

    fn decision() -> TraceDecision {
        TraceDecision {
            recipient: "gouvernement".into(),
            agreement: Some("emploi-gouvernement:1".into()),
            granted: vec!["person.family_name".into(), "status".into()],
            withheld: vec!["person.birthdate".into()],
            sequence: Some(7),
            not_sent: None,
            decided_at: AT + 10,
            delivered_at: Some(AT + 1510),
        }
    }

    #[test]
    fn the_story_of_a_delivered_event() {
        let lapsed = TraceDecision {
            recipient: "cafat".into(),
            granted: vec![],
            withheld: vec![],
            sequence: None,
            delivered_at: None,
            not_sent: Some("the agreement lapsed before it was decided".into()),
            ..decision()
        };
        let report =
            TraceReport { decisions: vec![decision(), lapsed], undecided: vec!["isee".into()], ..taken_in() };
        insta::assert_snapshot!(tell(&report), @r#"
        Event 4711-1 of /province-sud/boost

        Taken in on 3 November 2026 at 14:05:12, as number 12 (entry 40 of the journal).
        It is a nc.employment.jobseeker.registered, by urn:pirogue:schema:nc.employment.jobseeker.registered:1, signed with the key kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k.

        For gouvernement, under the agreement emploi-gouvernement:1, it was decided on 3 November 2026 at 14:05:12 as delivery number 7.
          Granted: person.family_name, status.
          Withheld: person.birthdate.
          Delivered on 3 November 2026 at 14:05:13, 1.5 s later.

        For cafat, under the agreement emploi-gouvernement:1, it was decided on 3 November 2026 at 14:05:12.
          Not sent: the agreement lapsed before it was decided.

        Not decided yet for: isee.
        "#);
    }

    #[test]
    fn the_story_of_a_refused_event() {
        let refused = TraceRefusal {
            at: AT,
            reason: "invalid-data".into(),
            detail: "person.birthdate isn't a partial date".into(),
            quarantine: "3".into(),
        };
        insta::assert_snapshot!(tell(&TraceReport { refused: vec![refused], ..report() }), @r#"
        Event 4711-1 of /province-sud/boost

        Refused on 3 November 2026 at 14:05:12 as invalid-data: person.birthdate isn't a partial date. It is entry 3 of the quarantine.
        "#);
    }

    #[test]
    fn the_story_of_an_event_that_nobody_may_have() {
        assert!(tell(&taken_in()).ends_with("it was delivered to nobody.\n"));
    }

    #[test]
    fn what_was_not_confirmed_yet_is_said() {
        let waiting = TraceDecision { delivered_at: None, granted: vec!["*".into()], ..decision() };
        let story = tell(&TraceReport { decisions: vec![waiting], ..taken_in() });
        assert!(story.contains("every field") && story.contains("Not confirmed yet"), "{story}");
    }

    #[test]
    fn a_content_that_was_erased_is_told_from_one_whose_days_are_over() {
        let story = |gone: Option<&str>| {
            let mut report = taken_in();
            report.taken_in.as_mut().unwrap().gone = gone.map(str::to_owned);
            tell(&report)
        };
        assert!(!story(None).contains("content"));
        assert!(story(Some("erased")).contains("Its content was erased.\n"));
        assert!(story(Some("expired")).contains("its days are over"));
    }

    #[test]
    fn an_event_that_is_not_known_is_said_to_be() {
        assert!(tell(&report()).contains("never took in such an event"));
    }
}
