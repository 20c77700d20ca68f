//! The names of tiles: `tile/<L>/<N>[.p/<W>]` and `tile/entries/<N>[.p/<W>]`.

use super::WIDTH;
use std::fmt;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileKind {
    /// Hashes of this level: 0 is the leaves', each next one has the roots of
    /// the full tiles of the level below.
    Hashes(u8),
    /// Entries: a bundle.
    Entries,
}

/// One tile of a log. Shown, it is its path: `tile/0/x001/234.p/7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    kind: TileKind,
    index: u64,
    width: u16,
}

impl Tile {
    /// The tile `index` of a kind as it stands in a tree of `size` entries;
    /// none where that tree has no such tile.
    pub fn at(kind: TileKind, index: u64, size: u64) -> Option<Tile> {
        let all = match kind {
            TileKind::Entries => size,
            TileKind::Hashes(level) => hashes_at(level, size),
        };
        let left = all.checked_sub(index.checked_mul(WIDTH as u64)?)?;
        let width = left.min(WIDTH as u64) as u16;
        (width > 0).then_some(Tile { kind, index, width })
    }

    /// A full tile.
    pub fn full(kind: TileKind, index: u64) -> Tile {
        Tile { kind, index, width: WIDTH as u16 }
    }

    /// What it holds.
    pub fn kind(&self) -> TileKind {
        self.kind
    }

    /// Its place within its level, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or entries it holds: 1 to 256.
    pub fn width(&self) -> usize {
        usize::from(self.width)
    }

    /// Whether it holds 256.
    pub fn is_full(&self) -> bool {
        self.width() == WIDTH
    }

    /// Reads a path, in its one right form.
    pub fn parse(path: &str) -> Option<Tile> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes(level.parse().ok().filter(|level| *level < 64)?),
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, width.parse().ok().filter(|w| (1..256).contains(w))?),
            None => (rest, WIDTH as u16),
        };
        let index = index.split('/').try_fold(0u64, |index, element| {
            let group: u64 = element.trim_start_matches('x').parse().ok()?;
            index.checked_mul(1000)?.checked_add(group)
        })?;
        let tile = Tile { kind, index, width };
        // Zeroes in front, signs, an `x` too many: the same tile, another path.
        (tile.to_string() == path).then_some(tile)
    }
}

/// How many hashes of `level` a tree of `size` entries has.
pub(super) fn hashes_at(level: u8, size: u64) -> u64 {
    size.checked_shr(u32::from(level) * 8).unwrap_or(0)
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for group in groups[1..].iter().rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{:03}", groups[0])?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_paths_are_those_of_the_specification() {
        let tile = |kind, index, width| Tile { kind, index, width };
        for (tile, path) in [
            (tile(TileKind::Hashes(0), 1_234_067, 256), "tile/0/x001/x234/067"),
            (tile(TileKind::Hashes(0), 273, 112), "tile/0/273.p/112"),
            (tile(TileKind::Hashes(63), 0, 1), "tile/63/000.p/1"),
            (tile(TileKind::Entries, 1000, 256), "tile/entries/x001/000"),
            (tile(TileKind::Entries, 999, 255), "tile/entries/999.p/255"),
        ] {
            assert_eq!(tile.to_string(), path);
            assert_eq!(Tile::parse(path), Some(tile));
        }
    }

    /// The example of the specification, and the edges.
    #[test]
    fn a_tree_has_the_tiles_that_the_specification_says() {
        let width = |level, index, size| Tile::at(TileKind::Hashes(level), index, size).map(|t| t.width());
        assert_eq!(width(0, 272, 70_000), Some(256));
        assert_eq!(width(0, 273, 70_000), Some(112));
        assert_eq!(width(0, 274, 70_000), None);
        assert_eq!((width(1, 0, 70_000), width(1, 1, 70_000)), (Some(256), Some(17)));
        assert_eq!((width(2, 0, 70_000), width(2, 1, 70_000), width(3, 0, 70_000)), (Some(1), None, None));
        assert_eq!((width(0, 0, 256), width(0, 1, 256), width(1, 0, 256)), (Some(256), None, Some(1)));
        assert_eq!((width(0, 0, 0), width(0, 0, 1), width(1, 0, 255)), (None, Some(1), None));
        assert_eq!((width(7, 0, u64::MAX), width(8, 0, u64::MAX)), (Some(255), None));
        assert_eq!((width(63, 0, u64::MAX), width(0, u64::MAX, u64::MAX)), (None, None));
    }

    #[test]
    fn other_spellings_of_a_path_are_refused() {
        for path in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/0/67",
            "tile/00/067",
            "tile/+1/067",
            "tile/64/067",
            "tile/0/x000/067",
            "tile/0/x001/x067",
            "tile/0/001/067",
            "tile/0/xx001/067",
            "tile/0/1067",
            "tile/0/067.p/0",
            "tile/0/067.p/256",
            "tile/0/067.p/07",
            "tile/0/067.p/",
            "tile/0/067/",
            "/tile/0/067",
            "tile/entry/067",
            "tile/0/../067",
            "tile/0/x99999999999999999999/x999/x999/x999/x999/x999/999",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
        ] {
            assert_eq!(Tile::parse(path), None, "{path}");
        }
        let last = "tile/0/x018/x446/x744/x073/x709/x551/615";
        assert_eq!(Tile::parse(last).map(|tile| tile.index()), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn a_path_reads_back(level in 0u8..64, index in any::<u64>(), width in 1u16..=256) {
            for kind in [TileKind::Hashes(level), TileKind::Entries] {
                let tile = Tile { kind, index, width };
                prop_assert_eq!(Tile::parse(&tile.to_string()), Some(tile));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "(tile/)?[0-9ex/.p+-]{0,40}", any in any::<String>()) {
            for text in [text, any] {
                if let Some(tile) = Tile::parse(&text) {
                    prop_assert_eq!(tile.to_string(), text);
                }
            }
        }
    }
}
