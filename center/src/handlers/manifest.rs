//! The manifest of a repository: 256 digests of what it holds, and of one bucket the lines, the digests of their parts, or the lines
//! of some parts.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use shared::access::{Grant, Place};
use shared::change::ChangeId;
use shared::digest::Digest;
use shared::manifest::{only, parts};

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

/// `GET /api/v1/repos/<repository>/manifest/<bucket>`, the bucket as a decimal number from 0 to 255; `?sub=` for the 256 digests of its
/// parts, `?sub=3,17` for the lines of these.
pub(crate) async fn bucket(
    State(app): State<Arc<App>>,
    Path((repository, bucket)): Path<(String, String)>,
    Query(given): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let number = number_of(&bucket)?;
    let wanted = given.get("sub");
    let chosen = wanted.filter(|list| !list.is_empty()).map(|list| list.split(',').map(number_of).collect());
    let chosen: Option<BTreeSet<u8>> = chosen.transpose()?;
    authorize(&app, &headers, Grant::Read, Place::Repository(&repository))?;
    let repository = app.repository(&repository)?;
    // The head first: what is read afterwards reflects at least that.
    let head = app.store.change_log(repository.name())?.head();
    let lines = repository.manifest_bucket(number).await?;
    if wanted.is_some() && chosen.is_none() {
        let (digests, empty) = (parts(&lines), Digest::of(b""));
        let all: Vec<&Digest> = (0..=u8::MAX).map(|part| digests.get(&part).unwrap_or(&empty)).collect();
        let document = serde_json::json!({ "head": head, "parts": all });
        return Ok(respond(head, "application/json", format!("{document}\n")));
    }
    let lines = match chosen {
        Some(chosen) => only(&lines, &chosen),
        None => lines,
    };
    Ok(respond(head, "text/plain; charset=utf-8", lines))
}

fn number_of(text: &str) -> Result<u8, Failure> {
    text.parse().map_err(|_| Failure::BadRequest(format!("bucket or part {text:?}: not a number from 0 to 255")))
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
