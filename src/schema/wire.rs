//! Avro's binary encoding, read from a slice: nothing is allocated, and nothing
//! is believed that the bytes don't hold.
//!
//! Avro 1.12, "Binary Encoding". apache-avro's own decoder isn't used on what
//! comes from outside: it allocates by a length before it has read that much,
//! and reads a body that ends too early as nulls.

use super::fault::DataFault;
use std::borrow::Cow;

/// How Avro's single-object encoding begins.
pub(super) const MARKER: [u8; 2] = [0xC3, 0x01];
/// The marker and the fingerprint.
pub(super) const HEADER_BYTES: usize = 10;

/// What is wrong, and where: the path grows as the walk returns.
pub(super) struct Trouble {
    path: String,
    detail: Cow<'static, str>,
}

/// The result of a step of a walk. Boxed, so that the good case stays small.
pub(super) type Walk<T> = Result<T, Box<Trouble>>;

/// A [`Trouble`] at this place.
pub(super) fn trouble<T>(detail: impl Into<Cow<'static, str>>) -> Walk<T> {
    Err(Box::new(Trouble { path: String::new(), detail: detail.into() }))
}

impl Trouble {
    /// The same, seen from the record that has the field `name`.
    pub(super) fn in_field(mut self: Box<Self>, name: &str) -> Box<Self> {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    /// The same, seen from the array that has the item at `index`.
    pub(super) fn in_item(mut self: Box<Self>, index: usize) -> Box<Self> {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("[{index}]{dot}{}", self.path);
        self
    }

    pub(super) fn into_fault(self) -> DataFault {
        DataFault::data(self.path, self.detail)
    }
}

const TOO_SHORT: &str = "it ends too early";

/// A place in a body.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A block of an array.
pub(super) struct Block {
    /// How many items it has.
    pub(super) items: usize,
    /// Where it ends, where the writer said so.
    end: Option<usize>,
}

impl<'a> Input<'a> {
    /// The place `at` in `bytes`.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Input<'a> {
        Input { bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The bytes from `start` to here.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Fails unless everything was read.
    pub(super) fn finish(&self) -> Walk<()> {
        match self.remaining() {
            0 => Ok(()),
            _ => trouble("it has bytes after its end"),
        }
    }

    #[inline]
    fn byte(&mut self) -> Walk<u8> {
        match self.bytes.get(self.at) {
            Some(byte) => {
                self.at += 1;
                Ok(*byte)
            }
            None => trouble(TOO_SHORT),
        }
    }

    /// An int or a long: a zigzag varint of at most 64 bits.
    #[inline]
    pub(super) fn long(&mut self) -> Walk<i64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            n |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok((n >> 1) as i64 ^ -((n & 1) as i64));
            }
        }
        trouble("it has a number of more than 64 bits")
    }

    pub(super) fn int(&mut self) -> Walk<i32> {
        match i32::try_from(self.long()?) {
            Ok(int) => Ok(int),
            Err(_) => trouble("it has an int of more than 32 bits"),
        }
    }

    pub(super) fn boolean(&mut self) -> Walk<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => trouble("it has a boolean that is neither 0 nor 1"),
        }
    }

    pub(super) fn double(&mut self) -> Walk<f64> {
        let Some(eight) = self.bytes[self.at..].first_chunk::<8>() else { return trouble(TOO_SHORT) };
        self.at += 8;
        Ok(f64::from_le_bytes(*eight))
    }

    /// The bytes of a string: its length, then as many bytes.
    #[inline]
    pub(super) fn string_bytes(&mut self) -> Walk<&'a [u8]> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) if length <= self.remaining() => {
                let start = self.at;
                self.at += length;
                Ok(&self.bytes[start..self.at])
            }
            Ok(_) => trouble(TOO_SHORT),
            Err(_) => trouble("it has a negative length"),
        }
    }

    pub(super) fn string(&mut self) -> Walk<&'a str> {
        match std::str::from_utf8(self.string_bytes()?) {
            Ok(text) => Ok(text),
            Err(_) => trouble("expected text in UTF-8"),
        }
    }

    /// An index below `count`: of an enumeration's symbol, of a union's branch.
    #[inline]
    pub(super) fn index(&mut self, count: usize) -> Walk<usize> {
        match usize::try_from(self.long()?) {
            Ok(index) if index < count => Ok(index),
            _ => trouble("it has a symbol or a branch that the schema doesn't have"),
        }
    }

    /// The next block of an array, or none at the array's end. An item takes at
    /// least one byte, so no more are promised than there are bytes.
    pub(super) fn block(&mut self) -> Walk<Option<Block>> {
        let count = self.long()?;
        if count == 0 {
            return Ok(None);
        }
        let size = match count < 0 {
            true => Some(self.long()?),
            false => None,
        };
        let items = match usize::try_from(count.unsigned_abs()) {
            Ok(items) if items <= self.remaining() => items,
            _ => return trouble("it counts more items than it has bytes"),
        };
        let end = match size.map(usize::try_from) {
            None => None,
            Some(Ok(size)) if size <= self.remaining() => Some(self.at + size),
            Some(_) => return trouble("it has a block of another size than it says"),
        };
        Ok(Some(Block { items, end }))
    }

    /// Fails unless `block` ends here, where the writer said its size.
    pub(super) fn end_block(&self, block: &Block) -> Walk<()> {
        match block.end {
            Some(end) if end != self.at => trouble("it has a block of another size than it says"),
            _ => Ok(()),
        }
    }
}

/// Appends an int or a long.
pub(super) fn put_long(out: &mut Vec<u8>, n: i64) {
    let mut rest = ((n << 1) ^ (n >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a string.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    put_long(out, text.len() as i64);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_written_as_in_the_specification() {
        // Avro 1.12, "Primitive Types": the examples of zigzag coding.
        for (n, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (-2, &[0x03]),
            (-64, &[0x7F]),
            (64, &[0x80, 0x01]),
        ] {
            let mut out = Vec::new();
            put_long(&mut out, n);
            assert_eq!(out, bytes);
        }
        let mut out = Vec::new();
        put_string(&mut out, "foo");
        assert_eq!(out, [0x06, 0x66, 0x6F, 0x6F]);
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        for bytes in [&[0xFF; 11][..], &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02]] {
            assert!(Input::new(bytes, 0).long().is_err());
        }
        let max = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        assert_eq!(Input::new(&max, 0).long().ok(), Some(i64::MIN));
    }

    proptest! {
        #[test]
        fn a_number_reads_back_as_it_was_written(n in any::<i64>()) {
            let mut out = Vec::new();
            put_long(&mut out, n);
            let mut input = Input::new(&out, 0);
            prop_assert_eq!(input.long().ok(), Some(n));
            prop_assert!(input.finish().is_ok());
        }
    }
}
