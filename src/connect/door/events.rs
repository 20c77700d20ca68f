//! `POST /events/TYPE`: 202 once the broker has confirmed every event, and not
//! before; where one record is wrong, none is taken.

use super::answers::{FieldFault, Problem};
use super::draft::{Drafting, latest};
use super::held::LOW_WATER;
use super::http::{Parameters, json_body, not_json};
use super::keys::{self, Seen};
use super::{HUB_TYPES, Shared};
use crate::bus::{Confirm, EVENTS};
use crate::connect::outbound::PUBLISHED_ROW;
use crate::event::{EventType, Message};
use crate::schema::EventSchema;
use crate::seal::hmac;
use crate::tasks::crunch;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The most records in one request.
pub(super) const MOST_RECORDS: usize = 1000;
/// The most fields that an answer lists as wrong.
const MOST_FAULTS: usize = 1000;
/// From this size on a body is read where it may take its time.
const LARGE: usize = 64 << 10;
/// After how many seconds to try again.
const SOON: u32 = 5;
/// How long to wait before events are sent again that weren't taken: doubled
/// each time.
const PAUSE: Duration = Duration::from_millis(50);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    version: Option<u32>,
}

pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    event_type: Result<Path<String>, PathRejection>,
    asked: Result<Parameters<Asked>, Problem>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let Ok(Path(event_type)) = event_type else { return Err(unknown(&shared, "")) };
    let (event_type, schema) = known(&shared, &event_type, asked?.0.version)?;
    let key = idempotency_key(&headers)?;
    let Ok(permit) = shared.posts.try_acquire() else {
        return Err(Problem::later("too many requests are worked on at once", 1));
    };
    let body = json_body(&headers, request, shared.settings.request_bytes()).await?;
    let form = shared.form(&event_type).clone();
    let drafting = Drafting { signer: Arc::clone(&shared.signer), form, schema, key, latest: latest() };
    let taking = Arc::clone(&shared);
    // In a task of its own: a client that hangs up doesn't cut it in two.
    let taken = tokio::spawn(async move { taking.take(body, drafting).await }).await;
    drop(permit);
    taken.unwrap_or_else(|_| {
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request ended within; this is a defect"))
    })
}

/// The type's schema in the version asked for, or its newest; for a type that a
/// connector makes, the connector's.
fn known(
    shared: &Shared,
    text: &str,
    version: Option<u32>,
) -> Result<(EventType, Arc<EventSchema>), Problem> {
    let event_type = EventType::parse(text).map_err(|_| unknown(shared, text))?;
    let newest = shared.schemas().filter(|schema| *schema.event_type() == event_type).last();
    let Some(newest) = newest else { return Err(unknown(shared, text)) };
    let only = shared.mapped.get(&event_type).and_then(|form| form.version());
    let wanted = version.or(only).unwrap_or(newest.version());
    let schema = shared.registry.get(event_type.as_str(), wanted);
    match schema.filter(|_| only.is_none_or(|only| only == wanted)) {
        Some(schema) => Ok((event_type, Arc::clone(schema))),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            match only {
                Some(only) => format!("the connector makes version {only} of {event_type}, and no other"),
                None => format!("{event_type} has no such version; the newest is {}", newest.version()),
            },
        )),
    }
}

/// 404, with the names that are near. What was asked for isn't repeated.
fn unknown(shared: &Shared, text: &str) -> Problem {
    if text.starts_with(HUB_TYPES) {
        return Problem::new(
            StatusCode::NOT_FOUND,
            "the types nc.hub.… are the hub's own: nobody else makes them",
        );
    }
    let mut types: Vec<&str> = shared.schemas().map(|schema| schema.event_type().as_str()).collect();
    types.dedup();
    let mut near: Vec<(f64, &str)> =
        types.iter().map(|name| (strsim::jaro_winkler(text, name), *name)).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.retain(|(likeness, _)| *likeness > 0.85);
    near.truncate(3);
    let near: Vec<&str> = near.into_iter().map(|(_, name)| name).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        match near.is_empty() {
            true => format!("there is no such event type; there are {}", types.join(", ")),
            false => format!("there is no such event type; did you mean {}?", near.join(" or ")),
        },
    )
}

/// The header `Idempotency-Key`: a string of RFC 9651 section 3.3.3, or the same
/// without its quotes.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<Arc<str>>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let fits = (1..=128).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b':' | b'-'));
    if !fits || values.next().is_some() {
        return Err(Problem::malformed(
            "expected one Idempotency-Key of 1 to 128 of A-Z, a-z, 0-9, '.', '_', '~', ':' and '-', a UUID for instance",
        ));
    }
    Ok(Some(key.into()))
}

/// An event on its way.
type Event = (String, Message);

