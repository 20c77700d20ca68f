//! What the journal says, and its bytes.

/// How the journal names a message: `HMAC-SHA-256(salt, SHA-256(signature ||
/// 0x00 || body))`. Once the salt is gone, nothing leads back to the message.
pub type Name = [u8; 32];

/// One entry. Times are milliseconds since 1970 by the hub's clock. None holds
/// a subject or anything of an event's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An event was taken in.
    Event {
        /// When.
        at: i64,
        /// The message as it was published.
        name: Name,
        /// Who published it: a member, or `hub`.
        publisher: String,
        /// Its type.
        event_type: String,
        /// Its schema's version.
        version: u32,
        /// The thumbprint of the key that signed it; empty for the hub's own.
        kid: String,
    },
    /// A message is about to be delivered.
    Delivered {
        /// When it was decided.
        at: i64,
        /// The message as it is delivered.
        name: Name,
        /// The event that it carries, as its `Event` entry names it; all zero
        /// for a schema that the hub publishes.
        event: Name,
        /// To whom.
        recipient: String,
        /// The epoch.
        epoch: u32,
        /// The recipient's sequence number.
        sequence: u64,
        /// The agreement, `ID:VERSION`; empty for the hub's own messages.
        agreement: String,
    },
    /// An event that an agreement granted when it was taken in was withheld,
    /// since that agreement was no longer in force when it was decided.
    Withheld {
        /// When.
        at: i64,
        /// The event, as its `Event` entry names it.
        event: Name,
        /// From whom.
        recipient: String,
        /// The agreement, `ID:VERSION`.
        agreement: String,
    },
    /// A key was added, changed or removed.
    Key {
        /// When.
        at: i64,
        /// Whose: a member, or `hub`.
        owner: String,
        /// The key's thumbprint.
        kid: String,
        /// Its use: `event`, `agreement`, `delivery`, `checkpoint`.
        key_use: String,
        /// What holds now: `added`, `changed` or `removed`.
        change: String,
        /// From when it is valid, to when, and since when it is revoked, in
        /// seconds since 1970; 0 where unset.
        validity: [i64; 3],
    },
    /// An agreement came into force or ended.
    Agreement {
        /// When.
        at: i64,
        /// The agreement, `ID:VERSION`: its parties' own name for it.
        reference: String,
        /// Who gives.
        provider: String,
        /// Who gets.
        recipient: String,
        /// SHA-256 of the text that both signed (C2SP signed-note), without its
        /// signatures: these may stand in any order, and change with a key.
        digest: [u8; 32],
        /// Whether it came into force; otherwise it ended.
        in_force: bool,
    },
}

/// Bytes that aren't an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes aren't an entry of the journal")]
pub struct EntryFault;

const VERSION: u8 = 1;

