//! `GET /deliveries` and `POST /deliveries/ack`.
//!
//! Reading changes nothing (RFC 9110 section 9.2.1), so that it can be repeated
//! by whoever stands between; what was handled is acknowledged on purpose.

use super::Shared;
use super::answers::{FieldFault, Problem};
use super::held::{Cursor, Held, HeldFault};
use super::http::{Parameters, json_body, not_json};
use crate::tasks::stopped;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How many deliveries an answer holds where nothing else is asked.
pub(super) const USUAL: usize = 100;
/// The most that may be asked for.
pub(super) const MOST: usize = 1000;
/// About how many bytes of deliveries an answer holds at most.
const BYTES: usize = 4 << 20;
/// What an acknowledgement may hold, in bytes.
const ACK_BYTES: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    after: Option<String>,
    max: Option<usize>,
    wait: Option<u64>,
}

fn held(shared: &Shared) -> Result<&Arc<Held>, Problem> {
    shared.held.as_ref().ok_or_else(|| {
        let detail = "deliveries aren't held here: set inbox.enabled = true and inbox.sink = \"door\" in this member's \
                      configuration";
        Problem::new(StatusCode::NOT_FOUND, detail)
    })
}

impl Shared {
    /// The answer to a fault of what is held.
    fn refused(&self, fault: HeldFault) -> Problem {
        match fault {
            HeldFault::Gone(upto) => Problem::new(
                StatusCode::GONE,
                format!(
                    "what follows was acknowledged up to {upto}, and is no longer here; leave `after` out to go on \
                     with what there is, or ask the hub's operator to replay"
                ),
            ),
            HeldFault::Unknown(last) if last == Cursor::default() => {
                Problem::new(StatusCode::CONFLICT, "nothing has arrived yet that could be acknowledged")
            }
            HeldFault::Unknown(last) => Problem::new(
                StatusCode::CONFLICT,
                format!("nothing has arrived under that number; the last delivery is {last}"),
            ),
            HeldFault::Store(fault) => {
                tracing::error!(%fault, "what is held for the door can't be used");
                self.fail(fault);
                Problem::later("this machine's store failed, and the program stops", 5)
            }
        }
    }
}

pub(super) async fn get(
    State(shared): State<Arc<Shared>>,
    asked: Result<Parameters<Asked>, Problem>,
) -> Result<Response, Problem> {
    let held = held(&shared)?;
    let Parameters(Asked { after, max, wait }) = asked?;
    let after = match after {
        None => None,
        Some(text) => Some(Cursor::parse(&text).ok_or_else(|| {
            Problem::malformed(
                "after: expected a cursor as an answer gives it, EPOCH-SEQUENCE, 1-42 for instance",
            )
        })?),
    };
    let max = max.unwrap_or(USUAL);
    if !(1..=MOST).contains(&max) {
        return Err(Problem::malformed(format!("max: expected a number from 1 to {MOST}")));
    }
    let most = shared.settings.wait_seconds;
    let wait = wait.unwrap_or(0);
    if wait > most {
        return Err(Problem::malformed(format!("wait: expected a number of seconds from 0 to {most}")));
    }
    let deadline = Instant::now() + Duration::from_secs(wait);
    let mut arrivals = held.arrivals();
    let mut stop = shared.stop.clone();
    loop {
        arrivals.mark_unchanged();
        let page = held.page(after, max, BYTES).await.map_err(|fault| shared.refused(fault))?;
        if page.deliveries.is_empty() {
            tracing::debug!(after = %page.next, "a request for deliveries waits");
            let waited = tokio::select! {
                changed = timeout_at(deadline, arrivals.changed()) => changed.is_ok_and(|changed| changed.is_ok()),
                () = stopped(&mut stop) => false,
            };
            if waited {
                continue;
            }
        }
        // Each is JSON already.
        let mut body =
            Vec::with_capacity(page.deliveries.iter().map(|json| json.len() + 1).sum::<usize>() + 64);
        body.extend_from_slice(b"{\"deliveries\":[");
        body.extend_from_slice(&page.deliveries.join(&b','));
        body.extend_from_slice(format!("],\"next\":\"{}\"}}", page.next).as_bytes());
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        return Ok((headers, body).into_response());
    }
}

pub(super) async fn acknowledge(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let held = held(&shared)?;
    let body = json_body(&headers, request, ACK_BYTES).await?;
    let asked: Value = serde_json::from_slice(&body).map_err(|error| not_json(&error))?;
    let upto = cursor(&asked).map_err(Problem::fields)?;
    let upto = held.acknowledge(upto).await.map_err(|fault| shared.refused(fault))?;
    Ok(Json(json!({ "acknowledged": upto.to_string() })).into_response())
}

/// `{"epoch": 1, "sequence": 42}`, and nothing more.
fn cursor(asked: &Value) -> Result<Cursor, Vec<FieldFault>> {
    let fault = |field: &str, message: &str| FieldFault {
        record: 0,
        field: field.to_owned(),
        message: message.to_owned(),
    };
    let Some(object) = asked.as_object() else {
        return Err(vec![fault("", "expected an object with epoch and sequence")]);
    };
    let number = |name: &str| {
        let value = object.get(name)?;
        // 3.0 is the same whole number.
        let float = value.as_f64().filter(|x| x.fract() == 0.0 && (1.0..9e15).contains(x)).map(|x| x as u64);
        value.as_u64().or(float).filter(|number| *number > 0)
    };
    let epoch = number("epoch").and_then(|epoch| u32::try_from(epoch).ok());
    let sequence = number("sequence");
    let mut faults = Vec::new();
    if epoch.is_none() {
        faults.push(fault("epoch", "expected the epoch of a delivery, a whole number from 1"));
    }
    if sequence.is_none() {
        faults.push(fault("sequence", "expected the sequence of a delivery, a whole number from 1"));
    }
    if object.keys().any(|key| key != "epoch" && key != "sequence") {
        faults.push(fault("", "expected epoch and sequence, and nothing more"));
    }
    match (epoch, sequence) {
        (Some(epoch), Some(sequence)) if faults.is_empty() => Ok(Cursor { epoch, sequence }),
        _ => Err(faults),
    }
}
