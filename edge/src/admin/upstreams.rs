//! `/api/v1/upstreams`: what is known of the centers, and what an operator does to one's breaker.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use shared::config::Period;

use super::problem::{answer, problem, read};
use crate::app::App;
use crate::upstream::Operation;

/// What to do with a breaker.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    /// `open`, `close`, or `auto`.
    breaker: Option<Operation>,
    /// For how long; nobody's word holds for ever.
    #[serde(rename = "for")]
    time: Option<Period>,
}

/// Every center, and the last choice.
pub(super) async fn report(State(app): State<Arc<App>>) -> Response {
    answer(StatusCode::OK, &app.upstream.report())
}

/// Forces a breaker, or lets it go; the answer is as [`report`]'s.
pub(super) async fn operate(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let asked: Asked = match read(body) {
        Ok(asked) => asked,
        Err(answer) => return *answer,
    };
    let Some(operation) = asked.breaker else {
        return problem(StatusCode::BAD_REQUEST, "breaker: one of open, close, auto");
    };
    let time = asked.time.unwrap_or(Period::secs(300)).get();
    match app.upstream.operate(&name, operation, time) {
        Ok(()) => answer(StatusCode::OK, &app.upstream.report()),
        Err(reason) => problem(StatusCode::BAD_REQUEST, &reason),
    }
}
