//! What a client asks for: the parameters that Boost takes, and no other, so
//! that a connector that relies on another is told.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil};

/// The order of the rows, where they begin, and how the next page is named.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// By id; the next page is `{"id|Gt":"…"}`.
    Id { after: Option<String> },
    /// By `_operation_date`; the next page is `{"start":N}`.
    Date { after: Option<civil::DateTime>, start: usize },
}

/// A query that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) order: Order,
    /// Rows in the page, at least 1 and at most [`super::MAX_PAGE`].
    pub(super) limit: usize,
}

const KEY: &str = "apiKey";
const ORDER: &str = "_order";
const LIMIT: &str = "_limit";
const START: &str = "start";
const ID_AFTER: &str = "id|Gt";
const DATE: &str = "_operation_date";
const DATE_AFTER: &str = "_operation_date|datetimeGt";

/// The parameters of a query by name, each once; the API key apart.
pub(super) struct Parameters {
    pub(super) api_key: Option<String>,
    pub(super) others: BTreeMap<String, String>,
}

impl Parameters {
    /// The parameters, or a sentence about one that is there twice.
    pub(super) fn new(pairs: Vec<(String, String)>) -> Result<Parameters, String> {
        let mut parameters = Parameters { api_key: None, others: BTreeMap::new() };
        for (name, value) in pairs {
            let before = if name == KEY {
                parameters.api_key.replace(value)
            } else {
                parameters.others.insert(name.clone(), value)
            };
            if before.is_some() {
                return Err(format!("the parameter `{name}` is there twice"));
            }
        }
        Ok(parameters)
    }

    /// The query that the parameters make, with pages of `page` rows unless
    /// they ask for another size; or a sentence about what isn't understood.
    pub(super) fn query(&self, page: usize) -> Result<Query, String> {
        let get = |name: &str| self.others.get(name).map(String::as_str);
        let known = [ORDER, LIMIT, START, ID_AFTER, DATE_AFTER];
        if let Some(name) = self.others.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("the parameter `{name}` isn't one of: {KEY}, {}", known.join(", ")));
        }
        let limit = match get(LIMIT) {
            None => page,
            Some(text) => match text.parse() {
                Ok(limit) if limit >= 1 => limit,
                _ => return Err(format!("`{LIMIT}` isn't a number from 1")),
            },
        };
        let order = match get(ORDER) {
            None | Some("id") => {
                if let Some(name) = [START, DATE_AFTER].into_iter().find(|name| get(name).is_some()) {
                    return Err(format!("`{name}` goes with `{ORDER}={DATE}`"));
                }
                Order::Id { after: get(ID_AFTER).map(str::to_owned) }
            }
            Some(DATE) => {
                if get(ID_AFTER).is_some() {
                    return Err(format!("`{ID_AFTER}` goes with `{ORDER}=id`"));
                }
                let start = match get(START).map(str::parse) {
                    None => 0,
                    Some(Ok(start)) => start,
                    Some(Err(_)) => return Err(format!("`{START}` isn't a number")),
                };
                let after = match get(DATE_AFTER).map(time) {
                    None => None,
                    Some(Some(time)) => Some(time),
                    Some(None) => return Err(format!("`{DATE_AFTER}` isn't a day, YYYY-MM-DD, or a time")),
                };
                Order::Date { after, start }
            }
            Some(_) => return Err(format!("`{ORDER}` is `id` or `{DATE}`")),
        };
        Ok(Query { order, limit: limit.clamp(1, super::MAX_PAGE) })
    }
}

/// A day at its beginning, a civil time in Nouméa, or a time with an offset.
fn time(text: &str) -> Option<civil::DateTime> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(super::draw::civil_of(instant.as_second()));
    }
    text.parse::<civil::DateTime>().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Result<Query, String> {
        let pairs = pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        Parameters::new(pairs)?.query(500)
    }

    #[test]
    fn boosts_two_kinds_of_query_are_understood() {
        let by_id = query(&[("apiKey", "k"), ("_order", "id"), ("id|Gt", "0a")]).unwrap();
        assert_eq!(by_id, Query { order: Order::Id { after: Some("0a".into()) }, limit: 500 });
        let by_date = query(&[
            ("_operation_date|datetimeGt", "2026-02-03"),
            ("_order", "_operation_date"),
            ("start", "50"),
            ("_limit", "5000"),
        ])
        .unwrap();
        let after = Some(civil::date(2026, 2, 3).at(0, 0, 0, 0));
        assert_eq!(by_date, Query { order: Order::Date { after, start: 50 }, limit: 1_000 });
    }

    #[test]
    fn a_time_with_an_offset_is_moved_to_noumeas() {
        assert_eq!(time("2026-02-02T22:30:00Z"), time("2026-02-03T09:30:00"));
        assert_eq!(time("2026-02-03T09:30:00+11:00"), time("2026-02-03T09:30:00"));
        assert_eq!(time("yesterday"), None);
    }

    #[test]
    fn what_isnt_understood_is_named() {
        for (pairs, named) in [
            (&[("_ordre", "id")][..], "_ordre"),
            (&[("_order", "numero")], "_order"),
            (&[("start", "50")], "start"),
            (&[("_order", "_operation_date"), ("id|Gt", "a")], "id|Gt"),
            (&[("_order", "_operation_date"), ("start", "-1")], "start"),
            (&[("_order", "_operation_date"), ("_operation_date|datetimeGt", "x")], "datetimeGt"),
            (&[("_limit", "0")], "_limit"),
            (&[("_order", "id"), ("_order", "id")], "twice"),
        ] {
            let fault = query(pairs).unwrap_err();
            assert!(fault.contains(named), "{fault}");
        }
    }
}
