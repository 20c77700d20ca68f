//! Replay: what a recipient was sent is made again of its decisions, and sent
//! again with the same numbers, beside what is sent to it anyway.

use crate::bus::{Confirm, DELIVERIES};
use crate::event::{MemberName, Message};
use crate::hub::decide::{Decided, DecisionRow};
use crate::hub::operator::{Answer, ReplayReport};
use crate::hub::recorded::decode_row;
use crate::hub::{Hub, HubFault, prove, release, sealed};
use crate::tasks::stopped;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait before publishing again where the queue takes no more:
/// doubled each time.
const BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];
/// For how long a queue may take nothing before a replay gives up.
const PATIENCE: Duration = Duration::from_secs(45);

impl Hub {
    /// Sends the messages `from` to `until` of the present epoch to the recipient
    /// `to` again.
    pub(super) async fn replay(&self, to: &str, from: u64, until: Option<u64>) -> Result<Answer, HubFault> {
        let shared = &self.shared;
        let failed = |detail: String| Ok(Answer::Failed { detail });
        let member = MemberName::parse(to).ok();
        let progress = match &member {
            Some(member) => shared.progress(member)?,
            None => None,
        };
        let (Some(member), Some(cursor)) = (member, progress) else {
            return failed("this hub has no such recipient: see `pirogue status`".to_owned());
        };
        let last = release::confirmed_sequence(shared, to, cursor)?;
        let until = until.unwrap_or(last);
        if from == 0 || from > until || until > last {
            return failed(format!(
                "{to} was sent the numbers 1 to {last}: say --from and --until within these, the first before the last"
            ));
        }
        let Some(row) = prove::decision(shared, to, shared.epoch, from)? else {
            return failed(format!("number {from} to {to} isn't of epoch {}: say a later one", shared.epoch));
        };
        let mut report = ReplayReport { recipient: to.to_owned(), first: from, ..ReplayReport::default() };
        let mut next = row.first;
        loop {
            // One decision at a time: there may be as many as ever were.
            let start = release::decision_key(to, next);
            let entry = shared.store.scan_from(&release::decisions_prefix(to), &start).next();
            let Some(entry) = entry else { break };
            let row: DecisionRow = decode_row(&entry?.1)?;
            if row.sequence > until {
                break;
            }
            next = row.first + 1;
            if row.messages == 0 {
                continue;
            }
            if let Some(answer) = self.again(&member, &row, from, until, &mut report).await? {
                return Ok(answer);
            }
        }
        tracing::info!(
            recipient = to,
            first = report.first,
            last = report.last,
            withheld = report.withheld,
            "messages were sent again"
        );
        Ok(Answer::Replayed(report))
    }

    /// Sends the messages of one decision again. Returns the answer where that
    /// can't be done.
    async fn again(
        &self,
        member: &MemberName,
        row: &DecisionRow,
        from: u64,
        until: u64,
        report: &mut ReplayReport,
    ) -> Result<Option<Answer>, HubFault> {
        let shared = &self.shared;
        let mut stop = self.stop_release.subscribe();
        let mut done = 0;
        let mut pause = BACKOFF[0];
        let mut deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut erasing = shared.erasing.subscribe();
            let carrying = shared.carrying.read().await;
            let world = shared.world();
            let (_, bytes) = shared.timeline.extent(row.first)?;
            let room = shared.release_room.take(bytes).await?;
            let batch = shared.timeline.batch(row.first).await?;
            let decided = match Decided::again(shared, &world, row.clone(), batch) {
                Ok(decided) => vec![Arc::new(decided)],
                Err(HubFault::DeliveryKeyChanged) => {
                    let end = row.sequence + row.messages - 1;
                    let detail = format!(
                        "the messages up to number {end} at least were signed by another delivery key than keys.delivery \
                         is now, and can't be made again by this one: put that key back for the time of the replay, or \
                         say a later --from"
                    );
                    return Ok(Some(Answer::Failed { detail }));
                }
                Err(fault) => return Err(fault),
            };
            let sealed = sealed::seal(shared, &world, member, &decided).await?;
            let numbered = (row.sequence..).zip(sealed);
            let wanted = numbered.filter(|(number, _)| (from..=until).contains(number)).skip(done);
            let (withheld, messages): (Vec<bool>, Vec<(String, Message)>) =
                wanted.map(|(_, s)| (s.gone.is_some(), (s.routing_key, s.message))).unzip();
            let first = row.sequence.max(from) + done as u64;
            let published = tokio::select! {
                published = self.bus.publish(DELIVERIES, messages) => published,
                _ = erasing.changed() => Ok(Vec::new()),
                () = stopped(&mut stop) => {
                    let detail = format!("the hub stops; number {first} and what follows wasn't sent again");
                    return Ok(Some(Answer::Failed { detail }));
                }
            };
            drop((carrying, room));
            let taken = match published {
                Ok(confirms) => confirms.iter().take_while(|c| matches!(c, Confirm::Accepted)).count(),
                Err(fault) => {
                    shared.bus_failed(member, &fault)?;
                    0
                }
            };
            done += taken;
            report.messages += taken as u64;
            report.withheld += withheld[..taken].iter().filter(|w| **w).count() as u64;
            if taken > 0 {
                report.last = first + taken as u64 - 1;
                pause = BACKOFF[0];
                deadline = tokio::time::Instant::now() + PATIENCE;
            }
            if taken == withheld.len() {
                return Ok(None);
            }
            if tokio::time::Instant::now() > deadline {
                let detail = format!(
                    "the queue of {member} takes no more: number {} and what follows wasn't sent again; see that {member} \
                     takes its messages, then replay from there",
                    first + taken as u64
                );
                return Ok(Some(Answer::Failed { detail }));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF[1]);
        }
    }
}
