//! The administration listener: health, figures, how far changes are followed, and purging. Keep it private.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use shared::module::ModulePath;

use crate::app::App;
use crate::respond::{Answer, Body as AnswerBody};
use crate::serve::pages;

/// Every route of the listener.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { text(pages::health()) }))
        .route("/readyz", get(ready))
        .route("/version", get(|| async { text(pages::version()) }))
        .route("/metrics", get(metrics))
        .route("/api/v1/sync", get(sync))
        .route("/api/v1/upstreams", get(upstreams))
        .route("/api/v1/purge", post(purge))
        .with_state(app)
}

/// Serves until the edge stops.
pub(crate) async fn serve(app: Arc<App>, listener: std::net::TcpListener) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut stopping = app.stopped.subscribe();
    axum::serve(listener, router(app))
        .with_graceful_shutdown(async move {
            // An error means that the app is gone, which is a reason to stop as well.
            let _ = stopping.wait_for(|stopped| *stopped).await;
        })
        .await
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

async fn ready(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("verbose")));
    text(pages::ready(&app, verbose))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.metrics.cache_stats(&app.cache.stats());
    app.upstream.export_states();
    app.popularity.export();
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, shared::telemetry::render()).into_response()
}

async fn sync(State(app): State<Arc<App>>) -> Response {
    json_answer(StatusCode::OK, &app.sync.report())
}

async fn upstreams(State(app): State<Arc<App>>) -> Response {
    json_answer(StatusCode::OK, &json!(app.upstream.report()))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Purge {
    module: Option<String>,
}

/// Drops a module's entries, or all, from both tiers.
async fn purge(State(app): State<Arc<App>>, headers: HeaderMap, body: axum::body::Bytes) -> Response {
    // Only browsers send `Origin`: a page must not purge through an operator's browser that reaches this listener.
    if headers.contains_key(header::ORIGIN) {
        return problem(StatusCode::FORBIDDEN, "not from a web page");
    }
    let asked: Purge = match if body.is_empty() { Ok(Purge::default()) } else { serde_json::from_slice(&body) } {
        Ok(asked) => asked,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let module = match asked.module.as_deref().map(ModulePath::new).transpose() {
        Ok(module) => module,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let cache = Arc::clone(&app.cache);
    let purged = app.behind.spawn_blocking(move || cache.purge(module.as_ref())).await;
    match purged {
        Ok(Ok(count)) => {
            let what = asked.module.as_deref().unwrap_or("all");
            tracing::info!(what, count, "purged");
            json_answer(StatusCode::OK, &json!({ "purged": count }))
        }
        Ok(Err(error)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn json_answer(status: StatusCode, value: &serde_json::Value) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (status, content_type, format!("{value}\n")).into_response()
}

/// A problem document (RFC 9457).
fn problem(status: StatusCode, detail: &str) -> Response {
    let document = json!({ "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail });
    let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, content_type, format!("{document}\n")).into_response()
}
