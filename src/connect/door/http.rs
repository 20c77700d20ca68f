//! The door's routes, and what holds for each request.

use super::answers::Problem;
use super::{Shared, deliveries, events, openapi};
use crate::seal::hmac_bytes;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How long a request's body may take to come.
const BODY: Duration = Duration::from_secs(30);

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let guarded = Router::new()
        .route("/events/{event_type}", post(events::post))
        .route("/deliveries", get(deliveries::get))
        .route("/deliveries/ack", post(deliveries::acknowledge))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&shared), token));
    let open = Router::new()
        .route("/", get(openapi::page))
        .route("/openapi.json", get(openapi::description))
        .route("/health", get(health));
    guarded
        .merge(open)
        .fallback(nowhere)
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), host))
        .with_state(shared)
}

async fn nowhere() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here; GET / says what there is")
}

async fn other_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this isn't done here; the header Allow says what is")
}

/// RFC 6750 section 2.1.
async fn token(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let Some(expected) = &shared.token else { return next.run(request).await };
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = header.and_then(|value| value.split_once(' '));
    let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    // What is compared are HMACs: the time that it takes says nothing of the token.
    let is_it =
        |token: &str| hmac_bytes(shared.signer.id_secret.expose(), token.trim().as_bytes()) == *expected;
    if given.is_some_and(|(_, token)| is_it(token)) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "the header Authorization: Bearer TOKEN is missing, or its token isn't the one",
    )
    .with(header::WWW_AUTHENTICATE, "Bearer")
    .into_response()
}

/// Without a token, what runs in this machine's browser could come here by a
/// name that it lets point to the loopback: only addresses are answered then.
async fn host(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    if shared.token.is_none() && !host.is_none_or(is_here) {
        let detail =
            "without a token the door is called by its address, http://127.0.0.1, and not by another name";
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response();
    }
    next.run(request).await
}

fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let mut problems: Vec<String> = shared.trouble().iter().cloned().collect();
    problems.extend(shared.store.is_failed());
    if let Some(held) = &shared.held
        && held.is_full().await
    {
        problems.push(
            "what is held for the back-office is as large as door.held_mib allows: nothing more is received until \
             some of it is acknowledged"
                .to_owned(),
        );
    }
    match problems.is_empty() {
        true => Json(json!({ "status": "ok" })).into_response(),
        false => {
            let body = json!({ "status": "failing", "problems": problems });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

/// The parameters of a request's query, strictly: a name that isn't known, or
/// stands twice, is refused rather than passed over.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Parameters<T>, Problem> {
        // The parser's sentence can have a value in it: only the first words,
        // which name a field, are of its own.
        let query = Query::<T>::try_from_uri(&parts.uri).map_err(|fault| {
            let text = fault.body_text();
            let known = ["unknown field", "duplicate field"].into_iter().find(|known| text.contains(known));
            Problem::malformed(match known {
                Some("unknown field") => {
                    "a parameter of the query isn't known; GET /openapi.json says which there are"
                }
                Some(_) => "a parameter stands twice in the query",
                None => "a parameter of the query isn't of its form; GET /openapi.json says which it is",
            })
        });
        query.map(|Query(parameters)| Parameters(parameters))
    }
}

/// The request's body, which must say that it is JSON, and be no longer than
/// `most` bytes.
pub(super) async fn json_body(headers: &HeaderMap, request: Request, most: usize) -> Result<Bytes, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected Content-Type: application/json",
        )
        .with(header::ACCEPT, "application/json"));
    }
    let body = tokio::time::timeout(BODY, axum::body::to_bytes(request.into_body(), most)).await;
    match body {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if is_too_long(&error) => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a request holds {} bytes at most; send the records in several", most),
        )),
        Ok(Err(_)) => Err(Problem::malformed("the request broke off before its end")),
        Err(_) => {
            let seconds = BODY.as_secs();
            Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the request wasn't whole after {seconds} seconds"),
            ))
        }
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("length limit exceeded") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What is posted isn't JSON: where, and never what stands there.
pub(super) fn not_json(error: &serde_json::Error) -> Problem {
    Problem::malformed(format!("the body isn't JSON at line {}, column {}", error.line(), error.column()))
}

#[cfg(test)]
mod tests {
    use super::is_here;

    #[test]
    fn a_name_that_anyone_can_let_point_here_isnt_here() {
        for host in ["localhost:8481", "LOCALHOST", "127.0.0.1:8481", "[::1]:8481", "192.168.1.4"] {
            assert!(is_here(host), "{host}");
        }
        for host in ["evil.example:8481", "localhost.evil.example", "", "127.0.0.1.nip.io"] {
            assert!(!is_here(host), "{host}");
        }
    }
}
