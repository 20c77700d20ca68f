//! Reads a table key by key, and keeps every fault with its line, where a
//! deserializer would stop at the first.

use super::AgreementFault;
use crate::event::MemberName;
use std::cell::OnceCell;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is expected of a text.
pub(super) const TEXT: &str = "a text that isn't empty";

/// What was read so far, and what was wrong.
pub(super) struct Reader<'t> {
    pub(super) text: &'t str,
    pub(super) faults: Vec<AgreementFault>,
    /// So many faults are kept at most: a text can hold one in every line.
    most: usize,
    /// Where each line begins: only known once a line is asked for, since most
    /// texts are read without a fault.
    starts: OnceCell<Vec<usize>>,
}

/// The keys of one table.
pub(super) struct Keys<'r, 'i> {
    table: &'r DeTable<'i>,
    /// Where the table begins, in bytes.
    start: usize,
    /// Which grant it is, from 1; none for the whole document.
    position: Option<usize>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str, most: usize) -> Reader<'t> {
        Reader { text, faults: Vec::new(), most, starts: OnceCell::new() }
    }

    /// Keeps a fault, unless there are enough.
    pub(super) fn keep(&mut self, fault: impl FnOnce(&Self) -> AgreementFault) {
        if !self.is_full() {
            let fault = fault(self);
            self.faults.push(fault);
        }
    }

    /// Whether there are faults enough, so that there is no use in reading on.
    pub(super) fn is_full(&self) -> bool {
        self.faults.len() >= self.most
    }

    /// The line, from 1, of a byte of the text.
    fn line_at(&self, at: usize) -> usize {
        let starts = self.starts.get_or_init(|| {
            let mut starts = Vec::with_capacity(self.text.bytes().filter(|b| *b == b'\n').count() + 1);
            starts.push(0);
            starts.extend(self.text.match_indices('\n').map(|(at, _)| at + 1));
            starts
        });
        starts.partition_point(|start| *start <= at).max(1)
    }

    /// The keys of `table`, which is `of`, each of which is one of `known`.
    pub(super) fn table<'r, 'i>(
        &mut self,
        table: &'r DeTable<'i>,
        start: usize,
        of: &'static str,
        known: &[&'static str],
        position: Option<usize>,
    ) -> Keys<'r, 'i> {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            if self.is_full() {
                break;
            }
            let name = key.get_ref().to_string();
            let likeness = |known: &&'static str| (strsim::jaro(&name, known) * 1000.0) as u32;
            let near = known.iter().copied().max_by_key(likeness).filter(|near| likeness(near) > 750);
            let line = self.line_at(key.span().start);
            self.keep(|_| AgreementFault::UnknownKey { line, key: name, of, near });
        }
        Keys { table, start, position }
    }
}

impl<'r, 'i> Keys<'r, 'i> {
    fn find(&self, key: &str) -> Option<(&'r Spanned<std::borrow::Cow<'i, str>>, &'r Spanned<DeValue<'i>>)> {
        self.table.iter().find(|(known, _)| known.get_ref() == key)
    }

    /// Whether the key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The value of a key that has to be there.
    pub(super) fn get<T>(
        &self,
        reader: &mut Reader<'_>,
        key: &'static str,
        expected: &'static str,
        read: impl FnOnce(&'r DeValue<'i>) -> Option<T>,
    ) -> Option<T> {
        if !self.has(key) {
            reader.keep(|reader| match self.position {
                None => AgreementFault::Missing { key, expected },
                Some(position) => {
                    let line = reader.line_at(self.start);
                    AgreementFault::GrantMissing { line, position, key, expected }
                }
            });
        }
        self.option(reader, key, expected, read)
    }

    /// The value of a key that may be left out.
    pub(super) fn option<T>(
        &self,
        reader: &mut Reader<'_>,
        key: &'static str,
        expected: &'static str,
        read: impl FnOnce(&'r DeValue<'i>) -> Option<T>,
    ) -> Option<T> {
        let (_, value) = self.find(key)?;
        let read = read(value.get_ref());
        if read.is_none() {
            self.refuse(reader, key, expected);
        }
        read
    }

    /// Keeps the fault that the value of `key` isn't what is `expected`.
    pub(super) fn refuse(&self, reader: &mut Reader<'_>, key: &'static str, expected: &'static str) {
        reader.keep(|reader| {
            let line = self.line(reader, key);
            match self.position {
                None => AgreementFault::Value { line, key, expected },
                Some(position) => AgreementFault::GrantValue { line, position, key, expected },
            }
        });
    }

    /// The line of a key; where the table begins, if it isn't there.
    pub(super) fn line(&self, reader: &Reader<'_>, key: &str) -> usize {
        reader.line_at(self.find(key).map_or(self.start, |(key, _)| key.span().start))
    }

    /// The line of each item of a key's array.
    pub(super) fn lines_of_items(&self, reader: &Reader<'_>, key: &str) -> Vec<usize> {
        let items = self.find(key).and_then(|(_, value)| value.get_ref().as_array());
        items.into_iter().flatten().map(|item| reader.line_at(item.span().start)).collect()
    }
}

/// A text that isn't empty.
pub(super) fn filled(value: &DeValue<'_>) -> Option<String> {
    value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

/// A member's name.
pub(super) fn member(value: &DeValue<'_>) -> Option<MemberName> {
    MemberName::parse(value.as_str()?).ok()
}

/// A whole number that isn't negative.
pub(super) fn number(value: &DeValue<'_>) -> Option<u32> {
    let number = value.as_integer()?;
    u32::from_str_radix(number.as_str(), number.radix()).ok()
}

/// What the TOML parser says, with its line.
pub(super) fn toml_fault(text: &str, error: &toml::de::Error) -> AgreementFault {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
    AgreementFault::Toml { line, detail: error.message().to_owned() }
}
