//! What apache-avro does here: it parses each schema by the book, gives its
//! Parsing Canonical Form and fingerprint, and compares versions.

use super::fault::SchemaFault;
use super::wire::HEADER_BYTES;
use apache_avro::Schema;
use apache_avro::headers::{HeaderBuilder, RabinFingerprintHeader};

/// Parses a self-contained schema; `place` is for the fault.
pub(super) fn parse(place: &str, json: &str) -> Result<Schema, SchemaFault> {
    Schema::parse_str(json).map_err(|e| SchemaFault::new(place, format!("it isn't an Avro schema: {e}")))
}

/// How a body with this schema begins: `C3 01` and the CRC-64-AVRO of its
/// Parsing Canonical Form, little-endian (Avro 1.12, "Single-object encoding").
pub(super) fn header(schema: &Schema) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    // The builder's header has 10 bytes by the same specification.
    header.copy_from_slice(&RabinFingerprintHeader::from_schema(schema).build_header());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_the_specification() {
        // WIRE.md, "Known vectors".
        for (schema, crc) in [
            ("\"string\"", 0x8f01_4872_6345_03c7_u64),
            ("\"int\"", 0x7275_d51a_3f39_5c8f),
            ("\"null\"", 0x63dd_24e7_cc25_8f8a),
        ] {
            let header = header(&parse("test", schema).unwrap());
            assert_eq!(header[..2], [0xC3, 0x01]);
            assert_eq!(header[2..], crc.to_le_bytes());
        }
    }
}
