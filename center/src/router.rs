//! Every route of the center.
//!
//! Module paths are taken from the raw, still percent-encoded path of the request, never from what the router captured: the
//! rules for encodings are those of `shared::request`, and they are applied once.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, delete, get, post, put};
use http::Uri;
use shared::request::decode_path;

use crate::app::App;
use crate::envelope::envelop;
use crate::error::{Failure, READ_METHODS};
use crate::handlers::{
    catalog, changes, detail, intake, manifest, module, oversight, refresh, status, tokens, upkeep, webhook,
};

/// The routes of the listener for figures.
pub(crate) fn figures(app: &Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(status::figures))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .with_state(Arc::clone(app))
}

/// The routes, with what stands around each request.
pub(crate) fn routes(app: &Arc<App>) -> Router {
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
        // Modules and checksum databases: GET and HEAD read, PUT publishes, DELETE and POST …/restore tombstone and lift it.
        .route("/api/go/{repository}/{*path}", any(module::module))
        .route("/artifactory/api/go/{repository}/{*path}", any(module::module))
        .method_not_allowed_fallback(async || Failure::Method(READ_METHODS))
        .fallback(async |uri: Uri| {
            let path = uri.path();
            if let Err(malformed) = decode_path(path.strip_prefix('/').unwrap_or(path)) {
                return Failure::Path(malformed);
            }
            let is_module = path.contains("/@v/") || path.ends_with("/@latest");
            if is_module { Failure::NoBase } else { Failure::NoRoute }
        })
        .layer(from_fn_with_state(Arc::clone(app), envelop))
        .with_state(Arc::clone(app))
}
