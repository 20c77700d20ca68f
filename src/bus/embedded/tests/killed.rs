//! SIGKILL in the middle of publishing and acknowledging.

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// The folder of the store on which the child works.
const FOLDER: &str = "PIROGUE_TEST_KILLED_BUS";

fn say(what: &str, n: u64) {
    println!("{what} {n}");
    std::io::stdout().flush().unwrap();
}

/// Run as a child of the next test: publishes and acknowledges, and says so,
/// until it is killed. Messages are numbered without end over the lives of it.
#[test]
#[ignore = "the child of another test"]
fn child_that_publishes_and_acknowledges() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let options = BrokerOptions { log_bytes: 20_000, ..BrokerOptions::default() };
    let broker = open_with(Path::new(&folder), options);
    runtime().block_on(async {
        let mut consumer = inbox(&broker, 0).await;
        // Every life begins with at least the last message in the queue.
        let mut n = match broker.queue_depth(INBOX).unwrap().0 {
            0 => 0,
            waiting => {
                let mut last = 0;
                let mut count = 0;
                while count < waiting {
                    let got = next(&mut *consumer, 1000).await;
                    assert!(got.iter().all(|d| d.redelivered));
                    count += got.len() as u64;
                    last = *numbers(&got).last().unwrap();
                }
                consumer.requeue(1).await.unwrap();
                last + 1
            }
        };
        loop {
            publish(&broker, n..n + 10).await;
            n += 10;
            say("confirmed", n);
            let got = next(&mut *consumer, 8).await;
            if broker.queue_depth(INBOX).unwrap().0 > 12 {
                say("acknowledging", numbers(&got).last().unwrap() + 1);
                consumer.ack(got.last().unwrap().tag).await.unwrap();
            }
        }
    });
}

#[test]
fn nothing_confirmed_is_lost_and_nothing_is_skipped_when_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut confirmed, mut acknowledged) = (0, 0);
    for round in 1..=6usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["bus::embedded::tests::killed::child_that_publishes_and_acknowledges"])
            .args(["--exact", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut read = |line: String| {
            let said = |what: &str| line.strip_prefix(what)?.trim().parse().ok();
            confirmed = said("confirmed").unwrap_or(confirmed);
            acknowledged = said("acknowledging").unwrap_or(acknowledged);
        };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let enough = lines.by_ref().take(round * 9).map(&mut read).count();
        child.kill().unwrap();
        lines.for_each(read);
        child.wait().unwrap();
        assert_eq!(enough, round * 9, "the child ended by itself");

        let broker = open(&folder);
        runtime().block_on(async {
            let mut consumer = inbox(&broker, 0).await;
            let (waiting, _) = broker.queue_depth(INBOX).unwrap();
            let mut kept = Vec::new();
            while (kept.len() as u64) < waiting {
                kept.extend(numbers(&next(&mut *consumer, 1000).await));
            }
            assert!(kept.windows(2).all(|w| w[1] == w[0] + 1), "in order, none missing");
            assert!(kept[0] <= acknowledged, "{} is the first, {acknowledged} were acknowledged", kept[0]);
            assert!(kept[kept.len() - 1] + 1 >= confirmed);
        });
    }
    assert!(acknowledged > 50, "{acknowledged} acknowledged");
}