impl Entry {
    /// The entry's bytes: a version, a kind, then the members in order; texts
    /// have their length in two bytes before them, numbers are little-endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(192));
        match self {
            Entry::Event { at, name, publisher, event_type, version, kid } => {
                out.start(1, *at)
                    .raw(name)
                    .text(publisher)
                    .text(event_type)
                    .raw(&version.to_le_bytes())
                    .text(kid);
            }
            Entry::Delivered { at, name, event, recipient, epoch, sequence, agreement } => {
                out.start(2, *at).raw(name).raw(event).text(recipient).raw(&epoch.to_le_bytes());
                out.raw(&sequence.to_le_bytes()).text(agreement);
            }
            Entry::Withheld { at, event, recipient, agreement } => {
                out.start(3, *at).raw(event).text(recipient).text(agreement);
            }
            Entry::Key { at, owner, kid, key_use, change, validity } => {
                out.start(4, *at).text(owner).text(kid).text(key_use).text(change);
                for seconds in validity {
                    out.raw(&seconds.to_le_bytes());
                }
            }
            Entry::Agreement { at, reference, provider, recipient, digest, in_force } => {
                out.start(5, *at).text(reference).text(provider).text(recipient);
                out.raw(digest).raw(&[u8::from(*in_force)]);
            }
        }
        out.0
    }

    /// Reads an entry from its bytes.
    pub fn decode(bytes: &[u8]) -> Result<Entry, EntryFault> {
        let mut rest = Reader(bytes);
        if rest.array()? != [VERSION] {
            return Err(EntryFault);
        }
        let [kind] = rest.array()?;
        let at = i64::from_le_bytes(rest.array()?);
        let entry = match kind {
            1 => Entry::Event {
                at,
                name: rest.array()?,
                publisher: rest.text()?,
                event_type: rest.text()?,
                version: u32::from_le_bytes(rest.array()?),
                kid: rest.text()?,
            },
            2 => Entry::Delivered {
                at,
                name: rest.array()?,
                event: rest.array()?,
                recipient: rest.text()?,
                epoch: u32::from_le_bytes(rest.array()?),
                sequence: u64::from_le_bytes(rest.array()?),
                agreement: rest.text()?,
            },
            3 => {
                Entry::Withheld { at, event: rest.array()?, recipient: rest.text()?, agreement: rest.text()? }
            }
            4 => Entry::Key {
                at,
                owner: rest.text()?,
                kid: rest.text()?,
                key_use: rest.text()?,
                change: rest.text()?,
                validity: [
                    i64::from_le_bytes(rest.array()?),
                    i64::from_le_bytes(rest.array()?),
                    i64::from_le_bytes(rest.array()?),
                ],
            },
            5 => Entry::Agreement {
                at,
                reference: rest.text()?,
                provider: rest.text()?,
                recipient: rest.text()?,
                digest: rest.array()?,
                in_force: match rest.array()? {
                    [0] => false,
                    [1] => true,
                    _ => return Err(EntryFault),
                },
            },
            _ => return Err(EntryFault),
        };
        if rest.0.is_empty() { Ok(entry) } else { Err(EntryFault) }
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn start(&mut self, kind: u8, at: i64) -> &mut Writer {
        self.raw(&[VERSION, kind]).raw(&at.to_le_bytes())
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Writer {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Every text here is bounded by the grammar far below 64 KiB.
    fn text(&mut self, text: &str) -> &mut Writer {
        let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
        self.raw(&(text.len() as u16).to_le_bytes()).raw(text)
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], EntryFault> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(EntryFault)?;
        self.0 = tail;
        Ok(*head)
    }

    fn text(&mut self) -> Result<String, EntryFault> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        let (head, tail) = self.0.split_at_checked(length).ok_or(EntryFault)?;
        self.0 = tail;
        std::str::from_utf8(head).map(str::to_owned).map_err(|_| EntryFault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let text = "[a-z0-9.:-]{0,40}";
        prop_oneof![
            (any::<i64>(), any::<Name>(), text, text, any::<u32>(), text).prop_map(
                |(at, name, publisher, event_type, version, kid)| Entry::Event {
                    at,
                    name,
                    publisher,
                    event_type,
                    version,
                    kid
                }
            ),
            (any::<i64>(), any::<Name>(), any::<Name>(), text, any::<u32>(), any::<u64>(), text).prop_map(
                |(at, name, event, recipient, epoch, sequence, agreement)| Entry::Delivered {
                    at,
                    name,
                    event,
                    recipient,
                    epoch,
                    sequence,
                    agreement
                }
            ),
            (any::<i64>(), any::<Name>(), text, text).prop_map(|(at, event, recipient, agreement)| {
                Entry::Withheld { at, event, recipient, agreement }
            }),
            (any::<i64>(), text, text, text, text, any::<[i64; 3]>()).prop_map(
                |(at, owner, kid, key_use, change, validity)| Entry::Key {
                    at,
                    owner,
                    kid,
                    key_use,
                    change,
                    validity
                }
            ),
            (any::<i64>(), text, text, text, any::<[u8; 32]>(), any::<bool>()).prop_map(
                |(at, reference, provider, recipient, digest, in_force)| Entry::Agreement {
                    at,
                    reference,
                    provider,
                    recipient,
                    digest,
                    in_force
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn an_entry_reads_back_as_it_was_written(entry in entry()) {
            prop_assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
        }

        #[test]
        fn a_cut_or_longer_entry_is_refused(entry in entry(), cut in any::<prop::sample::Index>()) {
            let mut bytes = entry.encode();
            prop_assert!(Entry::decode(&bytes[..cut.index(bytes.len())]).is_err());
            bytes.push(0);
            prop_assert!(Entry::decode(&bytes).is_err());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in any::<Vec<u8>>()) {
            let _ = Entry::decode(&bytes);
        }
    }
}
