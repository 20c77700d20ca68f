//! A datum: a body that was read to its end and follows its schema.

use super::fault::{DataFault, DataFaultKind};
use super::model::{RecordType, Type};
use super::rules::Rules;
use super::wire::{HEADER_BYTES, Input, MARKER, Walk, trouble};
use serde_json::{Map, Number, Value};
use std::sync::Arc;

/// A body in Avro's single-object encoding that was read to its end along its
/// schema. It keeps the bytes as they were signed, and prints none of them.
#[derive(Clone)]
pub struct Datum {
    body: Box<[u8]>,
    root: Arc<RecordType>,
}

/// Prints the size only.
impl std::fmt::Debug for Datum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datum").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// The body, for what takes bytes or a datum.
impl AsRef<[u8]> for Datum {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Datum {
    /// Reads `body` along `root`, with its rules where it has any.
    pub(super) fn read(
        root: &Arc<RecordType>,
        header: &[u8; HEADER_BYTES],
        body: &[u8],
    ) -> Result<Datum, DataFault> {
        check_body(root, header, body)?;
        Ok(Datum { body: body.into(), root: root.clone() })
    }

    /// The whole body in single-object encoding, as it was read.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// How many bytes of the heap it holds: as many as the body has, whatever
    /// the body says.
    pub fn heap_size(&self) -> usize {
        self.body.len()
    }

    /// The record in plain JSON: a union is its value or null, an enumeration is
    /// its symbol. Every field is there, in the schema's order.
    pub fn to_json(&self) -> Value {
        let mut input = Input::new(&self.body, HEADER_BYTES);
        // The bytes were walked along the same schema when the datum was made.
        record_json(&self.root, &mut input).unwrap_or(Value::Null)
    }
}

/// Reads `body` to its end along `root`, and keeps nothing.
pub(super) fn check_body(
    root: &RecordType,
    header: &[u8; HEADER_BYTES],
    body: &[u8],
) -> Result<(), DataFault> {
    let mut input = begin(header, body)?;
    check_record(root, &mut input).and_then(|()| input.finish()).map_err(|t| t.into_fault())
}

/// The place after the header of `body`, if it is `header`.
pub(super) fn begin<'a>(header: &[u8; HEADER_BYTES], body: &'a [u8]) -> Result<Input<'a>, DataFault> {
    let fault = |kind, detail: &str| DataFault { kind, field: String::new(), detail: detail.to_owned() };
    if body.len() < HEADER_BYTES || !body.starts_with(&MARKER) {
        return Err(fault(
            DataFaultKind::NotSingleObject,
            "expected Avro's single-object encoding: C3 01, the schema's fingerprint of 8 bytes, the datum",
        ));
    }
    if !body.starts_with(header) {
        return Err(fault(
            DataFaultKind::WrongFingerprint,
            "its fingerprint isn't that of the schema that dataschema names",
        ));
    }
    Ok(Input::new(body, HEADER_BYTES))
}

fn check_record(record: &RecordType, input: &mut Input<'_>) -> Walk<()> {
    for field in &record.fields {
        check(&field.ty, &field.rules, input).map_err(|t| t.in_field(&field.name))?;
    }
    Ok(())
}

fn check(ty: &Type, rules: &Rules, input: &mut Input<'_>) -> Walk<()> {
    match ty {
        Type::Boolean => input.boolean().map(drop),
        Type::Int => rules.check_number(i64::from(input.int()?)),
        Type::Long => rules.check_number(input.long()?),
        Type::Double => match input.double()?.is_finite() {
            true => Ok(()),
            false => trouble("expected a number, and it is infinite or none"),
        },
        Type::String => rules.check_text(input.string()?),
        Type::Enum(symbols) => input.index(symbols.symbols.len()).map(drop),
        Type::Optional { null_first, inner } => match (input.index(2)? == 0) == *null_first {
            true => Ok(()),
            false => check(inner, rules, input),
        },
        Type::Array(items) => {
            let mut index = 0;
            while let Some(block) = input.block()? {
                for _ in 0..block.items {
                    check(items, rules, input).map_err(|t| t.in_item(index))?;
                    index += 1;
                }
                input.end_block(&block)?;
            }
            Ok(())
        }
        Type::Record(record) => check_record(record, input),
    }
}

/// Passes over a value without looking at its content.
pub(super) fn skip(ty: &Type, input: &mut Input<'_>) -> Walk<()> {
    match ty {
        Type::Boolean => input.boolean().map(drop),
        Type::Int | Type::Long | Type::Enum(_) => input.long().map(drop),
        Type::Double => input.double().map(drop),
        Type::String => input.string_bytes().map(drop),
        Type::Optional { null_first, inner } => match (input.index(2)? == 0) == *null_first {
            true => Ok(()),
            false => skip(inner, input),
        },
        Type::Array(items) => {
            while let Some(block) = input.block()? {
                for _ in 0..block.items {
                    skip(items, input)?;
                }
            }
            Ok(())
        }
        Type::Record(record) => {
            record.fields.iter().try_for_each(|f| skip(&f.ty, input).map_err(|t| t.in_field(&f.name)))
        }
    }
}

fn record_json(record: &RecordType, input: &mut Input<'_>) -> Walk<Value> {
    let mut object = Map::with_capacity(record.fields.len());
    for field in &record.fields {
        object.insert(field.name.clone(), json(&field.ty, input)?);
    }
    Ok(Value::Object(object))
}

fn json(ty: &Type, input: &mut Input<'_>) -> Walk<Value> {
    Ok(match ty {
        Type::Boolean => Value::Bool(input.boolean()?),
        Type::Int => Value::from(input.int()?),
        Type::Long => Value::from(input.long()?),
        Type::Double => Number::from_f64(input.double()?).map_or(Value::Null, Value::Number),
        Type::String => Value::String(input.string()?.to_owned()),
        Type::Enum(symbols) => Value::String(symbols.symbols[input.index(symbols.symbols.len())?].clone()),
        Type::Optional { null_first, inner } => match (input.index(2)? == 0) == *null_first {
            true => Value::Null,
            false => json(inner, input)?,
        },
        Type::Array(items) => {
            let mut values = Vec::new();
            while let Some(block) = input.block()? {
                for _ in 0..block.items {
                    values.push(json(items, input)?);
                }
            }
            Value::Array(values)
        }
        Type::Record(record) => record_json(record, input)?,
    })
}
