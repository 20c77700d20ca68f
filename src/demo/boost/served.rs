//! What the server served, so that the receiving side can be held against it.

/// What a row is about. Each has a table and a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Offers of employment.
    Offers,
    /// Jobseekers.
    Jobseekers,
}

impl Table {
    /// Both, offers first.
    pub const ALL: [Table; 2] = [Table::Offers, Table::Jobseekers];

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// What the server has served: the rows of each table that were in a page that
/// it sent, by the table or by its log, and how many answers it gave.
///
/// A page counts when it was made. A client that lost it asks again.
#[derive(Clone, Debug, Default)]
pub struct Served {
    bits: [Vec<u64>; 2],
    counts: [usize; 2],
    pages: u64,
    failures: u64,
    refusals: u64,
}

impl Served {
    /// How many different rows of `table` were served.
    pub fn count(&self, table: Table) -> usize {
        self.counts[table.index()]
    }

    /// Whether row `row` of `table` was served.
    pub fn has(&self, table: Table, row: usize) -> bool {
        self.bits[table.index()].get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// The rows of `table` that were served, rising.
    pub fn rows(&self, table: Table) -> impl Iterator<Item = usize> + '_ {
        let words = self.bits[table.index()].iter().enumerate();
        words.flat_map(|(n, &word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| n * 64 + bit)
        })
    }

    /// How many pages were sent.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// How many times the answer was a deliberate HTTP 500.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// How many times the answer was an HTTP 401, for a missing or wrong API key.
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    pub(super) fn page(&mut self, table: Table, rows: std::ops::Range<usize>) {
        self.pages += 1;
        let bits = &mut self.bits[table.index()];
        if bits.len() * 64 < rows.end {
            bits.resize(rows.end.div_ceil(64), 0);
        }
        for row in rows {
            let (word, bit) = (&mut bits[row / 64], 1 << (row % 64));
            self.counts[table.index()] += usize::from(*word & bit == 0);
            *word |= bit;
        }
    }

    pub(super) fn failure(&mut self) {
        self.failures += 1;
    }

    pub(super) fn refusal(&mut self) {
        self.refusals += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_once_however_often_it_is_served() {
        let mut served = Served::default();
        served.page(Table::Offers, 60..70);
        served.page(Table::Offers, 65..130);
        assert_eq!(served.count(Table::Offers), 70);
        assert_eq!(served.rows(Table::Offers).collect::<Vec<_>>(), (60..130).collect::<Vec<_>>());
        assert!(served.has(Table::Offers, 129) && !served.has(Table::Offers, 130));
        assert_eq!((served.count(Table::Jobseekers), served.pages()), (0, 2));
        assert!(!served.has(Table::Jobseekers, 60));
    }
}
