//! Messages in the frames of a queue's log.

use crate::event::Message;
use bytes::Bytes;

/// A message that waits in memory.
pub(super) struct Entry {
    pub(super) routing_key: String,
    pub(super) message: Message,
    /// How many bytes it takes in the log.
    pub(super) size: u32,
}

/// Appends a message to a frame: its length, the length of the routing key (both
/// 32-bit little-endian), the key, the message. Returns how many bytes that is.
pub(super) fn encode(routing_key: &str, message: &Message, frame: &mut Vec<u8>) -> u32 {
    let start = frame.len();
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&(routing_key.len() as u32).to_le_bytes());
    frame.extend_from_slice(routing_key.as_bytes());
    message.encode(frame);
    let size = (frame.len() - start) as u32;
    frame[start..start + 4].copy_from_slice(&(size - 4).to_le_bytes());
    size
}

/// Reads the messages of a frame. Their bodies share its bytes.
pub(super) fn decode(frame: Vec<u8>) -> Result<Vec<Entry>, String> {
    const CUT: &str = "a frame of the queue ends too early";
    let mut rest = Bytes::from(frame);
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let length = read_u32(&rest).ok_or(CUT)?;
        if rest.len() - 4 < length {
            return Err(CUT.to_owned());
        }
        let mut record = rest.split_to(4 + length).split_off(4);
        let key_length = read_u32(&record).ok_or(CUT)?;
        let key = record.get(4..4 + key_length).ok_or(CUT)?;
        let routing_key = String::from_utf8(key.to_vec()).map_err(|_| "a routing key isn't UTF-8")?;
        let message = Message::decode(&record.split_off(4 + key_length)).map_err(|e| e.to_string())?;
        entries.push(Entry { routing_key, message, size: (4 + length) as u32 });
    }
    Ok(entries)
}

fn read_u32(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|four| u32::from_le_bytes(*four) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_read_back_from_a_frame(texts in prop::collection::vec((any::<String>(), any::<Vec<u8>>()), 0..8)) {
            let messages: Vec<(String, Message)> = texts
                .into_iter()
                .map(|(key, body)| (key, Message { body: body.into(), ..Message::default() }))
                .collect();
            let mut frame = Vec::new();
            let sizes: Vec<u32> = messages.iter().map(|(key, message)| encode(key, message, &mut frame)).collect();
            prop_assert_eq!(sizes.iter().sum::<u32>() as usize, frame.len());
            let entries = decode(frame).unwrap();
            prop_assert_eq!(entries.len(), messages.len());
            for ((entry, (key, message)), size) in entries.iter().zip(&messages).zip(sizes) {
                prop_assert_eq!(&entry.routing_key, key);
                prop_assert_eq!(&entry.message, message);
                prop_assert_eq!(entry.size, size);
            }
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in any::<Vec<u8>>()) {
            let _ = decode(bytes);
        }
    }
}
