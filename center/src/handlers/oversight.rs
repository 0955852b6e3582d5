//! What an administrator looks at: who did what, who may do what, how much there is.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use http::HeaderMap;
use serde_json::{Value, json};
use shared::access::{Grant, Place};
use shared::module::{ModulePath, Version};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::module::authorize;
use super::parameters::{Parameters, bad, token};
use crate::app::App;
use crate::doctor::{Report, examine};
use crate::error::Failure;
use crate::repository::RepositoryKind;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// `GET /api/v1/audit?page_token=&limit=`: newest first.
pub(crate) async fn audit(
    State(app): State<Arc<App>>,
    Query(given): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    authorize(&app, &headers, Grant::Admin, Place::Everywhere)?;
    let parameters = Parameters::read(given, &["page_token", "limit"])?;
    let limit = parameters.number("limit", LIMIT_DEFAULT, 1..=LIMIT_MAX)?;
    let deeds = app.store.deeds(&parameters.after("page_token")?, limit).await?;
    let next = deeds.last().filter(|_| deeds.len() == limit).map(|(name, _)| token(name));
    let entries: Vec<Value> = deeds
        .iter()
        .map(|(_, deed)| {
            let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(deed.at_ms) * 1_000_000).ok();
            json!({
                "time": at.and_then(|at| at.format(&Rfc3339).ok()),
                "by": deed.by,
                "action": deed.action,
                "repository": deed.repository,
                "module": deed.module,
                "version": deed.version,
            })
        })
        .collect();
    Ok(Json(json!({ "entries": entries, "next_page_token": next })))
}

/// `GET /api/v1/doctor?module=&version=&repo=`: walks the steps of a request and says where they stop.
pub(crate) async fn doctor(
    State(app): State<Arc<App>>,
    Query(given): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Json<Report>, Failure> {
    authorize(&app, &headers, Grant::Admin, Place::Everywhere)?;
    let parameters = Parameters::read(given, &["module", "version", "repo"])?;
    let path = parameters.text("module").ok_or_else(|| bad("module", "the module path is missing"))?;
    let module = ModulePath::new(path).map_err(|error| bad("module", &error.to_string()))?;
    let version = parameters.text("version").map(|version| Version::new(&module, version)).transpose();
    let version = version.map_err(|error| bad("version", &error.to_string()))?;
    let repository = match parameters.text("repo") {
        Some(name) => app.repository(name)?,
        None => app
            .repositories
            .iter()
            .find(|repository| repository.kind() == RepositoryKind::Virtual)
            .ok_or_else(|| bad("repo", "which repository? There is no virtual one"))?,
    };
    Ok(Json(examine(&app, repository, &module, version).await))
}

/// `GET /api/v1/stats`: how much each repository holds. Reads every record: for a person, not for a probe.
pub(crate) async fn stats(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<Value>, Failure> {
    authorize(&app, &headers, Grant::Admin, Place::Everywhere)?;
    let mut all = Vec::new();
    for repository in app.repositories.iter().filter(|repository| repository.kind() != RepositoryKind::Virtual) {
        let (mut modules, mut versions, mut zips, mut bytes, mut removed) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
        let mut last = String::new();
        app.store
            .for_each_version(repository.name(), |module, _, record| {
                if record.tombstone.is_some() {
                    removed += 1;
                } else if record.is_visible() {
                    versions += 1;
                    if module != last {
                        modules += 1;
                        module.clone_into(&mut last);
                    }
                }
                zips += u64::from(record.zip.is_some());
                bytes += [record.info, record.gomod, record.zip].iter().flatten().map(|stored| stored.len).sum::<u64>();
            })
            .await?;
        all.push(json!({
            "name": repository.name(),
            "type": repository.kind().as_str(),
            "modules": modules,
            "versions": versions,
            "zips": zips,
            "removed": removed,
            "bytes": bytes,
        }));
    }
    Ok(Json(json!({ "repos": all })))
}
