//! Tokens of the administration: those of the file are shown, others are issued and revoked here.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::access::{Grant, Place, RepositoryPattern, TokenEntry, generate};

use super::module::authorize;
use crate::app::App;
use crate::error::Failure;
use crate::repository::RepoError;

/// Longest name of a token in bytes.
const NAME_BYTES_MAX: usize = 100;

/// A token to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    name: String,
    grants: Vec<Grant>,
    #[serde(default)]
    repositories: Vec<RepositoryPattern>,
}

/// `GET /api/v1/tokens`: names, grants and repositories, nothing of the tokens themselves.
pub(crate) async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<Value>, Failure> {
    authorize(&app, &headers, Grant::Admin, Place::Everywhere)?;
    app.read_issued().await?;
    let (filed, issued) = (app.access.filed(), app.access.issued());
    let tokens = filed.iter().map(|entry| shown(entry, "file"));
    let tokens = tokens.chain(issued.iter().map(|entry| shown(entry, "issued")));
    Ok(Json(json!({ "tokens": tokens.collect::<Vec<_>>() })))
}

/// `POST /api/v1/tokens` with `{"name","grants":[…],"repositories":[…]}` → 201 with the token, which is shown this once.
pub(crate) async fn issue(State(app): State<Arc<App>>, headers: HeaderMap, body: String) -> Result<Response, Failure> {
    let identity = authorize(&app, &headers, Grant::Admin, Place::Everywhere)?;
    let wanted: Wanted = serde_json::from_str(&body).map_err(|error| Failure::BadRequest(error.to_string()))?;
    let Wanted { name, grants, repositories } = wanted;
    let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(|b| b.is_ascii_graphic());
    if !is_name || name.contains('/') {
        return Err(Failure::BadRequest("name: up to 100 printable characters without spaces and slashes".to_owned()));
    }
    if grants.is_empty() {
        return Err(Failure::BadRequest("grants: a token that allows nothing is of no use".to_owned()));
    }
    let conflict = || RepoError::Conflict(format!("there is a token {name:?} already"));
    if app.access.filed().iter().any(|entry| entry.name == name) {
        return Err(conflict().into());
    }
    let token = generate().map_err(|error| Failure::Internal(format!("no random numbers: {error}")))?;
    let entry = TokenEntry { name: name.clone(), sha256: token.hashed, grants, repositories };
    if !app.store.add_token(&entry).await? {
        return Err(conflict().into());
    }
    app.read_issued().await?;
    app.note(&identity, "issue token", ("", &name, "")).await;
    let mut answer = shown(&entry, "issued");
    answer["token"] = json!(token.plain);
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// `DELETE /api/v1/tokens/<name>` → 204. Another center on the same database knows a moment later.
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    let identity = authorize(&app, &headers, Grant::Admin, Place::Everywhere)?;
    let removed = app.store.remove_token(&name).await;
    // Whatever became of it: what is known here is what is there.
    app.read_issued().await?;
    if !removed? {
        let is_filed = app.access.filed().iter().any(|entry| entry.name == name);
        return Err(if is_filed {
            RepoError::Conflict(format!("the token {name:?} is one of access.tokens_file: remove it there")).into()
        } else {
            RepoError::NotFound(format!("there is no token {name:?}")).into()
        });
    }
    app.note(&identity, "revoke token", ("", &name, "")).await;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(entry: &TokenEntry, from: &str) -> Value {
    let mut shown = json!({ "name": entry.name, "grants": entry.grants, "from": from });
    if !entry.repositories.is_empty() {
        shown["repositories"] = json!(entry.repositories);
    }
    shown
}
