//! How long a certificate is valid (X.509, RFC 5280 section 4.1.2.5): whoever is
//! woken by one that ended wants to have known it a month before.

use super::BusFault;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;

/// DER's tags (X.690) that stand before the validity.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Until when the first certificate of a PEM file is valid, in seconds since
/// 1970. Fails where the file holds none that can be read.
pub fn valid_until(path: &Path) -> Result<i64, BusFault> {
    let unreadable = |why: &str| BusFault::Address(format!("of the file {}: {why}", path.display()));
    let certificate =
        CertificateDer::from_pem_file(path).map_err(|_| unreadable("there is no certificate in PEM"))?;
    end_of(&certificate).ok_or_else(|| unreadable("the certificate's validity can't be read"))
}

/// Until when a certificate in DER is valid (`notAfter`), in seconds since 1970.
pub(super) fn end_of(der: &[u8]) -> Option<i64> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        (_, rest) = element(rest, VERSION)?;
    }
    // The serial number, the algorithm, the issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, rest) = element(rest, tag)?;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, after) = time(validity)?;
    time(after).map(|(end, _)| end)
}

/// The content of the element that `bytes` begin with, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        // No certificate is longer than three bytes can say.
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The time that `bytes` begin with, and what follows it. A year of two digits is
/// one from 1950 to 2049.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let tag = *bytes.first()?;
    let (text, rest) = element(bytes, tag)?;
    let text = std::str::from_utf8(text).ok()?;
    let whole = match tag {
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", whole).ok()?;
    Some((time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As much of a certificate as stands before its subject.
    fn certificate(not_after: &[u8], tag: u8) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
        let validity = [wrap(UTC_TIME, b"260101000000Z"), wrap(tag, not_after)].concat();
        let parts = [
            wrap(VERSION, &[2, 1, 2]),
            wrap(INTEGER, &[7]),
            wrap(SEQUENCE, &[6, 3, 0x2B, 0x65, 0x70]),
            wrap(SEQUENCE, b""),
            wrap(SEQUENCE, &validity),
        ];
        wrap(SEQUENCE, &wrap(SEQUENCE, &parts.concat()))
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        for (text, tag, end) in [
            (&b"260301120000Z"[..], UTC_TIME, Some(1_772_366_400)),
            (b"491231235959Z", UTC_TIME, Some(2_524_607_999)),
            (b"500101000000Z", UTC_TIME, Some(-631_152_000)),
            (b"20500101000000Z", GENERALIZED_TIME, Some(2_524_608_000)),
            (b"20501301000000Z", GENERALIZED_TIME, None),
            (b"260301120000Z", INTEGER, None),
        ] {
            assert_eq!(end_of(&certificate(text, tag)), end, "{}", String::from_utf8_lossy(text));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), cut in 0..60usize) {
            let _ = end_of(&bytes);
            let whole = certificate(b"260301120000Z", UTC_TIME);
            prop_assert_eq!(end_of(&whole[..cut.min(whole.len() - 1)]), None);
        }
    }
}
