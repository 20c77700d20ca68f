//! The clock: by it the hub refuses events from the future, and keys and
//! agreements begin and end.

use super::Findings;
use jiff::Timestamp;

const CHECK: &str = "clock";
const SET: &str = "let both machines set their clocks by NTP: `timedatectl set-ntp true`";

/// How far two clocks may be apart, in seconds: a warning, and a failure.
const APART: [i64; 2] = [5, 60];

/// Compares this machine's clock, which shows `ours`, with the broker's.
pub(super) fn compare(ours: Timestamp, theirs: Timestamp, findings: &mut Findings) {
    let apart = ours.as_second() - theirs.as_second();
    let which = if apart > 0 { "ahead of" } else { "behind" };
    let found = format!("this machine's clock is {} seconds {which} the broker's", apart.abs());
    let [little, much] = APART;
    match apart.abs() {
        seconds if seconds <= 1 => findings.ok(CHECK, "this machine's clock and the broker's agree"),
        seconds if seconds <= little => findings.ok(CHECK, found),
        seconds if seconds < much => findings.warning(CHECK, found, SET),
        _ => findings.failed(
            CHECK,
            format!("{found}: events, keys and agreements would be refused for their time"),
            SET,
        ),
    }
}

/// Says what the clock shows, where there is nothing to compare it with.
pub(super) fn alone(now: Timestamp, findings: &mut Findings) {
    let shown = now.strftime("%Y-%m-%d %H:%M:%S");
    findings.ok(
        CHECK,
        format!("this machine's clock shows {shown} UTC; the hub refuses events more than 5 minutes ahead of its own"),
    );
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn clocks_that_are_apart_are_told_with_how_far() {
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        for (ours, level, words) in [
            (0, Level::Ok, "agree"),
            (-1, Level::Ok, "agree"),
            (5, Level::Ok, "5 seconds ahead of"),
            (6, Level::Warning, "6 seconds ahead of"),
            (-59, Level::Warning, "59 seconds behind"),
            (60, Level::Failed, "60 seconds ahead of"),
            (-86_400, Level::Failed, "86400 seconds behind"),
        ] {
            let mut findings = Findings::default();
            compare(at(ours), at(0), &mut findings);
            let finding = findings.0.remove(0);
            assert_eq!(finding.level, level, "{ours}");
            assert!(finding.found.contains(words), "{}", finding.found);
            assert_eq!(finding.remedy.is_some(), level != Level::Ok);
        }
    }
}
