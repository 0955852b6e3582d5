//! `sumdb/<name>/…`: checksum databases, proxied.

use axum::response::Response;
use http::request::Parts;
use shared::artefact::CACHE_CONTROL_IMMUTABLE;
use shared::module::ModulePath;
use shared::request::{SumdbPart, SumdbRequest};

use crate::app::App;
use crate::error::Failure;
use crate::repository::Repository;
use crate::respond;

/// The content type and lifetime of each part.
const fn policy(part: &SumdbPart) -> (&'static str, &'static str) {
    match part {
        SumdbPart::Supported | SumdbPart::Latest => ("text/plain; charset=utf-8", "public, max-age=60"),
        // A found record never changes, but the head beside it grows old.
        SumdbPart::Lookup { .. } => ("text/plain; charset=utf-8", "public, max-age=86400"),
        SumdbPart::Tile(_) => ("application/octet-stream", CACHE_CONTROL_IMMUTABLE),
    }
}

/// Answers one request for a checksum database. The name of a module that some repository here owns goes nowhere, nor that of
/// one for which the asked repository answers nothing.
pub(super) async fn answer(
    app: &App,
    repository: &Repository,
    asked: &SumdbRequest,
    request: &Parts,
) -> Result<Response, Failure> {
    let is_owned = |module: &_| app.repositories.iter().any(|repository| repository.owner_of(module).is_some());
    let is_private = |module: &ModulePath| is_owned(module) || !repository.is_in_scope(module);
    let answer = app.sumdb.answer(asked, is_private).await?;
    let (content_type, cache_control) = policy(&asked.part);
    Ok(respond::small(request, answer.body, content_type, cache_control, if answer.held { "HIT" } else { "MISS" }))
}
