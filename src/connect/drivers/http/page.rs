//! One page of records, and where the source is in its round.

use super::settings::{HttpRead, Since, SinceForm};
use super::{Checkpoint, DriverFault, Record, Rejected};
use crate::connect::helpers::utc_time;
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp, Unit};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where a source is: the content of its checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// `{since}` of this round; none in the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What is merged into the query for this page; none for the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Map<String, Value>>,
    /// The time of the latest record so far, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<String>,
    /// How many parts of this page were given out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub part: u64,
}

fn is_zero(part: &u64) -> bool {
    *part == 0
}

impl Position {
    pub fn read(checkpoint: Option<&Checkpoint>) -> Result<Position, DriverFault> {
        let Some(checkpoint) = checkpoint else { return Ok(Position::default()) };
        Position::deserialize(&checkpoint.0).map_err(|_| {
            DriverFault::halt(
                "the checkpoint of this source can't be read: it is damaged, or of another version or connector; \
                 restore it, or delete it on purpose to read everything again (the hub drops what it has)",
            )
        })
    }

    pub fn checkpoint(&self) -> Checkpoint {
        // A struct of texts and JSON is always JSON.
        Checkpoint(serde_json::to_value(self).unwrap_or_default())
    }

    /// The checkpoint of the part of the page that follows `at`.
    pub fn next_part(at: &Checkpoint) -> Checkpoint {
        let mut position = Position::read(Some(at)).unwrap_or_default();
        position.part += 1;
        position.checkpoint()
    }

    /// The checkpoint after this page, and whether the round goes on: `next` is
    /// what the answer says of the next page.
    pub fn after(
        mut self,
        next: Option<Map<String, Value>>,
        read: &HttpRead,
        since: Option<&Since>,
    ) -> Result<(Checkpoint, bool), DriverFault> {
        let Some(next) = next else {
            let since = match (since, &self.high) {
                (Some(since), Some(high)) => Some(since_value(since, high)?),
                _ => self.since.take(),
            };
            return Ok((Position { since, page: None, high: self.high, part: 0 }.checkpoint(), false));
        };
        let mut page = self.page.clone().unwrap_or_default();
        page.extend(next);
        if self.page.as_ref() == Some(&page) {
            return Err(DriverFault::halt(format!(
                "the server names a page of {} as its own next page, which would never end; check next_query and next \
                 in the connector",
                read.path
            )));
        }
        self.page = Some(page);
        self.part = 0;
        Ok((self.checkpoint(), true))
    }
}

/// Whether the time `a` is after `b`, both as `utc_time` writes them: of one
/// width, so that their texts compare as they do.
pub(super) fn later(a: &str, b: &str) -> bool {
    a > b
}

fn since_value(since: &Since, high: &str) -> Result<String, DriverFault> {
    let unreadable =
        |_| DriverFault::halt("the time in the checkpoint of this source can't be read; restore it");
    let time: Timestamp = high.parse().map_err(unreadable)?;
    // A fixed offset: New Caledonia has no summer time, and a day is 24 hours.
    let local = time
        .to_zoned(TimeZone::fixed(Offset::constant(11)))
        .checked_sub(Span::new().days(i64::from(since.overlap_days)))
        .map_err(unreadable)?;
    Ok(match since.form {
        SinceForm::Date => local.date().to_string(),
        SinceForm::Utc => local.timestamp().to_string(),
    })
}

/// JSON pointers to a record's key and version.
pub(super) struct Keys {
    pub key: String,
    pub version: Option<String>,
}

/// What a page holds.
pub(super) struct Page {
    pub records: Vec<Record>,
    pub rejected: Vec<Rejected>,
    /// What is merged into the query for the next page, if one follows.
    pub next: Option<Map<String, Value>>,
    /// The time of the page's latest record, in UTC.
    pub high: Option<String>,
}

/// Reads an answer.
pub(super) fn read(mut body: Value, read: &HttpRead, keys: &Keys) -> Result<Page, DriverFault> {
    let next = next(&body, read)?;
    let Some(Value::Array(items)) = body.pointer_mut(&read.items).map(Value::take) else {
        return Err(DriverFault::retry(format!(
            "the answer of {} has no array of records at {}",
            read.path, read.items
        )));
    };
    let mut page = Page { records: Vec::with_capacity(items.len()), rejected: Vec::new(), next, high: None };
    let now = Timestamp::now().round(Unit::Second).unwrap_or(Timestamp::MAX).to_string();
    for (at, value) in items.into_iter().enumerate() {
        let Some(key) = scalar(&value, &keys.key) else {
            page.rejected.push(Rejected {
                key: format!("record {} of a page", at + 1),
                reason: format!("the record has no text or number at {}, which is its key", keys.key),
            });
            continue;
        };
        let version = keys.version.as_deref().and_then(|pointer| scalar(&value, pointer));
        if let Some(since) = &read.since {
            // A record without a time is read in every round that comes across it, and moves
            // nothing. Nor does one from the future: it would hide all that comes before it.
            let time =
                value.pointer(&since.time).and_then(Value::as_str).and_then(|time| utc_time(time).ok());
            if let Some(time) = time
                && !later(&time, &now)
                && page.high.as_deref().is_none_or(|high| later(&time, high))
            {
                page.high = Some(time);
            }
        }
        page.records.push(Record { key, version, kind: String::new(), value, raw: None });
    }
    Ok(page)
}

fn next(body: &Value, read: &HttpRead) -> Result<Option<Map<String, Value>>, DriverFault> {
    if read.next_query.is_none() && read.next.is_empty() {
        return Ok(None);
    }
    let said = match &read.more {
        Some(pointer) => match body.pointer(pointer) {
            Some(Value::Bool(false)) => return Ok(None),
            Some(Value::Bool(true)) => true,
            _ => {
                return Err(DriverFault::retry(format!(
                    "the answer of {} doesn't say at {pointer} whether another page follows",
                    read.path
                )));
            }
        },
        None => false,
    };
    let mut next = Map::new();
    if let Some(Value::Object(merged)) = read.next_query.as_deref().and_then(|pointer| body.pointer(pointer))
    {
        next.extend(merged.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    for (name, pointer) in &read.next {
        match body.pointer(pointer) {
            None | Some(Value::Null) => {}
            Some(value) => {
                next.insert(name.clone(), value.clone());
            }
        }
    }
    // Only a text, a number or a boolean can stand in a query.
    let usable =
        next.values().all(|value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_)));
    match (next.is_empty() || !usable, said) {
        (false, _) => Ok(Some(next)),
        (true, false) if usable => Ok(None),
        _ => Err(DriverFault::retry(format!(
            "the answer of {} says that another page follows, and not where: it is asked again",
            read.path
        ))),
    }
}

/// The text, or the number as a text, that `pointer` points at, if it isn't
/// blank.
pub(crate) fn scalar(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
