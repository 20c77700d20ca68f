//! Makes harmless, on its way in, what the client library can't read.
//!
//! RabbitMQ takes short strings that aren't UTF-8 and tables within tables to
//! any depth. For lapin the first are an error that ends the connection, and
//! the second, with some thousands of levels in one message, the end of its
//! stack and so of the process. Either would come again with the message, at
//! each connection: one message of one member would stop a hub.
//!
//! So each frame with a message's properties or routing key is looked at before
//! lapin sees it. Bytes that aren't UTF-8 become `?`, and tables below the
//! eighth level become byte arrays, which have the same length. Such a message
//! then fails the checks that every message has to pass, and is refused like
//! any other.

/// How deep tables may be within tables.
const DEPTH: u8 = 8;
/// A frame begins with its type, its channel and its size; one byte ends it.
const FRAME_HEAD: usize = 7;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
/// Class `basic`, method `deliver`.
const DELIVER: [u8; 4] = [0, 60, 0, 60];

/// Frames on their way from the broker to the client library.
#[derive(Default)]
pub(super) struct Filter {
    bytes: Vec<u8>,
    /// Up to here, the bytes were handed on.
    taken: usize,
    /// Up to here, they may be.
    clear: usize,
    /// So many more bytes belong to a frame that may pass as it is.
    passing: usize,
}

impl Filter {
    /// Takes in what the broker sent.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            (self.taken, self.clear) = (0, 0);
        }
        self.bytes.extend_from_slice(bytes);
        self.advance();
    }

    /// Hands on as much as there is and `out` holds.
    pub(super) fn take(&mut self, out: &mut [u8]) -> usize {
        let count = out.len().min(self.clear - self.taken);
        out[..count].copy_from_slice(&self.bytes[self.taken..self.taken + count]);
        self.taken += count;
        // What waits for the rest of its frame is moved to the front: it is small.
        if self.taken == self.clear && self.taken > 0 {
            self.bytes.drain(..self.taken);
            (self.taken, self.clear) = (0, 0);
        }
        count
    }

    fn advance(&mut self) {
        loop {
            let waiting = self.bytes.len() - self.clear;
            let pass = waiting.min(self.passing);
            self.clear += pass;
            self.passing -= pass;
            let rest = &mut self.bytes[self.clear..];
            let Some((head, _)) = rest.split_first_chunk::<FRAME_HEAD>() else { return };
            let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
            let whole = FRAME_HEAD + size + 1;
            match head[0] {
                METHOD | HEADER => {
                    let Some(frame) = rest.get_mut(..whole) else { return };
                    let kind = frame[0];
                    let payload = &mut frame[FRAME_HEAD..FRAME_HEAD + size];
                    // What isn't of the form that AMQP gives it stays as it is,
                    // for lapin to refuse: RabbitMQ doesn't send it.
                    let _ = if kind == METHOD { clean_method(payload) } else { clean_properties(payload) };
                    self.clear += whole;
                }
                _ => self.passing = whole,
            }
        }
    }
}

