//! What the center says about itself: health, version, metrics, its repositories, and the page with the GOPROXY line.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use shared::access::{Grant, Place};

use super::module::authorize;
use super::pages::html;
use crate::app::App;
use crate::error::Failure;
use crate::repository::RepositoryKind;

/// Alive. Depends on nothing.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Able to serve: everything is built before the first request is accepted, so only a stop that was asked for ends it.
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Response {
    if *app.stopping.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    "ready\n".into_response()
}

/// Name and version of the binary.
pub(crate) async fn version() -> Json<Value> {
    Json(json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }))
}

/// Prometheus' text format, on the listener of the service: unless it has one of its own, and for those who may.
pub(crate) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Failure> {
    if !app.shown.listen.is_empty() {
        return Err(Failure::NoRoute);
    }
    if app.shown.needs_token {
        authorize(&app, &headers, Grant::Admin, Place::Everywhere)?;
    }
    Ok(figures().await.into_response())
}

/// The same for everybody who reaches the listener that is there for it.
pub(crate) async fn figures() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared::telemetry::render())
}

/// `GET /api/v1/repos`
pub(crate) async fn repositories(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<Value>, Failure> {
    authorize(&app, &headers, Grant::Read, Place::Everywhere)?;
    let mut all = Vec::new();
    for repository in app.repositories.iter() {
        let log = app.store.change_log(repository.name())?;
        all.push(json!({
            "name": repository.name(),
            "type": repository.kind().as_str(),
            "members": repository.leaves(),
            "head": log.head(),
            "oldest": log.oldest(),
        }));
    }
    Ok(Json(json!({ "repos": all })))
}

/// A short page that says how to use the center.
pub(crate) async fn index(State(app): State<Arc<App>>) -> impl IntoResponse {
    // The address that a client used is not known here, only what it claims; so the page says where the host goes.
    let mut lines = String::new();
    for repository in app.repositories.iter().filter(|found| found.kind() == RepositoryKind::Virtual) {
        for part in ["<pre>GOPROXY=http://HOST:PORT/api/go/", repository.name(), "/</pre>\n"] {
            lines.push_str(part);
        }
    }
    let body = format!(
        "<p>The <code>go</code> command is meant to use an edge. To use this center directly:</p>\n{lines}\
         <p><a href=\"/catalog\">Modules</a> · <a href=\"/index\">Index</a> · <a href=\"/api/v1/repos\">Repositories</a></p>\n"
    );
    html("Modtier center", &body)
}
