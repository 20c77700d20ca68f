//! `pirogue member list`.

use super::{OfHub, moment, now, validity};
use crate::admin::joining::{self, ListedInvitation, ListedMember};
use crate::bus::{amqp, queue_of};
use crate::cli::ask::print_json;
use crate::cli::provision::management;
use crate::cli::render::{print, size, table};
use crate::cli::runtime::block_on;
use crate::config::{BusSetting, HubConfig};
use crate::event::MemberName;
use crate::hub::operator::{Answer, Request};
use crate::ops::client;
use comfy_table::ColumnConstraint;
use std::collections::HashMap;

/// List the members: their keys, how these stand, and what waits for them.
///
/// The keys are those in the members' folder, which a running hub goes by since
/// its last reload. How much is in a member's queue is asked of the running hub,
/// or of RabbitMQ's management API, and left open where neither answers. Below
/// them, the invitations that nobody answered yet.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  pirogue member list --config hub.toml")]
pub(in crate::cli) struct ListCommand {
    #[command(flatten)]
    hub: OfHub,
    /// Print the list as JSON; times are in seconds since 1970.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report {
    members: Vec<ListedMember>,
    invitations: Vec<ListedInvitation>,
}

impl ListCommand {
    /// Prints the list.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.hub.load()?;
        let mut members = joining::members(&config, now())?;
        let depths = depths(&config);
        for member in &mut members {
            if let Some((messages, bytes)) = depths.get(&member.member) {
                (member.queue_messages, member.queue_bytes) = (Some(*messages), Some(*bytes));
            }
        }
        let report = Report { members, invitations: joining::invitations(&config, now())? };
        if self.json { print_json(&report) } else { print(&tell(&report)) }
    }
}

/// Messages and bytes in the members' queues, as far as someone can be asked.
fn depths(config: &HubConfig) -> HashMap<String, (u64, u64)> {
    if let Ok(Answer::Status(status)) = client::call(&config.data, &Request::Status) {
        let of = |one: crate::hub::operator::RecipientStatus| {
            (one.recipient, (one.queue_messages, one.queue_bytes))
        };
        return status.recipients.into_iter().map(of).collect();
    }
    at_broker(config).unwrap_or_default()
}

fn at_broker(config: &HubConfig) -> Option<HashMap<String, (u64, u64)>> {
    let BusSetting::Amqp(url) = &config.bus else { return None };
    let management = management(config).ok()??;
    let vhost = amqp::vhost_of(url).ok()?;
    let queues = block_on(management.queues(&vhost)).ok()?;
    let prefix = queue_of(&MemberName::parse("xx").ok()?);
    let prefix = prefix.strip_suffix("xx")?;
    let of = |queue: crate::bus::manage::Queue| {
        let member = queue.name.strip_prefix(prefix)?.to_owned();
        Some((member, (queue.messages, queue.message_bytes)))
    };
    Some(queues.into_iter().filter_map(of).collect())
}

fn tell(report: &Report) -> String {
    if report.members.is_empty() && report.invitations.is_empty() {
        return "There is no member yet: pirogue member invite NAME begins.".to_owned();
    }
    let mut members = table(&["member", "key for", "kid", "stands", "in its queue"]);
    for member in &report.members {
        let queue = match (member.queue_messages, member.queue_bytes) {
            (Some(messages), Some(bytes)) => format!("{messages} ({})", size(bytes)),
            _ => "?".to_owned(),
        };
        if member.keys.is_empty() {
            members.add_row([member.member.as_str(), "", "", "no key", &queue]);
        }
        for (nth, key) in member.keys.iter().enumerate() {
            let (name, queue) = if nth == 0 { (member.member.as_str(), queue.as_str()) } else { ("", "") };
            members.add_row([name, key.key_use, &key.kid, &validity(key), queue]);
        }
    }
    // An identifier is there to be copied: it isn't broken into lines.
    if let Some(kids) = members.column_mut(2) {
        kids.set_constraint(ColumnConstraint::ContentWidth);
    }
    let mut text = String::new();
    if !report.members.is_empty() {
        text += &format!("{members}\n");
    }
    for invitation in &report.invitations {
        let ends = if invitation.ended { "ended on" } else { "open until" };
        text += &format!("invited: {}, {ends} {}\n", invitation.member, moment(invitation.expires));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::joining::{KeyState, ListedKey};

    #[test]
    fn a_list_reads_well() {
        let key = |key_use, kid: &str, state, valid_until, revoked| ListedKey {
            key_use,
            kid: kid.into(),
            state,
            valid_from: None,
            valid_until,
            revoked,
        };
        // 3 November 2026 at 14:05:12 in Nouméa.
        let then = Some(1_793_675_112);
        let member = |name: &str, keys, queue: Option<u64>| ListedMember {
            member: name.into(),
            keys,
            queue_messages: queue,
            queue_bytes: queue.map(|messages| messages * 1024),
        };
        let report = Report {
            members: vec![
                member(
                    "gouvernement",
                    vec![
                        key("event", "AAAA", KeyState::Ended, then, None),
                        key("event", "BBBB", KeyState::Valid, then, None),
                        key("agreement", "CCCC", KeyState::Valid, None, None),
                    ],
                    Some(3),
                ),
                member("province-sud", vec![key("event", "DDDD", KeyState::Revoked, None, then)], None),
            ],
            invitations: vec![ListedInvitation {
                member: "province-nord".into(),
                expires: 1_793_675_112,
                ended: false,
            }],
        };
        insta::assert_snapshot!(tell(&report), @r"
        ┌──────────────┬───────────┬──────┬─────────────────────────────┬──────────────┐
        │ member       ┆ key for   ┆ kid  ┆ stands                      ┆ in its queue │
        ╞══════════════╪═══════════╪══════╪═════════════════════════════╪══════════════╡
        │ gouvernement ┆ event     ┆ AAAA ┆ ended 2026-11-03 14:05:12   ┆ 3 (3.0 KiB)  │
        │              ┆ event     ┆ BBBB ┆ until 2026-11-03 14:05:12   ┆              │
        │              ┆ agreement ┆ CCCC ┆ valid                       ┆              │
        │ province-sud ┆ event     ┆ DDDD ┆ revoked 2026-11-03 14:05:12 ┆ ?            │
        └──────────────┴───────────┴──────┴─────────────────────────────┴──────────────┘
        invited: province-nord, open until 3 November 2026 at 14:05:12
        ");
        assert!(tell(&Report { members: vec![], invitations: vec![] }).contains("member invite"));
    }
}
