//! What the door answers where it doesn't do what was asked: problem details
//! (RFC 9457), with a list of the fields that are wrong.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// One field that is wrong. It is named, and its value isn't.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FieldFault {
    /// The record's position in the request, from 0.
    pub(super) record: usize,
    /// The path of the field; empty where it is the record as a whole.
    pub(super) field: String,
    /// A sentence.
    pub(super) message: String,
}

/// An answer that isn't success.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    errors: Vec<FieldFault>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into(), errors: Vec::new(), header: None }
    }

    /// 400: the request isn't of its form.
    pub(super) fn malformed(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 422: these fields are wrong, and nothing was taken.
    pub(super) fn fields(errors: Vec<FieldFault>) -> Problem {
        let detail = match errors.len() {
            1 => "one field is wrong; nothing of this request was taken".to_owned(),
            count => format!("{count} fields are wrong; nothing of this request was taken"),
        };
        Problem { errors, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// 503: try again in `seconds`.
    pub(super) fn later(detail: impl Into<String>, seconds: u32) -> Problem {
        let header = Some((header::RETRY_AFTER, HeaderValue::from(seconds)));
        Problem { header, ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Problem {
        self.header = Some((name, HeaderValue::from_static(value)));
        self
    }
}

#[derive(Serialize)]
struct Details<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldFault],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let details = Details {
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
            errors: &self.errors,
        };
        // Texts and numbers are always JSON.
        let body = serde_json::to_vec(&details).unwrap_or_default();
        let mut response =
            (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
