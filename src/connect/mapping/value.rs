//! JSON between serde_json and jaq.

use jaq_json::{Map, Num, Val};
use serde_json::Value;

/// The value as jaq takes it.
pub(super) fn to_jaq(value: &Value) -> Val {
    match value {
        Value::Null => Val::Null,
        Value::Bool(b) => Val::Bool(*b),
        Value::Number(n) => Val::Num(number_to_jaq(n)),
        Value::String(s) => Val::utf8_str(bytes::Bytes::copy_from_slice(s.as_bytes())),
        Value::Array(items) => items.iter().map(to_jaq).collect(),
        Value::Object(fields) => {
            let mut map = Map::with_capacity_and_hasher(fields.len(), Default::default());
            for (name, value) in fields {
                map.insert(Val::utf8_str(bytes::Bytes::copy_from_slice(name.as_bytes())), to_jaq(value));
            }
            Val::obj(map)
        }
    }
}

fn number_to_jaq(number: &serde_json::Number) -> Num {
    if let Some(int) = number.as_i64() {
        Num::from_integral(int)
    } else if let Some(int) = number.as_u64() {
        Num::from_integral(int)
    } else {
        // Without arbitrary precision, a number that is no integer is a float.
        Num::Float(number.as_f64().unwrap_or(f64::NAN))
    }
}

/// What isn't JSON in an output, and at which path: names of fields of the
/// output and positions, which are the program's.
#[derive(Debug)]
pub(super) struct NotJson {
    /// The path from the output's top, innermost name last.
    pub path: Vec<String>,
    /// What it is.
    pub problem: &'static str,
}

/// How many values an output may hold. A value can hold another one twice
/// without taking more room, and so be larger than the memory once it is JSON.
const MAX_VALUES: usize = 1_000_000;

/// The output of a program as JSON.
pub(super) fn from_jaq(value: &Val) -> Result<Value, NotJson> {
    json(value, &mut 0)
}

fn json(value: &Val, count: &mut usize) -> Result<Value, NotJson> {
    let fail = |problem| NotJson { path: Vec::new(), problem };
    *count += 1;
    if *count > MAX_VALUES {
        return Err(fail("the output holds more than a million values"));
    }
    Ok(match value {
        Val::Null => Value::Null,
        Val::Bool(b) => Value::Bool(*b),
        Val::Num(number) => number_from_jaq(number).ok_or_else(|| {
            fail("the number isn't finite (a division by zero, or nan), which JSON can't hold")
        })?,
        Val::TStr(text) => Value::String(
            std::str::from_utf8(text).map_err(|_| fail("the text was cut within a character"))?.to_owned(),
        ),
        Val::BStr(_) => return Err(fail("a byte string, which JSON can't hold; make it a text")),
        Val::Arr(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(at, item)| json(item, count).map_err(|fault| within(fault, at.to_string())))
                .collect::<Result<_, _>>()?,
        ),
        Val::Obj(fields) => {
            let mut map = serde_json::Map::with_capacity(fields.len());
            for (name, value) in fields.iter() {
                let name = match name {
                    Val::TStr(name) => std::str::from_utf8(name).ok().map(str::to_owned),
                    _ => None,
                }
                .ok_or_else(|| fail("an object has a key that isn't a text"))?;
                let value = json(value, count).map_err(|fault| within(fault, name.clone()))?;
                map.insert(name, value);
            }
            Value::Object(map)
        }
    })
}

fn within(mut fault: NotJson, name: String) -> NotJson {
    fault.path.insert(0, name);
    fault
}

fn number_from_jaq(number: &Num) -> Option<Value> {
    match number {
        Num::Int(int) => Some(Value::from(*int as i64)),
        Num::BigInt(int) => {
            let text = int.to_string();
            match text.parse::<u64>() {
                Ok(int) => Some(Value::from(int)),
                Err(_) => float(text.parse().ok()?),
            }
        }
        Num::Float(number) => float(*number),
        Num::Dec(text) => float(text.parse().ok()?),
    }
}

fn float(number: f64) -> Option<Value> {
    serde_json::Number::from_f64(number).map(Value::Number)
}
