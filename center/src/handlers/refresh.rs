//! `POST /api/v1/repos/<repository>/refresh`: asks the sources anew for the lists of some modules. What has changed is in the change log
//! before the answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use shared::access::{Grant, Place};
use shared::module::ModulePath;

use super::module::authorize;
use crate::app::App;
use crate::error::Failure;
use crate::repository::Repository;

/// Most modules of one request.
const MODULES_MAX: usize = 100;
/// Modules that are asked for at one time.
const AT_ONCE: usize = 4;

/// Which modules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    modules: Vec<String>,
}

/// What became of each, in the order that they were asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    modules: Vec<Outcome>,
}

/// What became of one.
#[derive(Debug, Serialize)]
struct Outcome {
    module: String,
    /// All tagged versions, sorted.
    versions: Vec<String>,
    /// Those that were not held before.
    new: Vec<String>,
    /// The repositories whose source was asked.
    sources: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Whoever may read may ask: a read of something that is not held asks the sources as well, and a module's list is asked for once a
/// second at most.
pub(crate) async fn refresh(
    State(app): State<Arc<App>>,
    Path(repository): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Answer>, Failure> {
    authorize(&app, &headers, Grant::Read, Place::Repository(&repository))?;
    let repository = app.repository(&repository)?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|error| Failure::BadRequest(error.to_string()))?;
    if asked.modules.len() > MODULES_MAX {
        return Err(Failure::BadRequest(format!("at most {MODULES_MAX} modules at a time")));
    }
    let modules = stream::iter(asked.modules).map(|module| one(repository, module)).buffered(AT_ONCE).collect().await;
    Ok(Json(Answer { modules }))
}

async fn one(repository: &Repository, name: String) -> Outcome {
    let failed = |sources, error: String| Outcome {
        module: name.clone(),
        versions: Vec::new(),
        new: Vec::new(),
        sources,
        error: Some(error),
    };
    let module = match ModulePath::new(&name) {
        Ok(module) => module,
        Err(error) => return failed(Vec::new(), error.to_string()),
    };
    let sources = repository.sources(&module).into_iter().map(ToOwned::to_owned).collect();
    let texts = |versions: Vec<shared::module::Version>| versions.iter().map(ToString::to_string).collect();
    match repository.refresh(&module).await {
        Ok(refreshed) if refreshed.is_confirmed => Outcome {
            module: name,
            versions: texts(refreshed.versions),
            new: texts(refreshed.new),
            sources,
            error: None,
        },
        Ok(_) => failed(sources, "a source could not be asked".to_owned()),
        Err(error) => failed(sources, error.to_string()),
    }
}
