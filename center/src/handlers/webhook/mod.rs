//! `POST /api/v1/repos/<repository>/webhook`: a host of version control says that something was pushed.
//!
//! The event's body is only believed with a signature, and then only for which repository it is about: what was pushed is
//! read from the repository itself.

mod event;
mod signature;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::json;
use shared::access::Denied;
use tokio::time::timeout;

use crate::app::App;
use crate::error::Failure;
use crate::repository::Webhook;

/// Largest event in bytes. It is in memory before anybody has shown a signature.
const EVENT_BYTES_MAX: usize = 8 << 20;
/// How long an event may take to arrive, its wait for those before it included. Hosts give up after 10 s.
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes an event. Answered with 202 when everything that it concerns is marked: whoever asks from then on waits for the new
/// state.
pub(crate) async fn webhook(
    State(app): State<Arc<App>>,
    Path(repository): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    // The same answer whether there is no repository, no secret, or another one: names of repositories are not for everybody.
    let refused = || Failure::Denied(Denied::Unauthenticated);
    let repository = app.repository(&repository).map_err(|_| refused())?;
    let webhook = repository.webhook().ok_or_else(refused)?;
    let (head, body) = request.into_parts();
    let body = timeout(EVENT_TIMEOUT, read(webhook, body)).await.map_err(|_| Failure::UploadStalled)??;
    if !signature::is_signed(&head.headers, &body, &webhook.secret) {
        tracing::warn!(target: "audit", repository = repository.name(), "a webhook's signature is wrong");
        return Err(refused());
    }
    let places = event::places(&body).ok_or_else(|| Failure::BadRequest("the event is not JSON".to_owned()))?;
    let modules = repository.renew(&places).await?;
    tracing::info!(repository = repository.name(), ?places, modules, "an event of version control");
    Ok((StatusCode::ACCEPTED, Json(json!({ "modules": modules }))).into_response())
}

async fn read(webhook: &Webhook, body: Body) -> Result<Bytes, Failure> {
    let _turn = webhook.readers.acquire().await.map_err(|error| Failure::Internal(error.to_string()))?;
    let body = Limited::new(body, EVENT_BYTES_MAX).collect().await.map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() {
            return Failure::UploadTooLarge(EVENT_BYTES_MAX as u64);
        }
        Failure::BadRequest("the event broke off".to_owned())
    })?;
    Ok(body.to_bytes())
}
