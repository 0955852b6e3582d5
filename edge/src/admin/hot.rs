//! `GET /api/v1/hot?n=20`: the modules that are asked for most.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::problem::{answer, problem};
use crate::app::App;

/// How many to show.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Asked {
    n: usize,
}

impl Default for Asked {
    fn default() -> Self {
        Self { n: 20 }
    }
}

/// Answers with the most popular first.
pub(super) async fn hot(State(app): State<Arc<App>>, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    match asked {
        Ok(Query(Asked { n })) => answer(
            StatusCode::OK,
            &json!({ "edge": app.edge_id, "region": app.config().region, "modules": app.popularity.hot_modules(n) }),
        ),
        Err(rejected) => problem(StatusCode::BAD_REQUEST, &rejected.body_text()),
    }
}
