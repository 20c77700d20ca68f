//! What was posted under which `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! A key is remembered with a keyed digest of the events that it stood for,
//! durably, before the first of them is published. So a repeat is known also
//! after a crash, and the key can't come to stand for something else: the hub
//! would refuse that (`id-reused`) after the door had said 202.
//!
//! Two rows a key: by its name, and by its age. Those that are older than
//! `door.remember_days` go when new ones come, some at a time.

use crate::seal::{Secret32, hmac};
use crate::store::{Store, StoreFault};

const BY_NAME: &[u8] = b"door/key/";
const BY_AGE: &[u8] = b"door/age/";
/// How many that are too old go with each new one: more than come.
const SWEEP: usize = 32;

/// What is known of a request's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It wasn't known, and is now.
    New,
    /// It stands for the same events.
    Same,
    /// It stands for others.
    Other,
}

/// The name of a key in the store: nothing of it can be read off.
pub(super) fn name(secret: &Secret32, parts: &[&str]) -> [u8; 32] {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    hmac(secret.derive("door keys").expose(), &parts)
}

/// Remembers that the key `name` stands for what `digest` is of, unless it is
/// known. `now` and `since`, before which nothing counts, are milliseconds.
pub(super) async fn remember(
    store: &Store,
    name: [u8; 32],
    digest: [u8; 32],
    now: i64,
    since: i64,
) -> Result<Seen, StoreFault> {
    let mut old = Vec::new();
    for row in store.scan(BY_AGE).take(SWEEP) {
        let (key, _) = row?;
        match key[BY_AGE.len()..].split_first_chunk::<8>() {
            Some((at, name)) if i64::from_be_bytes(*at) < since => old.push((*at, name.to_vec())),
            _ => break,
        }
    }
    store
        .commit(move |tx| {
            for (at, name) in &old {
                tx.remove(&[BY_AGE, at, name].concat());
                let row = [BY_NAME, name].concat();
                // It may have come again since.
                if tx.get(&row).is_some_and(|value| value.starts_with(at)) {
                    tx.remove(&row);
                }
            }
            let row = [BY_NAME, &name].concat();
            let known = tx.get(&row);
            let known = known.as_deref().and_then(|value| value.split_first_chunk::<8>());
            if let Some((at, known)) = known
                && i64::from_be_bytes(*at) >= since
            {
                return Ok(if known == digest { Seen::Same } else { Seen::Other });
            }
            let at = now.to_be_bytes();
            tx.put(&row, &[&at[..], &digest].concat());
            tx.put(&[BY_AGE, &at, &name].concat(), &[]);
            Ok(Seen::New)
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[tokio::test]
    async fn a_key_stands_for_one_content_until_it_is_too_old() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        let [a, b] = [[1; 32], [2; 32]];
        let seen = async |name, digest, now, since| remember(&store, name, digest, now, since).await.unwrap();
        assert_eq!(seen(a, [7; 32], 100, 0).await, Seen::New);
        assert_eq!(seen(a, [7; 32], 110, 0).await, Seen::Same);
        assert_eq!(seen(a, [8; 32], 120, 0).await, Seen::Other);
        assert_eq!(seen(b, [8; 32], 130, 0).await, Seen::New);
        // The first one's time is over; the other's isn't.
        assert_eq!(seen(a, [8; 32], 200, 120).await, Seen::New);
        assert_eq!(seen(b, [8; 32], 210, 120).await, Seen::Same);
        assert_eq!(seen(b, [9; 32], 300, 150).await, Seen::New);
        // The rows of what was too old are gone, and the newer ones of the same names aren't.
        assert_eq!(store.scan(BY_NAME).count(), 2);
        assert_eq!(store.scan(BY_AGE).count(), 2);
        assert_eq!(seen(a, [8; 32], 310, 150).await, Seen::Same);
    }

    #[tokio::test]
    async fn what_is_too_old_goes_though_no_key_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        for n in 0..100u8 {
            remember(&store, [n; 32], [0; 32], i64::from(n), 0).await.unwrap();
        }
        for n in 100..104u8 {
            remember(&store, [n; 32], [0; 32], i64::from(n), 100).await.unwrap();
        }
        assert_eq!(store.scan(BY_NAME).count(), 4);
        assert_eq!(store.scan(BY_AGE).count(), 4);
    }
}
