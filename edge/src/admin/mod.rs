//! The administration listener: health, figures, and what an operator may do. By default only this machine reaches it.
//!
//! `/healthz`, `/readyz`, `/version` and `/metrics` need no token: probes and scrapers have none, and no module's name is in
//! them but in the bounded figures. All below `/api/v1/` needs one that grants `admin`, where a file of tokens is set.

mod access;
mod health;
mod hot;
mod prewarm;
mod problem;
mod purge;
mod sync;
#[cfg(test)]
mod tests;
mod upstreams;

use std::net::TcpListener;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, middleware};
use shared::administration;

pub(crate) use self::access::Access;
use self::problem::{answer, problem};
use crate::app::App;
use crate::reload::{self, Outcome};
use crate::server::SparedListener;

/// Largest body of a request.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Every route of the listener.
fn router(app: Arc<App>, access: Access) -> Router {
    let guarded = Router::new()
        .route("/api/v1/hot", get(hot::hot))
        .route("/api/v1/prewarm", post(prewarm::prewarm))
        .route("/api/v1/purge", post(purge::purge))
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/sync", get(sync::report).post(sync::replay))
        .route("/api/v1/upstreams", get(upstreams::report))
        .route("/api/v1/upstreams/{name}", post(upstreams::operate))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::new(access), access::guard));
    Router::new()
        .route("/healthz", get(health::health))
        .route("/readyz", get(health::ready))
        .route("/version", get(health::version))
        .route("/metrics", get(health::metrics))
        .merge(guarded)
        .method_not_allowed_fallback(|| async { problem(StatusCode::METHOD_NOT_ALLOWED, "not by this method") })
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such page of the administration") })
        .with_state(app)
}

/// Serves until the edge stops, or another process has taken its place.
pub(crate) async fn serve(app: Arc<App>, access: Access, listener: TcpListener) -> std::io::Result<()> {
    let listener = SparedListener::new(listener, Arc::clone(&app))?;
    let mut stopping = app.stopped.subscribe();
    let stop = async move {
        // An error means that the app is gone, which is a reason to stop as well.
        let _ = stopping.wait_for(|stopped| *stopped).await;
    };
    administration::serve(listener, router(app, access), stop).await;
    Ok(())
}

async fn reload(State(app): State<Arc<App>>) -> Response {
    let outcome = reload::reload(&app, "the administration").await;
    match &outcome {
        Outcome::Applied(_) | Outcome::Unchanged => answer(StatusCode::OK, &outcome.report()),
        Outcome::Refused(reason) => problem(StatusCode::UNPROCESSABLE_ENTITY, reason),
    }
}