impl Shared {
    /// Takes what was posted, or says why not.
    async fn take(&self, body: bytes::Bytes, drafting: Drafting) -> Result<Response, Problem> {
        let records = parse(body).await?;
        let key = drafting.key.clone();
        let scope = format!("{} {}", drafting.schema.event_type(), drafting.form.generation());
        let events = draft(records, drafting).await?;
        if events.is_empty() {
            // A mapping left everything out, on purpose.
            return Ok((StatusCode::ACCEPTED, Json(json!({ "events": [] }))).into_response());
        }
        self.check_disk()?;
        if let Some(key) = key {
            self.remember(&key, &scope, &events).await?;
        }
        let answer: Vec<Value> = events
            .iter()
            .map(|(record, (_, message))| {
                let header = |name| message.text(&format!("{}{name}", crate::event::HEADER_PREFIX));
                json!({ "record": record, "id": header("id"), "source": header("source") })
            })
            .collect();
        let count = events.len() as u64;
        let published = self.publish(events.into_iter().map(|(_, event)| event).collect()).await;
        *self.trouble() = published.as_ref().err().cloned();
        published.map_err(|why| {
            tracing::warn!(%why, "what was posted to the door couldn't be published; its sender was told to try again");
            Problem::later(format!("{why}; send the same again"), SOON)
        })?;
        self.counts.published.add(count);
        // Durable with whatever is committed next: it is a count, and nobody
        // waits for it.
        drop(self.store.commit(move |tx| {
            let before =
                tx.get(PUBLISHED_ROW).and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes);
            tx.put(PUBLISHED_ROW, &(before + count).to_be_bytes());
            Ok(())
        }));
        Ok((StatusCode::ACCEPTED, Json(json!({ "events": answer }))).into_response())
    }

    fn check_disk(&self) -> Result<(), Problem> {
        match self.store.free_bytes() {
            Ok(free) if free < LOW_WATER => {
                let why = format!("less than {} MiB are free on the disk of this machine", LOW_WATER >> 20);
                *self.trouble() = Some(why.clone());
                Err(Problem::later(why, 60))
            }
            _ => Ok(()),
        }
    }

    /// Writes down what the key stands for, before anything of it is published.
    async fn remember(&self, key: &str, scope: &str, events: &[(usize, Event)]) -> Result<(), Problem> {
        let digests: Vec<[u8; 32]> = events.iter().map(|(_, (_, message))| digest(message)).collect();
        let digests: Vec<&[u8]> = digests.iter().map(|digest| &digest[..]).collect();
        let secret = &self.signer.id_secret;
        let digest = hmac(secret.derive("door requests").expose(), &digests);
        let now = jiff::Timestamp::now().as_millisecond();
        let since = now - i64::from(self.settings.remember_days) * DAY_MS;
        let name = keys::name(secret, &[scope, key]);
        match keys::remember(&self.store, name, digest, now, since).await {
            Ok(Seen::New | Seen::Same) => Ok(()),
            Ok(Seen::Other) => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "this Idempotency-Key was sent before with other content; take a new key for what is new, and send the \
                 same content with the same key",
            )),
            Err(fault) => {
                let why = "this machine's store failed, and the program stops".to_owned();
                tracing::error!(%fault, "the door can't remember a request");
                self.fail(fault);
                Err(Problem::later(why, SOON))
            }
        }
    }

    /// Publishes all, or says why it isn't confirmed in time.
    async fn publish(&self, mut events: Vec<Event>) -> Result<(), String> {
        let deadline = Instant::now() + self.settings.patience();
        let mut pause = PAUSE;
        loop {
            // Bodies are shared; what is copied are the headers, and only so that
            // what a full queue refuses can be sent again.
            let confirms = match timeout_at(deadline, self.bus.publish(EVENTS, events.clone())).await {
                Ok(Ok(confirms)) => confirms,
                Ok(Err(fault)) => return Err(fault.to_string()),
                Err(_) => {
                    let seconds = self.settings.patience_seconds;
                    return Err(format!("the hub's broker didn't confirm within {seconds} seconds"));
                }
            };
            let done = confirms.iter().take_while(|confirm| matches!(confirm, Confirm::Accepted)).count();
            events.drain(..done);
            if events.is_empty() {
                return Ok(());
            }
            if Instant::now() + pause >= deadline {
                return Err("the hub's inbox takes no more now".to_owned());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}

/// What the hub compares to know an event again.
fn digest(message: &Message) -> [u8; 32] {
    // What was just signed can be read.
    crate::event::Attributes::read(message)
        .map(|attributes| attributes.digest(&message.body))
        .unwrap_or_default()
}

/// One record, or a list of them.
async fn parse(body: bytes::Bytes) -> Result<Vec<Value>, Problem> {
    let is_large = body.len() > LARGE;
    let read = move || serde_json::from_slice::<Value>(&body);
    let parsed = match is_large {
        false => read(),
        true => tokio::task::spawn_blocking(read)
            .await
            .map_err(|_| Problem::malformed("the body can't be read"))?,
    };
    match parsed.map_err(|error| not_json(&error))? {
        Value::Array(records) if records.is_empty() => {
            Err(Problem::fields(vec![of_request("expected at least one record".to_owned())]))
        }
        Value::Array(records) if records.len() > MOST_RECORDS => Err(Problem::fields(vec![of_request(
            format!("expected at most {MOST_RECORDS} records in a request"),
        )])),
        Value::Array(records) => Ok(records),
        record => Ok(vec![record]),
    }
}

fn of_request(message: String) -> FieldFault {
    FieldFault { record: 0, field: String::new(), message }
}

/// The signed events of all records on all cores, each with its record's
/// position; or everything that is wrong.
async fn draft(records: Vec<Value>, drafting: Drafting) -> Result<Vec<(usize, Event)>, Problem> {
    let numbered: Vec<(usize, Value)> = records.into_iter().enumerate().collect();
    let drafted = crunch(numbered, move |share: Vec<(usize, Value)>| {
        let draft = |(position, record)| (position, drafting.events(position, record));
        share.into_iter().map(draft).collect()
    });
    let (mut events, mut faults) = (Vec::new(), Vec::new());
    for (position, drafted) in drafted.await {
        match drafted {
            Ok(several) => events.extend(several.into_iter().map(|event| (position, event))),
            Err(several) => faults.extend(several),
        }
    }
    if faults.is_empty() {
        return Ok(events);
    }
    faults.truncate(MOST_FAULTS);
    Err(Problem::fields(faults))
}
