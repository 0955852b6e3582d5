//! `POST /api/v1/purge`: drops what is held of a version, of a module, or all of it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use shared::module::{ModulePath, Version};

use super::problem::{answer, problem, read};
use crate::app::App;
use crate::cache::{Cache, CacheError};

/// What to drop; nothing named: all.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    module: Option<String>,
    version: Option<String>,
}

#[derive(Debug)]
enum What {
    All,
    Module(ModulePath),
    Version(ModulePath, Version),
}

impl What {
    fn of(asked: &Asked) -> Result<Self, String> {
        let module = asked.module.as_deref().map(ModulePath::new).transpose().map_err(|error| error.to_string())?;
        match (module, asked.version.as_deref()) {
            (None, None) => Ok(Self::All),
            (None, Some(_)) => Err("a version of which module?".to_owned()),
            (Some(module), None) => Ok(Self::Module(module)),
            (Some(module), Some(version)) => {
                let version = Version::new(&module, version).map_err(|error| error.to_string())?;
                Ok(Self::Version(module, version))
            }
        }
    }

    fn purge(&self, cache: &Cache, repo: &str) -> Result<u64, CacheError> {
        match self {
            Self::All => cache.purge(None),
            Self::Module(module) => cache.purge(Some(module)),
            Self::Version(module, version) => cache.purge_version(repo, module, version),
        }
    }
}

/// Answers how many entries went.
pub(super) async fn purge(State(app): State<Arc<App>>, body: Result<Bytes, BytesRejection>) -> Response {
    let asked: Asked = match read(body) {
        Ok(asked) => asked,
        Err(answer) => return *answer,
    };
    let what = match What::of(&asked) {
        Ok(what) => what,
        Err(reason) => return problem(StatusCode::BAD_REQUEST, &reason),
    };
    let repo = app.config().repository.clone();
    match app.with_cache(move |cache| what.purge(cache, &repo)).await {
        Ok(Ok(count)) => {
            tracing::info!(module = asked.module, version = asked.version, count, "purged");
            answer(StatusCode::OK, &json!({ "purged": count }))
        }
        Ok(Err(error)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.message),
    }
}
