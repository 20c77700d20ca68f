//! Seeded draws: every row is a function of the seed and its number, so that
//! any page can be made without keeping the rows.

use jiff::{Timestamp, civil, tz::Offset};

/// SplitMix64 (Steele, Lea and Flood 2014): small, fast, and the same on every
/// machine. It makes synthetic people; it isn't for secrets.
pub(super) struct Draw(u64);

impl Draw {
    /// The draws of row `row` of the table `salt`.
    pub(super) fn of(seed: u64, salt: u64, row: u64) -> Draw {
        let mut draw = Draw(seed ^ salt.rotate_left(32));
        let start = draw.next() ^ row.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        Draw(start)
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is at least 1.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        // The bias of the multiplication is under 2^-32 for the small ranges used here.
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True `percent` times in a hundred.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `of`, which isn't empty.
    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// 32 lowercase hex digits: `high`, then `low`.
pub(super) fn hex32(high: u64, low: u64) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(32);
    for word in [high, low] {
        for shift in (0..16).rev() {
            text.push(char::from(DIGITS[((word >> (shift * 4)) & 15) as usize]));
        }
    }
    text
}

/// The id of row `row` of the table `salt`: 8 hex digits of the row's number,
/// spread over the whole range, then 24 that are drawn. The order by id is the
/// order by row.
pub(super) fn row_id(seed: u64, salt: u64, row: u64) -> String {
    let mut draw = Draw::of(seed, salt ^ 0x1D, row);
    let prefix = (row + 1).saturating_mul(SPREAD).min(u64::from(u32::MAX));
    hex32((prefix << 32) | (draw.next() >> 32), draw.next())
}

/// The distance of two rows' prefixes: [`super::MAX_ROWS`] of them fill 32 bits.
const SPREAD: u64 = (u32::MAX as u64) / (super::MAX_ROWS as u64 + 1);

/// New Caledonia's offset from UTC, without summer time since 1997.
const NOUMEA: Offset = Offset::constant(11);

/// 7 January 2019, 07:00 in Nouméa.
const FIRST: i64 = 1_546_804_800;

/// Seconds between two rows: some 200 a day, and the last possible row is
/// before the end of 2025, so that no event comes from the future.
const STEP: i64 = 420;

/// When row `row` of the table `salt` was entered, in seconds since 1970.
fn entered_second(seed: u64, salt: u64, row: u64) -> i64 {
    // Less than STEP apart: the order by time is the order by row.
    FIRST + row as i64 * STEP + Draw::of(seed, salt ^ 0x71E, row).below(STEP as u64) as i64
}

/// When row `row` of the table `salt` was entered, in Nouméa's time.
pub(super) fn entered(seed: u64, salt: u64, row: u64) -> civil::DateTime {
    civil_of(entered_second(seed, salt, row))
}

/// The first row of the table `salt` that was entered after `time` (Nouméa's).
pub(super) fn first_after(seed: u64, salt: u64, time: civil::DateTime) -> u64 {
    let Ok(instant) = NOUMEA.to_timestamp(time) else { return 0 };
    let second = instant.as_second();
    // Every row before this one was entered before; this one, perhaps.
    let row = u64::try_from((second - FIRST).div_euclid(STEP)).unwrap_or(0);
    if entered_second(seed, salt, row) > second { row } else { row + 1 }
}

/// The civil time in Nouméa of `seconds` since 1970; that epoch itself where a
/// year can't be written.
pub(super) fn civil_of(seconds: i64) -> civil::DateTime {
    NOUMEA.to_datetime(Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// The time now in Nouméa, to the second, as Boost writes it.
pub(super) fn now() -> String {
    with_offset(&civil_of(Timestamp::now().as_second()))
}

/// `2026-02-03T09:30:00+11:00`.
pub(super) fn with_offset(time: &civil::DateTime) -> String {
    let mut text = time.to_string();
    text.push_str("+11:00");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_gives_the_published_sequence() {
        // Seed 1234567, from the reference implementation's documented output.
        let mut draw = Draw(1_234_567);
        assert_eq!(draw.next(), 6_457_827_717_110_365_317);
        assert_eq!(draw.next(), 3_203_168_211_198_807_973);
        assert_eq!(draw.next(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn ids_are_32_hex_digits_and_rise_with_the_row() {
        let last = super::super::MAX_ROWS as u64 - 1;
        let ids: Vec<String> =
            [0, 1, 2, 3, 255, 256, 65_535, 65_536, last].iter().map(|&row| row_id(7, 1, row)).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    }

    #[test]
    fn times_rise_with_the_row_and_none_is_in_the_future() {
        let mut before = civil::DateTime::MIN;
        for row in (0..2_000).chain([super::super::MAX_ROWS as u64 - 1]) {
            let time = entered(7, 1, row);
            assert!(before < time, "row {row}");
            before = time;
        }
        assert!(before < civil::date(2026, 1, 1).at(0, 0, 0, 0), "{before}");
    }

    #[test]
    fn the_first_row_after_a_time_is_the_first_one() {
        for hour in 0..48 {
            let time = civil::date(2019, 3, 2).at(hour % 24, hour / 24 * 30, 0, 0);
            let first = first_after(7, 1, time);
            assert!(entered(7, 1, first) > time && entered(7, 1, first - 1) <= time, "{time}");
        }
        assert_eq!(first_after(7, 1, civil::date(1999, 1, 1).at(0, 0, 0, 0)), 0);
        let exactly = entered(7, 1, 40);
        assert_eq!(first_after(7, 1, exactly), 41, "Gt is strict");
    }

    #[test]
    fn noumeas_time_is_written_with_its_offset() {
        assert_eq!(with_offset(&civil_of(FIRST)), "2019-01-07T07:00:00+11:00");
    }
}
