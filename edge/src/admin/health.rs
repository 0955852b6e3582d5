//! What needs no token: health, readiness, version and figures.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::respond::{Answer, Body as AnswerBody};
use crate::serve::pages;

/// `/healthz`.
pub(super) async fn health() -> Response {
    text(pages::health())
}

/// `/readyz`; with `?verbose` as JSON.
pub(super) async fn ready(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("verbose")));
    text(pages::ready(&app, verbose))
}

/// `/version`.
pub(super) async fn version() -> Response {
    text(pages::version())
}

/// `/metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.upstream.export_states();
    app.popularity.export();
    app.metrics.fills_waiting(&app.limits);
    app.metrics.cache.take_over(&app.cache.stats());
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, shared::telemetry::render()).into_response()
}

fn text(answer: Answer) -> Response {
    let body = match answer.body {
        AnswerBody::Whole(bytes) => Body::from(bytes),
        AnswerBody::File(_) | AnswerBody::Growing(_) | AnswerBody::Passing(_) => Body::empty(),
    };
    let headers = [
        (header::CONTENT_TYPE, answer.content_type),
        (header::CACHE_CONTROL, answer.cache_control),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (answer.status, headers, body).into_response()
}
