//! Every route of the center.
//!
//! Module paths are taken from the raw, still percent-encoded path of the request, never from what the router captured: the
//! rules for encodings are those of `shared::request`, and they are applied once.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use http::Uri;
use shared::request::decode_path;
use tower::ServiceExt as _;

use crate::app::App;
use crate::envelope::Envelope;
use crate::error::{Failure, READ_METHODS};
use crate::handlers::{
    catalog, changes, detail, intake, manifest, module, oversight, refresh, status, tokens, upkeep, webhook,
};
use crate::serve::doubtful::Doubt;

/// The routes of the listener for figures.
pub(crate) fn figures(app: &Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(status::figures))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .with_state(Arc::clone(app))
}

/// The routes, with what stands around each request.
pub(crate) struct Routes {
    app: Arc<App>,
    table: Router,
}

impl Routes {
    /// Those of a center.
    pub(crate) fn new(app: &Arc<App>) -> Self {
        Self { app: Arc::clone(app), table: table(app) }
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        let envelope = Envelope::of(&self.app, &request);
        let response = if let Some(Doubt(why)) = request.extensions().get() {
            Failure::BadRequest((*why).to_owned()).into_response()
        } else if self.app.via.came_back(request.headers()) {
            Failure::Loop.into_response()
        } else if module::split_base(request.uri().path()).is_some() {
            // Modules and checksum databases: GET and HEAD read, PUT publishes, DELETE and POST …/restore tombstone and lift it.
            // They are what nearly every request is about, and need no table to be found.
            module::module(&self.app, request).await
        } else {
            let Ok(response) = self.table.clone().oneshot(request).await;
            response
        };
        envelope.around(&self.app, response)
    }
}

fn table(app: &Arc<App>) -> Router {
    Router::new()
        .route("/", get(status::index))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/version", get(status::version))
        .route("/metrics", get(status::metrics))
        // Administration.
        .route("/api/v1/repos", get(status::repositories))
        .route("/api/v1/repos/{repository}/changes", get(changes::changes))
        .route("/api/v1/repos/{repository}/refresh", post(refresh::refresh).fallback(async || Failure::Method("POST")))
        .route("/api/v1/repos/{repository}/webhook", post(webhook::webhook))
        .route("/api/v1/repos/{repository}/manifest", get(manifest::root))
        .route("/api/v1/repos/{repository}/manifest/{bucket}", get(manifest::bucket))
        .route("/api/v1/gc", post(upkeep::collect).fallback(async || Failure::Method("POST")))
        .route("/api/v1/retention", post(upkeep::retain).fallback(async || Failure::Method("POST")))
        .route("/api/v1/verify", post(upkeep::verify).fallback(async || Failure::Method("POST")))
        .route("/api/v1/repos/{repository}/import/{*path}", put(intake::take))
        .route("/api/v1/catalog", get(catalog::catalog))
        .route("/api/v1/search", get(catalog::search))
        .route("/api/v1/modules/{*path}", get(detail::read).put(detail::write).patch(detail::write))
        .route("/api/v1/stats", get(oversight::stats))
        .route("/api/v1/audit", get(oversight::audit))
        .route(
            "/api/v1/tokens",
            get(tokens::list).post(tokens::issue).fallback(async || Failure::Method("GET, HEAD, POST")),
        )
        .route("/api/v1/tokens/{name}", delete(tokens::revoke).fallback(async || Failure::Method("DELETE")))
        .route("/api/v1/doctor", get(oversight::doctor))
        // Finding things.
        .route("/catalog", get(catalog::public))
        .route("/index", get(catalog::index))
        .method_not_allowed_fallback(async || Failure::Method(READ_METHODS))
        .fallback(async |uri: Uri| {
            let path = uri.path();
            if let Err(malformed) = decode_path(path.strip_prefix('/').unwrap_or(path)) {
                return Failure::Path(malformed);
            }
            let is_module = path.contains("/@v/") || path.ends_with("/@latest");
            if is_module { Failure::NoBase } else { Failure::NoRoute }
        })
        .with_state(Arc::clone(app))
}
