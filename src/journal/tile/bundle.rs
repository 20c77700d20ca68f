//! Bundles of entries: before each entry its length, in two bytes, big-endian.

/// The longest entry that a bundle can hold, in bytes.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// An entry is too long for a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry of {0} bytes is too long for the journal, whose tiles hold entries of at most 65,535")]
pub struct EntryTooLong(pub usize);

/// Appends `entry` to a bundle.
pub fn encode_entry(entry: &[u8], bundle: &mut Vec<u8>) -> Result<(), EntryTooLong> {
    let length = u16::try_from(entry.len()).map_err(|_| EntryTooLong(entry.len()))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// The first `width` entries of a bundle and the bytes after them; none where
/// there are fewer, or one is cut.
pub(super) fn split_bundle(bundle: &[u8], width: usize) -> Option<(Vec<&[u8]>, &[u8])> {
    let mut rest = bundle;
    let mut entries = Vec::with_capacity(width.min(super::WIDTH));
    for _ in 0..width {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        let (entry, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        rest = tail;
    }
    Some((entries, rest))
}

/// The entries of a bundle that holds exactly `width`; none where it doesn't.
pub fn decode_bundle(bundle: &[u8], width: usize) -> Option<Vec<&[u8]>> {
    split_bundle(bundle, width).and_then(|(entries, rest)| rest.is_empty().then_some(entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_entry_goes_in_and_a_longer_one_does_not() {
        let mut bundle = Vec::new();
        encode_entry(&vec![7; MAX_ENTRY_BYTES], &mut bundle).unwrap();
        assert_eq!(bundle[..3], [0xff, 0xff, 7]);
        assert_eq!(decode_bundle(&bundle, 1).map(|e| e[0].len()), Some(MAX_ENTRY_BYTES));
        let before = bundle.clone();
        assert_eq!(encode_entry(&vec![7; MAX_ENTRY_BYTES + 1], &mut bundle), Err(EntryTooLong(65_536)));
        assert_eq!(bundle, before);
    }

    proptest! {
        #[test]
        fn a_bundle_reads_back_and_is_exact(entries in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let mut bundle = Vec::new();
            entries.iter().for_each(|entry| encode_entry(entry, &mut bundle).unwrap());
            let read: Option<Vec<Vec<u8>>> =
                decode_bundle(&bundle, entries.len()).map(|e| e.iter().map(|e| e.to_vec()).collect());
            prop_assert_eq!(read.as_ref(), Some(&entries));
            prop_assert_eq!(decode_bundle(&bundle, entries.len() + 1), None);
            if !entries.is_empty() {
                prop_assert_eq!(decode_bundle(&bundle, entries.len() - 1), None);
                prop_assert_eq!(decode_bundle(&bundle[..bundle.len() - 1], entries.len()), None);
            }
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in any::<Vec<u8>>(), width in any::<usize>()) {
            let _ = decode_bundle(&bytes, width);
        }
    }
}
