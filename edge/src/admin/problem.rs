//! Answers in JSON; failures as problem documents (RFC 9457).

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// A JSON document.
pub(super) fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => document(status, "application/json", &text),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// A problem document.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let text = json!({ "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail });
    document(status, "application/problem+json", &text.to_string())
}

/// What a request's body says; an empty one says nothing. The error is the answer.
pub(super) fn read<T: DeserializeOwned + Default>(body: Result<Bytes, BytesRejection>) -> Result<T, Box<Response>> {
    let body = body.map_err(|rejected| Box::new(problem(rejected.status(), &rejected.body_text())))?;
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&body).map_err(|error| Box::new(problem(StatusCode::BAD_REQUEST, &error.to_string())))
}

fn document(status: StatusCode, content_type: &'static str, text: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, format!("{text}\n")).into_response()
}
