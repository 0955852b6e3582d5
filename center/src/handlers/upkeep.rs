//! Upkeep of the storage: collecting bodies that nothing refers to, verifying everything at rest.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Value, json};
use shared::access::{Grant, Place};
use shared::config::Period;

use super::module::authorize;
use crate::app::App;
use crate::config::GRACE_MIN;
use crate::error::Failure;
use crate::store::Collected;
use crate::upkeep;

/// How long a body must have been without a reference. Longer than any commit takes from placing its bodies to the end.
const GRACE_DEFAULT: Duration = Duration::from_hours(1);
/// How often a long run says how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

/// `POST /api/v1/gc?grace=1h&dry_run=true` → what was found and removed.
pub(crate) async fn collect(
    State(app): State<Arc<App>>,
    Query(parameters): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Json<Collected>, Failure> {
    authorize(&app, &headers, Grant::Admin, Place::Everywhere)?;
    known(&parameters, &["grace", "dry_run"])?;
    let grace = match parameters.get("grace") {
        None => GRACE_DEFAULT,
        Some(text) => {
            text.parse::<Period>().ok().map(Period::get).filter(|grace| *grace >= GRACE_MIN).ok_or_else(|| {
                Failure::BadRequest("parameter grace: not a length of time of at least 1m, such as 1h".to_owned())
            })?
        }
    };
    let dry_run = flag(&parameters, "dry_run")?;
    Ok(Json(upkeep::collect(&app, grace, dry_run).await?))
}

/// `POST /api/v1/retention?dry_run=true` → what went, or would go.
pub(crate) async fn retain(
    State(app): State<Arc<App>>,
    Query(parameters): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    authorize(&app, &headers, Grant::Admin, Place::Everywhere)?;
    known(&parameters, &["dry_run"])?;
    let dry_run = flag(&parameters, "dry_run")?;
    let leaving = upkeep::retain(&app, dry_run).await?;
    let bytes: u64 = leaving.iter().map(|version| version.bytes).sum();
    Ok(Json(json!({ "dry_run": dry_run, "bytes": bytes, "versions": leaving })))
}

/// `POST /api/v1/verify?heal=true` → NDJSON: `{"done","all"}` now and then, and at the end `{"findings":[…]}` or `{"error"}`. It ends
/// with its client.
pub(crate) async fn verify(
    State(app): State<Arc<App>>,
    Query(parameters): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    authorize(&app, &headers, Grant::Admin, Place::Everywhere)?;
    known(&parameters, &["heal"])?;
    let heal = flag(&parameters, "heal")?;
    let (lines, told) = tokio::sync::mpsc::channel::<Value>(4);
    tokio::spawn(async move {
        let ended = lines.clone();
        let mut last = Instant::now();
        let progress = |done, all| {
            if last.elapsed() >= PROGRESS || done == all {
                last = Instant::now();
                // A reader that is slow misses some of it.
                let _ = lines.try_send(json!({ "done": done, "all": all }));
            }
        };
        let verified = tokio::select! {
            verified = app.repositories.verify(&app.store, heal, progress) => verified,
            () = ended.closed() => return,
        };
        let last = match verified {
            Ok(findings) => json!({ "findings": findings }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        // Whoever asked has left.
        let _ = ended.send(last).await;
    });
    let lines = futures_util::stream::unfold(told, |mut told| async move {
        let line = told.recv().await?;
        Some((Ok::<_, Infallible>(format!("{line}\n")), told))
    });
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

fn known(parameters: &HashMap<String, String>, names: &[&str]) -> Result<(), Failure> {
    match parameters.keys().find(|name| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Failure::BadRequest(format!("parameter {name}: there are {}", names.join(" and ")))),
    }
}

fn flag(parameters: &HashMap<String, String>, name: &str) -> Result<bool, Failure> {
    match parameters.get(name).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Failure::BadRequest(format!("parameter {name}: not true or false"))),
    }
}
