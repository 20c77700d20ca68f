//! How things look for people: times, sizes, tables.

use anyhow::Context;
use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes what tells of a person to `path`: a new file is its owner's alone.
pub(super) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("{} can't be written", path.display()))
}

/// Nouméa's time: 11 hours ahead of UTC all year round, since 1997 without
/// daylight saving time. So this needs no zone database.
fn noumea() -> TimeZone {
    TimeZone::fixed(Offset::constant(11))
}

/// A time in Nouméa, `3 November 2026 at 14:05:12`, from Unix milliseconds.
pub(super) fn time(milliseconds: i64) -> String {
    match Timestamp::from_millisecond(milliseconds) {
        Ok(time) => time.to_zoned(noumea()).strftime("%-d %B %Y at %H:%M:%S").to_string(),
        Err(_) => format!("{milliseconds} ms after 1970"),
    }
}

/// A time in Nouméa for a table's cell, `2026-11-03 14:05:12`.
pub(super) fn short_time(milliseconds: i64) -> String {
    match Timestamp::from_millisecond(milliseconds) {
        Ok(time) => time.to_zoned(noumea()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => milliseconds.to_string(),
    }
}

/// How long something took, from milliseconds: `12 ms`, `3.4 s`, `5 min`.
pub(super) fn span(milliseconds: i64) -> String {
    match milliseconds.max(0) {
        ms @ 0..1000 => format!("{ms} ms"),
        ms @ 1000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        ms @ 60_000..7_200_000 => format!("{} min", ms / 60_000),
        ms @ 7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        ms => format!("{} days", ms / 86_400_000),
    }
}

/// A size in bytes: `512 B`, `3.4 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// A number with its noun: `1 member`, `12,345 members`.
pub(super) fn count(n: u64, one: &str) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let ending = match one {
        _ if n == 1 => one.to_owned(),
        _ => one.strip_suffix('y').map_or_else(|| format!("{one}s"), |stem| format!("{stem}ies")),
    };
    format!("{grouped} {ending}")
}

/// A text of others for a terminal: control characters could move the cursor
/// or worse.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A table with these headings. On a terminal it keeps to the width; a test's
/// table doesn't depend on where the test runs.
pub(super) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    if !cfg!(test) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(headings);
    table
}

/// Prints `text` and a newline on standard output. A reader that has seen
/// enough, as `head` does, isn't a fault.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(format!("{}\n", text.trim_end()).as_bytes()) {
        Err(fault) if fault.kind() != ErrorKind::BrokenPipe => Err(fault.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_noumea() {
        // 2026-11-03T03:05:12Z
        assert_eq!(time(1_793_675_112_345), "3 November 2026 at 14:05:12");
        assert_eq!(short_time(1_793_675_112_345), "2026-11-03 14:05:12");
        assert_eq!(short_time(i64::MAX), i64::MAX.to_string());
    }

    #[test]
    fn sizes_spans_and_counts_read_well() {
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 40, "5.0 TiB")];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
        let spans = [(-1, "0 ms"), (999, "999 ms"), (1500, "1.5 s"), (61_000, "1 min"), (7_200_000, "2 h")];
        for (ms, text) in spans {
            assert_eq!(span(ms), text);
        }
        assert_eq!(span(30 * 86_400_000), "30 days");
        let counts =
            [(0, "0 entries"), (1, "1 entry"), (1234, "1,234 entries"), (1_000_000, "1,000,000 entries")];
        for (n, text) in counts {
            assert_eq!(count(n, "entry"), text);
        }
        assert_eq!(count(2, "member"), "2 members");
    }

    #[test]
    fn a_text_of_others_can_not_drive_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{9b}é"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}é");
    }
}
