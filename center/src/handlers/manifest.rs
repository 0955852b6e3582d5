//! The manifest of a repository: 256 digests of what it holds, and the lines of one bucket.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use shared::access::{Grant, Place};
use shared::change::ChangeId;

use super::module::authorize;
use crate::app::App;
use crate::envelope::Route;
use crate::error::Failure;

/// The head of the log that the manifest reflects at least.
const X_CHANGE_HEAD: HeaderName = HeaderName::from_static("x-change-head");

/// `GET /api/v1/repos/<repository>/manifest`
pub(crate) async fn root(
    State(app): State<Arc<App>>,
    Path(repository): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    authorize(&app, &headers, Grant::Read, Place::Repository(&repository))?;
    let manifest = app.repository(&repository)?.manifest().await?;
    let document = serde_json::json!({
        "head": manifest.head,
        "root": manifest.root,
        "buckets": manifest.buckets,
    });
    Ok(respond(manifest.head, "application/json", format!("{document}\n")))
}

/// `GET /api/v1/repos/<repository>/manifest/<bucket>`, the bucket as a decimal number from 0 to 255.
pub(crate) async fn bucket(
    State(app): State<Arc<App>>,
    Path((repository, bucket)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let number: u8 =
        bucket.parse().map_err(|_| Failure::BadRequest(format!("bucket {bucket:?}: not a number from 0 to 255")))?;
    authorize(&app, &headers, Grant::Read, Place::Repository(&repository))?;
    let repository = app.repository(&repository)?;
    // The head first: what is read afterwards reflects at least that.
    let head = app.store.change_log(repository.name())?.head();
    let lines = repository.manifest_bucket(number).await?;
    Ok(respond(head, "text/plain; charset=utf-8", lines))
}

fn respond(head: ChangeId, content_type: &'static str, body: String) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(head) = HeaderValue::from_str(&head.to_string()) {
        headers.insert(X_CHANGE_HEAD, head);
    }
    response.extensions_mut().insert(Route("manifest"));
    response
}
