//! `/api/v1/sync`: how far changes are followed; and applying some of them once more.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use shared::change::ChangeId;

use super::problem::{answer, problem, read};
use crate::app::App;
use crate::invalidation::{self, ReplayError};

/// What to apply once more.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    /// The records after this id.
    replay_from: Option<ChangeId>,
}

/// `GET`: the state.
pub(super) async fn report(State(app): State<Arc<App>>) -> Response {
    answer(StatusCode::OK, &invalidation::report(&app))
}

/// `POST {"replay_from": "<id>"}`: applies what follows that id once more; any number of times comes to the same.
pub(super) async fn replay(State(app): State<Arc<App>>, body: Result<Bytes, BytesRejection>) -> Response {
    let asked: Asked = match read(body) {
        Ok(asked) => asked,
        Err(answer) => return *answer,
    };
    let Some(from) = asked.replay_from else {
        return problem(StatusCode::BAD_REQUEST, "replay_from: the id of a change is missing");
    };
    match invalidation::replay(&app, from).await {
        Ok(replayed) => answer(StatusCode::OK, &replayed),
        Err(error @ ReplayError::NotBefore { .. }) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(error @ ReplayError::Gone(_)) => problem(StatusCode::GONE, &error.to_string()),
        Err(error @ ReplayError::Source(_)) => problem(StatusCode::BAD_GATEWAY, &error.to_string()),
    }
}
