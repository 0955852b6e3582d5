//! `/api/go/<repository>/<module path>/…`: from the raw path to the repository and back.
//!
//! parse → access → (writing: `publish`) → `X-Min-Change-Id` → [`crate::repository::Repository::fetch`] → [`crate::respond`]

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Version};
use shared::access::{Grant, Place};
use shared::artefact::Artefact;
use shared::change::ChangeId;
use shared::fill::TAIL;
use shared::request::{ModuleRequest, Request as Asked};

use super::{publish, sumdb};
use crate::app::App;
use crate::conditional::needs_the_digest;
use crate::envelope::Route;
use crate::error::{Failure, READ_METHODS};
use crate::repository::{Answer, Body, Claiming, FetchOptions, Repository};
use crate::respond;

/// An edge's cursor: what it must not be answered older than.
const X_MIN_CHANGE_ID: HeaderName = HeaderName::from_static("x-min-change-id");
/// Answer only from what is held; sent by `go`'s own mirrors and by clients that must not cause a fetch.
const DISABLE_MODULE_FETCH: HeaderName = HeaderName::from_static("disable-module-fetch");
/// How long a replica that is behind may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(2);
/// How often an answer may turn out to be filling again after its fill is done (evicted, or restarted by another request).
const FILL_ROUNDS: usize = 3;

/// All methods of everything below a repository.
pub(crate) async fn module(app: &Arc<App>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let mut route = Route("module");
    let outcome = dispatch(app, &path, request, &mut route).await;
    let mut response = outcome.unwrap_or_else(IntoResponse::into_response);
    response.extensions_mut().insert(route);
    response
}

async fn dispatch(app: &Arc<App>, path: &str, request: Request, route: &mut Route) -> Result<Response, Failure> {
    let (name, rest) = split_base(path).ok_or(Failure::NoRoute)?;
    // Before anything is read or looked up: who asks at all.
    let grant = grant_for(request.method(), rest).ok_or(Failure::Method(READ_METHODS))?;
    let identity = authorize(app, request.headers(), grant, Place::Repository(name))?;
    let repository = app.repository(name).map_err(|_| Failure::NotServed(name.to_owned()))?;
    match grant {
        Grant::Write => {
            *route = Route("publish");
            let claiming = claiming(app, request.headers(), Grant::Write);
            publish::publish(app, repository, rest, request, (&identity, claiming)).await
        }
        Grant::Delete => {
            *route = Route("tombstone");
            publish::remove_or_restore(app, repository, rest, request.method(), &identity).await
        }
        Grant::Read | Grant::Annotate | Grant::Admin => {
            let (request, _) = request.into_parts();
            match Asked::parse(rest)? {
                Asked::Sumdb(asked) => {
                    *route = Route("sumdb");
                    sumdb::answer(app, repository, &asked, &request).await
                }
                Asked::Module(asked) => {
                    *route = Route(asked.artefact.kind().as_str());
                    read(app, repository, &asked, &request).await
                }
            }
        }
    }
}

/// What a method needs at a path: writing methods exist only where there is something to write.
fn grant_for(method: &Method, rest: &str) -> Option<Grant> {
    let (_, below) = rest.rsplit_once("/@v/").unwrap_or_default();
    let suffix = below.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    let is_artefact = below == "list" || ["info", "mod", "zip"].contains(&suffix);
    match *method {
        Method::GET | Method::HEAD => Some(Grant::Read),
        Method::PUT => {
            let (file, _) = below.split_once(';').unwrap_or((below, ""));
            let suffix = file.rsplit_once('.').map_or("", |(_, suffix)| suffix);
            ["zip", "mod", "info"].contains(&suffix).then_some(Grant::Write)
        }
        Method::DELETE => (!below.is_empty() && !is_artefact).then_some(Grant::Delete),
        Method::POST => below.ends_with("/restore").then_some(Grant::Delete),
        _ => None,
    }
}

/// `/api/go/<name>/<rest>` or the same below `/artifactory`, as it was sent.
pub(crate) fn split_base(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix("/artifactory").unwrap_or(path);
    let (name, rest) = path.strip_prefix("/api/go/")?.split_once('/')?;
    (!name.is_empty() && !rest.is_empty()).then_some((name, rest))
}

/// The name of who may do it there.
pub(super) fn authorize(app: &App, headers: &HeaderMap, grant: Grant, place: Place<'_>) -> Result<String, Failure> {
    let credential = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    Ok(app.access.check(credential, grant, place)?.name().to_owned())
}

/// Whether what is written with this credential may claim paths. That is a matter of the whole center, not of one repository.
pub(super) fn claiming(app: &App, headers: &HeaderMap, grant: Grant) -> Claiming {
    authorize(app, headers, grant, Place::Everywhere).map_or(Claiming::Refused, |_| Claiming::Allowed)
}

async fn read(app: &App, repository: &Repository, asked: &ModuleRequest, request: &Parts) -> Result<Response, Failure> {
    let headers = &request.headers;
    let held_only =
        headers.get(DISABLE_MODULE_FETCH).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    catch_up(app, repository, headers).await?;
    let must_be_complete =
        request.method == Method::HEAD || request.version < Version::HTTP_11 || needs_the_digest(headers);
    let answer = fetch(repository, asked, FetchOptions { held_only, revalidate: false }, must_be_complete).await?;
    app.metrics.found(repository.name(), asked.artefact.kind(), answer.cache.as_str());
    if let Artefact::Zip(version) = &asked.artefact
        && request.method == Method::GET
    {
        app.downloads.count(asked.module.as_str(), version.as_str());
    }
    respond::artefact(app, &asked.artefact, request, answer).await
}

async fn fetch(
    repository: &Repository,
    asked: &ModuleRequest,
    options: FetchOptions,
    must_be_complete: bool,
) -> Result<Answer, Failure> {
    for _ in 0..FILL_ROUNDS {
        let answer = repository.fetch(asked, &options).await?;
        // Of a small body nothing is let go before it is proven: its client loses nothing by waiting for all that is known then.
        let is_small = answer.len.is_some_and(|len| len <= TAIL);
        match &answer.body {
            // It will never be held: as it comes or not at all.
            Body::Filling(_) if answer.caveat.is_some() => return Ok(answer),
            Body::Filling(fill) if must_be_complete || is_small => fill.done().await?,
            Body::Filling(_) | Body::Bytes(_) | Body::Blob(_) => return Ok(answer),
        }
    }
    Err(Failure::Internal(format!("{} was filled {FILL_ROUNDS} times and is not held", asked.module)))
}

/// Waits until this center's log has the change that the client already knows. An id of another epoch is of another log:
/// nothing can be said about it, and the client finds out by the answer's own `X-Change-Id`.
async fn catch_up(app: &App, repository: &Repository, headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = headers.get(X_MIN_CHANGE_ID) else { return Ok(()) };
    let wanted: ChangeId = value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Failure::BadRequest("x-min-change-id is not <epoch>-<seq>".to_owned()))?;
    let mut head = app.store.change_log(repository.name())?.watch();
    if head.borrow().epoch != wanted.epoch {
        return Ok(());
    }
    if *head.borrow() < wanted
        && let Err(error) = app.store.refresh().await
    {
        tracing::debug!(%error, "the changes of other replicas cannot be seen");
    }
    match tokio::time::timeout(CATCH_UP, head.wait_for(|head| *head >= wanted)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Failure::Behind),
    }
}