/// Bytes that remain to be looked at.
struct Cursor<'a>(&'a mut [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a mut [u8]> {
        let (head, rest) = std::mem::take(&mut self.0).split_at_mut_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn number(&mut self) -> Option<usize> {
        let bytes: [u8; 4] = (&*self.take(4)?).try_into().ok()?;
        usize::try_from(u32::from_be_bytes(bytes)).ok()
    }

    fn short_string(&mut self) -> Option<()> {
        let length = usize::from(self.take(1)?[0]);
        clean(self.take(length)?);
        Some(())
    }

    /// A table: its length, then names and values.
    fn table(&mut self, depth: u8) -> Option<()> {
        let length = self.number()?;
        let mut inside = Cursor(self.take(length)?);
        while !inside.0.is_empty() {
            inside.short_string()?;
            inside.value(depth)?;
        }
        Some(())
    }

    fn value(&mut self, depth: u8) -> Option<()> {
        let kind = self.take(1)?;
        match kind[0] {
            b'V' => {}
            b't' | b'b' | b'B' => drop(self.take(1)?),
            b's' | b'u' | b'U' => drop(self.take(2)?),
            b'I' | b'i' | b'f' => drop(self.take(4)?),
            b'D' => drop(self.take(5)?),
            b'l' | b'L' | b'd' | b'T' => drop(self.take(8)?),
            b'F' if depth < DEPTH => self.table(depth + 1)?,
            b'A' if depth < DEPTH => {
                let length = self.number()?;
                let mut inside = Cursor(self.take(length)?);
                while !inside.0.is_empty() {
                    inside.value(depth + 1)?;
                }
            }
            b'F' | b'A' => {
                kind[0] = b'x';
                let length = self.number()?;
                self.take(length)?;
            }
            b'S' | b'x' => {
                let length = self.number()?;
                self.take(length)?;
            }
            _ => return None,
        }
        Some(())
    }
}

/// Makes each byte that isn't UTF-8 a question mark.
fn clean(text: &mut [u8]) {
    let mut from = 0;
    while let Err(fault) = std::str::from_utf8(&text[from..]) {
        let bad = from + fault.valid_up_to();
        let count = fault.error_len().unwrap_or(text.len() - bad);
        text[bad..bad + count].fill(b'?');
        from = bad + count;
    }
}

/// `basic.deliver`: a consumer tag, a delivery tag, whether it is redelivered,
/// an exchange, a routing key.
fn clean_method(payload: &mut [u8]) -> Option<()> {
    let mut cursor = Cursor(payload);
    if cursor.take(4)? != DELIVER {
        return Some(());
    }
    cursor.short_string()?;
    cursor.take(9)?;
    cursor.short_string()?;
    cursor.short_string()
}

/// A content header of class `basic` (AMQP 0-9-1 section 4.2.6.1): which
/// properties there are, then these.
fn clean_properties(payload: &mut [u8]) -> Option<()> {
    let mut cursor = Cursor(payload);
    cursor.take(12)?;
    let flags: [u8; 2] = (&*cursor.take(2)?).try_into().ok()?;
    let flags = u16::from_be_bytes(flags);
    for property in 0..14 {
        if flags & (0x8000 >> property) == 0 {
            continue;
        }
        match property {
            2 => cursor.table(1)?,
            // Delivery mode, priority.
            3 | 4 => drop(cursor.take(1)?),
            // Timestamp.
            9 => drop(cursor.take(8)?),
            _ => cursor.short_string()?,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::types::parsing::parse_value;
    use proptest::prelude::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = (payload.len() as u32).to_be_bytes();
        [&[kind, 0, 1], &size[..], payload, &[0xCE]].concat()
    }

    fn short(text: &[u8]) -> Vec<u8> {
        [&[text.len() as u8], text].concat()
    }

    /// A header frame with a content type, headers and a message id.
    fn header(content_type: &[u8], table: &[u8], message_id: &[u8]) -> Vec<u8> {
        let flags = (0x8000u16 | 0x2000 | 0x0080).to_be_bytes();
        let table = [&(table.len() as u32).to_be_bytes()[..], table].concat();
        let payload = [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3][..], &flags].concat();
        frame(2, &[payload, short(content_type), table, short(message_id)].concat())
    }

    fn passed(bytes: &[u8], feeds: usize, takes: usize) -> Vec<u8> {
        let mut filter = Filter::default();
        let (mut out, mut part) = (Vec::new(), vec![0; takes]);
        for feed in bytes.chunks(feeds) {
            filter.feed(feed);
            loop {
                match filter.take(&mut part) {
                    0 => break,
                    count => out.extend_from_slice(&part[..count]),
                }
            }
        }
        out
    }

    #[test]
    fn what_isnt_utf_8_becomes_question_marks_and_nothing_else_changes() {
        let value = [b"S\0\0\0\x02", &[0xFF, 0xFE][..]].concat();
        let bad = header(b"a\xFFb", &[short(b"n\xC3"), value.clone()].concat(), "é\u{10FFFF}".as_bytes());
        let good = header(b"a?b", &[short(b"n?"), value].concat(), "é\u{10FFFF}".as_bytes());
        let deliver =
            |key: &[u8]| frame(1, &[&DELIVER[..], &short(b"c"), &[0; 9], &short(b"x"), &short(key)].concat());
        let body = frame(3, &[0xFF; 300]);
        let bad = [deliver(b"m.\x80"), bad, body.clone()].concat();
        let good = [deliver(b"m.?"), good, body].concat();
        for (feeds, takes) in [(1, 1), (7, 3), (10_000, 10_000), (10_000, 5), (13, 1000)] {
            assert_eq!(passed(&bad, feeds, takes), good, "{feeds} {takes}");
        }
    }

    #[test]
    fn tables_below_the_eighth_level_become_byte_arrays() {
        // A table in a table …, 20,000 of them.
        let mut value = Vec::new();
        for _ in 0..20_000 {
            let table = if value.is_empty() { Vec::new() } else { [short(b"t"), value].concat() };
            value = [&b"F"[..], &(table.len() as u32).to_be_bytes(), &table].concat();
        }
        let bytes = header(b"", &[short(b"t"), value].concat(), b"");
        let cleaned = passed(&bytes, 4096, 4096);
        assert_eq!(cleaned.len(), bytes.len());
        let levels = cleaned.iter().filter(|byte| **byte == b'F').count();
        assert!(cleaned.contains(&b'x'));
        assert!(levels > 19_000, "what is inside a byte array isn't touched");
        let value = &cleaned[FRAME_HEAD + 14 + 1 + 4 + 2..];
        let (_, parsed) = parse_value(value).unwrap();
        let mut depth = 0;
        let mut inner = &parsed;
        while let lapin::types::AMQPValue::FieldTable(table) = inner {
            depth += 1;
            inner = table.inner().values().next().unwrap();
        }
        assert_eq!(depth, usize::from(DEPTH) - 1);
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_pass_whole(
            frames in prop::collection::vec((3u8..9, any::<Vec<u8>>()), 0..6),
            junk in prop::collection::vec(any::<u8>(), 0..200),
            feeds in 1usize..50,
            takes in 1usize..50,
        ) {
            let mut bytes: Vec<u8> =
                frames.iter().flat_map(|(kind, payload)| frame(*kind, payload)).collect();
            bytes.extend(frame(1, &junk));
            bytes.extend(frame(2, &junk));
            let out = passed(&bytes, feeds, takes);
            prop_assert_eq!(out.len(), bytes.len());
            let bodies: usize = frames.iter().map(|(_, payload)| payload.len() + 8).sum();
            prop_assert_eq!(&out[..bodies], &bytes[..bodies]);
        }
    }
}
