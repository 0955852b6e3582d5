//! The administration listener: every route on one page.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use serde_json::json;
use shared::telemetry::HttpMetrics;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::error::SyncerError;
use crate::fleet::{Fleet, View};
use crate::popularity::hottest;

/// Modules that `/api/v1/hot` names.
const HOT_MODULES: usize = 100;

/// What the routes read.
#[derive(Clone)]
pub(crate) struct AdminState {
    /// Whether the relay works; always true where there is none.
    pub(crate) ready: watch::Receiver<bool>,
    /// Counts the requests.
    pub(crate) http: HttpMetrics,
    /// The edges.
    pub(crate) fleet: Arc<Fleet>,
}

/// The routes.
pub(crate) fn router(state: AdminState) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route("/api/v1/edges", get(edges))
        .route("/api/v1/hot", get(hot))
        .layer(middleware::from_fn_with_state(state.http.clone(), observe))
        .with_state(state)
}

/// Binds the address; a refusal names it and what to do.
pub(crate) async fn bind(address: &str) -> Result<TcpListener, SyncerError> {
    TcpListener::bind(address).await.map_err(|source| SyncerError::Bind { address: address.to_owned(), source })
}

async fn readyz(State(state): State<AdminState>) -> Response {
    if *state.ready.borrow() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable: the relay does not reach the center and redis\n")
            .into_response()
    }
}

async fn version() -> Json<serde_json::Value> {
    Json(json!({ "name": "modtier-syncer", "version": env!("CARGO_PKG_VERSION") }))
}

/// The edges as they are now: whoever asks after a change is told of it.
async fn edges(State(state): State<AdminState>) -> Json<View> {
    Json(View::clone(&*state.fleet.look().await))
}

/// The modules asked for most.
async fn hot(State(state): State<AdminState>) -> Response {
    match hottest(&state.fleet, HOT_MODULES).await {
        Ok(modules) => Json(json!({ "modules": modules })).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("unavailable: {error}\n")).into_response(),
    }
}

async fn metrics() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared::telemetry::render()).into_response()
}

async fn observe(State(http): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let mut response = next.run(request).await;
    http.observe(&route, response.status().as_u16(), begun.elapsed());
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::feed::Feed;

    #[tokio::test]
    async fn health_is_not_readiness() {
        let (ready, watched) = watch::channel(false);
        let listener = bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let client = shared::client::http_client(shared::client::ClientOptions::default()).unwrap();
        let config = Config { edges: Vec::new(), ..Config::default() };
        let feed = Feed::new(crate::tier::TierClient::open(client.clone()), &config.center, &config.repository);
        let fleet = Arc::new(Fleet::new(client.clone(), feed, &config, None).unwrap());
        let routes = router(AdminState { ready: watched, http: HttpMetrics::new("syncer"), fleet });
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let status = async |path: &str| client.get(format!("{base}{path}")).send().await.unwrap().status().as_u16();
        assert_eq!(status("/healthz").await, 200);
        assert_eq!(status("/readyz").await, 503);
        ready.send(true).unwrap();
        assert_eq!(status("/readyz").await, 200);
        assert_eq!(status("/unknown").await, 404);
        // Without an edge nobody can tell what is asked for.
        assert_eq!(status("/api/v1/hot").await, 503);
        let text = client.get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
        assert!(text.contains("modtier_http_requests_total{code=\"503\",route=\"/readyz\",tier=\"syncer\"}"), "{text}");
    }

    #[tokio::test]
    async fn an_occupied_address_is_named_with_what_to_do() {
        let held = bind("127.0.0.1:0").await.unwrap();
        let address = held.local_addr().unwrap().to_string();
        let error = bind(&address).await.unwrap_err().to_string();
        assert!(error.contains(&address) && error.contains("MODTIER_SYNCER_ADMIN"), "{error}");
    }
}
