//! From a record in JSON to the bytes of a datum.

use super::fault::DataFault;
use super::model::{Field, RecordType, Type};
use super::rules::Rules;
use super::wire::{Walk, put_long, put_string};
use serde_json::{Map, Number, Value};

/// More faults than this aren't listed: the record is of another kind.
const MAX_FAULTS: usize = 100;

/// Appends the datum of `value` to `out`, or says everything that is wrong with
/// it.
pub(super) fn encode_record(
    record: &RecordType,
    value: &Value,
    out: Vec<u8>,
) -> Result<Vec<u8>, Vec<DataFault>> {
    let mut encoder = Encoder { out, path: Vec::new(), faults: Vec::new() };
    match value {
        Value::Object(object) => encoder.record(record, object),
        _ => encoder.fault("expected an object"),
    }
    match encoder.faults.is_empty() {
        true => Ok(encoder.out),
        false => Err(encoder.faults),
    }
}

/// The bytes of the default of `field`, if it is a value of its type and keeps
/// its rules.
pub(super) fn encode_default(field: &Field, default: &Value) -> Option<Vec<u8>> {
    let mut encoder = Encoder { out: Vec::new(), path: Vec::new(), faults: Vec::new() };
    encoder.value(&field.ty, &field.rules, default);
    encoder.faults.is_empty().then_some(encoder.out)
}

/// The bytes of null in a union.
pub(super) fn null_branch(null_first: bool) -> &'static [u8] {
    if null_first { &[0] } else { &[2] }
}

enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

struct Encoder<'a> {
    out: Vec<u8>,
    path: Vec<Step<'a>>,
    faults: Vec<DataFault>,
}

impl<'a> Encoder<'a> {
    fn fault(&mut self, detail: impl Into<String>) {
        if self.faults.len() == MAX_FAULTS {
            return;
        }
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) if path.is_empty() => path.push_str(name),
                Step::Field(name) => {
                    path.push('.');
                    path.push_str(name);
                }
                Step::Item(index) => path.push_str(&format!("[{index}]")),
            }
        }
        self.faults.push(DataFault::data(path, detail));
    }

    /// Notes what is wrong with a value, where something is.
    fn note(&mut self, checked: Walk<()>) {
        if let Err(trouble) = checked {
            let detail = trouble.into_fault().detail;
            self.fault(detail);
        }
    }

    fn record(&mut self, record: &'a RecordType, object: &Map<String, Value>) {
        let mut found = 0;
        for field in &record.fields {
            match (object.get(&field.name), &field.absent) {
                (Some(value), _) => {
                    found += 1;
                    self.path.push(Step::Field(&field.name));
                    self.value(&field.ty, &field.rules, value);
                    self.path.pop();
                }
                (None, Some(bytes)) => self.out.extend_from_slice(bytes),
                (None, None) => {
                    self.path.push(Step::Field(&field.name));
                    self.fault("it is missing");
                    self.path.pop();
                }
            }
        }
        if found < object.len() {
            for key in object.keys().filter(|key| record.fields.iter().all(|f| f.name != **key)) {
                // A key that isn't a name may be somebody's data.
                let is_name = key.len() <= 64 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                self.fault(match is_name {
                    true => format!("the key `{key}` isn't in the schema"),
                    false => "a key isn't in the schema, and isn't a field's name either".to_owned(),
                });
            }
        }
    }

    fn value(&mut self, ty: &'a Type, rules: &'a Rules, value: &Value) {
        match (ty, value) {
            (Type::Optional { null_first, .. }, Value::Null) => {
                self.out.extend_from_slice(null_branch(*null_first));
            }
            (Type::Optional { null_first, inner }, value) => {
                self.out.push(if *null_first { 2 } else { 0 });
                self.value(inner, rules, value);
            }
            (Type::String, Value::String(text)) => {
                self.note(rules.check_text(text));
                put_string(&mut self.out, text);
            }
            (Type::Int | Type::Long, Value::Number(number)) => {
                let n = whole(number).filter(|n| matches!(ty, Type::Long) || i32::try_from(*n).is_ok());
                match n {
                    Some(n) => {
                        self.note(rules.check_number(n));
                        put_long(&mut self.out, n);
                    }
                    None => self.fault("expected a whole number that fits"),
                }
            }
            (Type::Double, Value::Number(number)) => match number.as_f64().filter(|x| x.is_finite()) {
                Some(x) => self.out.extend_from_slice(&x.to_le_bytes()),
                None => self.fault("expected a number that fits"),
            },
            (Type::Boolean, Value::Bool(flag)) => self.out.push(u8::from(*flag)),
            (Type::Enum(symbols), Value::String(text)) => {
                match symbols.symbols.iter().position(|symbol| symbol == text) {
                    Some(index) => put_long(&mut self.out, index as i64),
                    None => self.fault(format!("expected one of {}", symbols.symbols.join(", "))),
                }
            }
            (Type::Array(items), Value::Array(values)) => {
                if !values.is_empty() {
                    put_long(&mut self.out, values.len() as i64);
                    for (index, value) in values.iter().enumerate() {
                        self.path.push(Step::Item(index));
                        self.value(items, rules, value);
                        self.path.pop();
                    }
                }
                self.out.push(0);
            }
            (Type::Record(record), Value::Object(object)) => self.record(record, object),
            (_, Value::Null) => self.fault("it is required, and is null"),
            (ty, _) => self.fault(match ty {
                Type::Boolean => "expected true or false",
                Type::Int | Type::Long => "expected a whole number",
                Type::Double => "expected a number",
                Type::Array(_) => "expected an array",
                Type::Record(_) => "expected an object",
                _ => "expected a text",
            }),
        }
    }
}

/// The whole number that `number` is, however it was written: jq makes 3.0 of
/// 6 / 2.
fn whole(number: &Number) -> Option<i64> {
    // Past 2^53 a floating-point number no longer names one whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number
        .as_i64()
        .or_else(|| number.as_f64().filter(|x| x.fract() == 0.0 && x.abs() <= EXACT).map(|x| x as i64))
}
