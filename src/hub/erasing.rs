//! Whom an erasure that isn't done is of, by the identifier that recipients are
//! told.
//!
//! The log of erasures says whom by a tag alone. A hub that ended in the middle
//! reads the identifier from a payload that is left; but there may be none, their
//! days being over. So it is kept from before the log's line until the erasure is
//! done, sealed in a record that is overwritten then.

use crate::hub::{HubFault, Shared};
use crate::persons::{PersonTag, TAG};
use crate::seal::{self, EventKey};
use crate::store::Tx;

/// The log of the records: one an erasure, all but the last overwritten.
const LOG: &str = "persons/erasing";
/// The tag, the identifier's length and the identifier, of 161 bytes at most.
const PLAIN: usize = TAG + 176;
/// A wrapped key, what is sealed under it, and what sealing adds.
const RECORD: usize = 32 + PLAIN + 16;

/// Keeps that who has `tag` is called `subject`, until [`overwrite`].
pub(super) async fn keep(shared: &Shared, tag: &PersonTag, subject: &str) -> Result<(), HubFault> {
    let mut plain = tag.to_vec();
    // As `Person::parse` lets it, it is shorter than what there is for it.
    plain.push(subject.len() as u8);
    plain.extend_from_slice(subject.as_bytes());
    plain.resize(PLAIN, 0);
    let (key, kek) = (EventKey::generate()?, shared.kek.derive("erasing"));
    let appended = shared.store.commit(move |tx| {
        let number = tx.log_len(LOG) / RECORD as u64;
        let mut record = key.wrap(&kek, number).to_vec();
        seal::seal(&key, number, &plain, &mut record);
        tx.append(LOG, &record);
        Ok(())
    });
    Ok(appended.await?)
}

/// The records that aren't overwritten, by their number.
fn records(shared: &Shared) -> Result<Vec<(u64, Vec<u8>)>, HubFault> {
    let length = shared.store.log_len(LOG);
    if length == 0 {
        return Ok(Vec::new());
    }
    let all = shared.store.read(LOG, 0, length as usize)?;
    let records = (0..).zip(all.chunks_exact(RECORD).map(<[u8]>::to_vec));
    Ok(records.filter(|(_, record)| record.iter().any(|byte| *byte != 0)).collect())
}

/// How who has `tag` is called, where that is kept.
pub(super) fn kept(shared: &Shared, tag: &PersonTag) -> Result<Option<String>, HubFault> {
    let kek = shared.kek.derive("erasing");
    for (number, record) in records(shared)? {
        let damaged = || HubFault::Damaged("the identifier of who is being erased doesn't open");
        let (slot, sealed) = record.split_first_chunk::<32>().ok_or_else(damaged)?;
        let plain = seal::open(&EventKey::unwrap(slot, &kek, number), number, sealed);
        let plain = plain.map_err(|_| damaged())?;
        let (whose, rest) = plain.split_first_chunk::<TAG>().ok_or_else(damaged)?;
        // Another's is of an erasure that never began.
        if whose == tag {
            let (length, rest) = rest.split_first().ok_or_else(damaged)?;
            let subject = rest.get(..usize::from(*length)).ok_or_else(damaged)?;
            return Ok(Some(String::from_utf8(subject.to_vec()).map_err(|_| damaged())?));
        }
    }
    Ok(None)
}

/// The records to overwrite once an erasure is done: all of them, since there is
/// one erasure at a time.
pub(super) fn numbers(shared: &Shared) -> Result<Vec<u64>, HubFault> {
    Ok(records(shared)?.into_iter().map(|(number, _)| number).collect())
}

/// Overwrites records within a commit.
pub(super) fn overwrite(tx: &mut Tx<'_>, numbers: &[u64]) {
    for number in numbers {
        tx.overwrite(LOG, number * RECORD as u64, &[0; RECORD]);
    }
}
