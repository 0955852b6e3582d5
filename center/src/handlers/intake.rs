//! `PUT /api/v1/repos/<repository>/import/…`: an artefact, a record or a tile that an administrator brings from elsewhere.
//! What follows is the path below a GOPROXY: `<module>/@v/<version>.info|.mod|.zip`, `sumdb/<name>/lookup/…|tile/…`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use serde_json::{Value, json};
use shared::access::{Grant, Place};
use shared::artefact::Artefact;
use shared::module::zip::GOMOD_BYTES_MAX;
use shared::request::Request as Asked;

use super::module::{authorize, claiming};
use super::upload::{Declared, receive, receive_small};
use crate::app::App;
use crate::error::Failure;
use crate::repository::Brought;

/// Largest `.info`, record or tile that is taken, in bytes.
const SMALL_BYTES_MAX: u64 = 4 << 20;

/// Takes one file. `{"new":false}` says that it was there.
pub(crate) async fn take(
    State(app): State<Arc<App>>,
    Path((name, _)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let identity = authorize(&app, request.headers(), Grant::Admin, Place::Repository(&name))?;
    let claiming = claiming(&app, request.headers(), Grant::Admin);
    let repository = Arc::clone(app.repository(&name)?);
    let prefix = format!("/api/v1/repos/{name}/import/");
    let path = request.uri().path().strip_prefix(&prefix).ok_or(Failure::NoRoute)?.to_owned();
    let declared = Declared::read(request.headers())?;
    let body = request.into_body();
    let asked = match Asked::parse(&path)? {
        Asked::Sumdb(asked) => {
            let (body, _) = receive_small(&app, body, &declared, SMALL_BYTES_MAX).await?;
            return Ok(Json(json!({ "new": app.sumdb.take_in(&asked, body).await? })));
        }
        Asked::Module(asked) => asked,
    };
    let module = asked.module;
    let (version, new) = match asked.artefact {
        Artefact::Info(version) => {
            let (body, _) = receive_small(&app, body, &declared, SMALL_BYTES_MAX).await?;
            let new = repository.take_in(&module, &version, Brought::Info(body), claiming).await?;
            (version, new)
        }
        Artefact::Mod(version) => {
            let (body, _) = receive_small(&app, body, &declared, GOMOD_BYTES_MAX).await?;
            let new = repository.take_in(&module, &version, Brought::Mod(body), claiming).await?;
            (version, new)
        }
        Artefact::Zip(version) => {
            let (spooled, upload) = receive(&app, body, &declared).await?;
            // A task of its own: a client that leaves now must not stop the commit half way.
            let task = {
                let (module, version) = (module.clone(), version.clone());
                tokio::spawn(async move {
                    let taken = repository.take_in(&module, &version, Brought::Zip(upload), claiming).await;
                    drop(spooled);
                    taken
                })
            };
            let new = task.await.map_err(|error| Failure::Internal(format!("the import failed: {error}")))??;
            if new {
                app.note(&identity, "import", (&name, module.as_str(), version.as_str())).await;
            }
            (version, new)
        }
        Artefact::List | Artefact::Latest | Artefact::Query(_) => {
            return Err(Failure::BadRequest("only what never changes can be imported".to_owned()));
        }
    };
    Ok(Json(json!({ "module": module.as_str(), "version": version.as_str(), "new": new })))
}
