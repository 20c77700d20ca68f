//! `pirogue member sandbox`.

use crate::admin::sandbox::{self, Place};
use crate::agreements::SubjectMode;
use crate::bus::{Bus, HUB};
use crate::cli::hub::stop_signal;
use crate::cli::logging;
use crate::cli::render::{plain, print, short_time};
use crate::cli::runtime::block_on;
use crate::config::{BusSetting, HubConfig};
use crate::hub::sandbox::{Outcome, Sandbox, Verdict};
use crate::ops::broker;
use anyhow::bail;
use std::path::PathBuf;
use tokio::sync::watch;

/// Answer a newcomer's test events with what is wrong with each.
///
/// It makes a second virtual host at the broker, named after the exchange's with
/// -sandbox behind it, in which each member has the user, the password, the
/// queue and the permissions that it has in the exchange, and answers until
/// Ctrl-C what members publish there. It checks each event as the hub does, by
/// the hub's members and schemas. What the hub would refuse is answered with its
/// notice, nc.hub.event.rejected, with the reason and the field. A good event
/// goes back to its sender as a recipient would get it, behind its schema, under
/// the agreement sandbox:1. Nothing is recorded, and nobody else gets anything.
///
/// A member tests with the sandbox in its URL (amqps://BROKER/pirogue-sandbox),
/// made-up people, and, where it keeps what it received, state of its own: the
/// sandbox counts from 1 in a new epoch each time it starts. Who isn't admitted
/// yet has no user at the broker and can't test: admit it first.
///
/// Here, a line is printed for each event: the time, the member, the type, the id
/// and what became of it. Afterwards, `rabbitmqctl delete_vhost` takes the
/// virtual host away.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  pirogue member sandbox --config /etc/pirogue/hub.toml")]
pub(in crate::cli) struct SandboxCommand {
    /// The hub's configuration file, with [management].
    #[arg(long, value_name = "FILE", env = "PIROGUE_CONFIG")]
    config: PathBuf,
    /// How a good event's subject goes back; publisher brings the sender's signature too.
    #[arg(long, value_enum, default_value = "pseudonym")]
    subject: Subject,
}

/// How the subject goes back.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Subject {
    /// As a pseudonym, with the body in its projected schema.
    Pseudonym,
    /// Unchanged, as is everything else.
    Publisher,
}

impl SandboxCommand {
    /// Answers test events until it is told to stop.
    pub(super) fn run(self, verbose: u8) -> anyhow::Result<()> {
        let config = HubConfig::load(&self.config)?;
        logging::start(&config.log, verbose);
        let BusSetting::Amqp(url) = &config.bus else {
            bail!(
                "bus = \"embedded\" is the bus of a hub's own process, to which no newcomer comes: the sandbox takes \
                 RabbitMQ, bus = \"amqps://HOST\""
            );
        };
        let Some(management) = broker::management(&config.management)? else {
            bail!(
                "the sandbox makes a virtual host: set management.url and management.password in the configuration"
            );
        };
        let subject = match self.subject {
            Subject::Pseudonym => SubjectMode::Pseudonym,
            Subject::Publisher => SubjectMode::Publisher,
        };
        let mut sandbox = Sandbox::open(&config, subject)?;
        block_on(async {
            let told = stop_signal();
            let place = sandbox::prepare(url, HUB, sandbox.members(), &management).await?;
            let bus = broker::connection(&place.url, HUB, &config.broker)?;
            print(&opened(&place))?;
            answer(&mut sandbox, &bus, told).await
        })
    }
}

/// Answers test events until `told`, and prints a line for each.
async fn answer(sandbox: &mut Sandbox, bus: &dyn Bus, told: impl Future<Output = ()>) -> anyhow::Result<()> {
    let stop = watch::Sender::new(false);
    // What can't be printed is answered all the same.
    let mut tell = |verdict: Verdict| {
        if let Err(fault) = print(&line(&verdict, jiff::Timestamp::now().as_millisecond())) {
            tracing::warn!(%fault, "standard output can't be written to");
        }
    };
    let mut serving = std::pin::pin!(sandbox.serve(bus, &mut tell, stop.subscribe()));
    tokio::select! {
        ended = &mut serving => ended?,
        () = told => {
            stop.send_replace(true);
            serving.await?;
        }
    }
    Ok(())
}

fn opened(place: &Place) -> String {
    let mut text = format!("The sandbox is open: members publish to {}.\n", plain(&place.url));
    for member in &place.unknown {
        text +=
            &format!("{member} has no user at the broker and can't test: admit it, then start this again.\n");
    }
    text + "Stop it with Ctrl-C.\n"
}

fn line(verdict: &Verdict, at: i64) -> String {
    let Verdict { member, event_type, id, outcome, answered } = verdict;
    let member = member.as_ref().map_or("(no member)", |member| member.as_str());
    let (event_type, id) = (event_type.as_deref().unwrap_or("(no type)"), id.as_deref().unwrap_or("(no id)"));
    let mut text = match outcome {
        Outcome::Delivered => "ok".to_owned(),
        Outcome::Duplicate => "ok, and the same as one before: the hub drops it".to_owned(),
        Outcome::Refused(refusal) => format!("{}: {}", refusal.reason.as_str(), refusal.detail),
    };
    if !answered {
        text += " (not answered: no such member, or its queue is full or missing)";
    }
    plain(&format!("{}  {member}  {event_type}  {id}  {text}", short_time(at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::MemberName;
    use crate::fault::{Reason, Refusal};

    #[test]
    fn a_line_tells_one_event() {
        let at = 1_793_675_112_345;
        let mut verdict = Verdict {
            member: MemberName::parse("province-nord").ok(),
            event_type: Some("nc.employment.offer.published".to_owned()),
            id: Some("e-1".to_owned()),
            outcome: Outcome::Delivered,
            answered: true,
        };
        let start = "2026-11-03 14:05:12  province-nord  nc.employment.offer.published  e-1  ";
        assert_eq!(line(&verdict, at), format!("{start}ok"));
        verdict.outcome = Outcome::Refused(Refusal::new(Reason::InvalidData, "status: not in the code list"));
        assert_eq!(line(&verdict, at), format!("{start}invalid-data: status: not in the code list"));
        verdict = Verdict { member: None, event_type: None, id: None, answered: false, ..verdict };
        assert!(line(&verdict, at).contains("(no member)  (no type)  (no id)  invalid-data"));
    }
}
