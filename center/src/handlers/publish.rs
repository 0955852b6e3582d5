//! Writing to a local repository: PUT of a zip, DELETE of a version, POST …/restore; and the `.mod` and `.info` that clients
//! made for Artifactory PUT beside the zip.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use shared::artefact::{Artefact, ArtefactKind};
use shared::module::zip::GOMOD_BYTES_MAX;
use shared::module::{ModulePath, Version};
use shared::request::{ParseError, Request as Asked};

use super::matrix::{self, Values};
use super::upload::{Declared, receive, receive_small};
use crate::app::App;
use crate::error::{Failure, READ_METHODS};
use crate::repository::{Claiming, Part, RepoError, Repository, RepositoryKind};

/// A client that has the hash asks whether it need send the body at all.
const X_CHECKSUM_DEPLOY: HeaderName = HeaderName::from_static("x-checksum-deploy");
/// Largest `.info` that is taken, in bytes.
const INFO_BYTES_MAX: u64 = 1 << 20;

/// Takes a module zip, or a part that goes with one. Answered only when the repository has it on disk.
pub(super) async fn publish(
    app: &App,
    repository: &Arc<Repository>,
    path: &str,
    request: Request,
    (identity, claiming): (&str, Claiming),
) -> Result<Response, Failure> {
    if matches!(repository.kind(), RepositoryKind::Private | RepositoryKind::Remote) {
        return Err(Failure::Method(READ_METHODS));
    }
    let (path, values) = matrix::split(path)?;
    let declared = Declared::read(request.headers())?;
    let target = Target::of(path, values)?;
    if request.headers().get(X_CHECKSUM_DEPLOY).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true")) {
        return deploy_by_checksum(app, repository, &target, &declared).await;
    }
    match target.kind {
        ArtefactKind::Zip => publish_zip(app, repository, target, request, declared, (identity, claiming)).await,
        ArtefactKind::Info | ArtefactKind::Mod => {
            attach(app, repository, target, request, declared, (identity, claiming)).await
        }
        ArtefactKind::List | ArtefactKind::Latest | ArtefactKind::Query => Err(Failure::Method(READ_METHODS)),
    }
}

/// What is written to.
struct Target {
    module: ModulePath,
    version: Version,
    kind: ArtefactKind,
    /// The properties that came with it.
    values: Values,
}

impl Target {
    fn of(path: &str, values: Values) -> Result<Self, Failure> {
        let (module, version, kind) = target(path)?.ok_or(Failure::Method(READ_METHODS))?;
        Ok(Self { module, version, kind, values })
    }
}

async fn publish_zip(
    app: &App,
    repository: &Arc<Repository>,
    target: Target,
    request: Request,
    declared: Declared,
    (identity, claiming): (&str, Claiming),
) -> Result<Response, Failure> {
    let Target { module, version, values, .. } = target;
    let (path, upload) = receive(app, request.into_body(), &declared).await?;
    let (sha256, expected) = (upload.sha256, declared.sha256);
    // A task of its own: a client that leaves now must not stop the commit half way.
    let task = {
        let (repository, store, module, version) =
            (Arc::clone(repository), app.store.clone(), module.clone(), version.clone());
        tokio::spawn(async move {
            let published = repository.publish(&module, &version, upload, expected, claiming).await;
            drop(path);
            let published = published?;
            if !values.is_empty() {
                let (module, version) = (module.as_str(), version.as_str());
                let keep = |now: &mut _| matrix::merge(&values, now);
                store.change_properties(&published.repository, module, version, keep).await?;
            }
            Ok::<_, RepoError>(published)
        })
    };
    let published = task.await.map_err(|error| Failure::Internal(format!("publishing failed: {error}")))??;
    if published.created {
        app.note(identity, "publish", (&published.repository, module.as_str(), version.as_str())).await;
    }
    tracing::info!(by = identity, %module, %version, %sha256, created = published.created, "published");
    let status = if published.created { StatusCode::CREATED } else { StatusCode::OK };
    let document = serde_json::json!({
        "module": module.as_str(),
        "version": version.as_str(),
        "sha256": published.sha256.hex(),
        "h1": published.h1,
        "time": rfc3339(published.time),
        "repository": published.repository,
        "changes": published.changes,
    });
    let mut response = json(status, &document);
    declared.echo(published.sha256, response.headers_mut());
    Ok(response)
}

/// Takes a `.mod` or an `.info`.
async fn attach(
    app: &App,
    repository: &Repository,
    target: Target,
    request: Request,
    declared: Declared,
    (identity, claiming): (&str, Claiming),
) -> Result<Response, Failure> {
    let Target { module, version, kind, values } = target;
    let bytes_max = if kind == ArtefactKind::Info { INFO_BYTES_MAX } else { GOMOD_BYTES_MAX };
    let (body, sha256) = receive_small(app, request.into_body(), &declared, bytes_max).await?;
    let part = if kind == ArtefactKind::Info { Part::Info(body) } else { Part::Mod(body) };
    repository.attach(&module, &version, part, claiming).await?;
    if !values.is_empty() {
        let name = repository.deployment_name()?;
        let keep = |now: &mut _| matrix::merge(&values, now);
        app.store.change_properties(name, module.as_str(), version.as_str(), keep).await?;
    }
    app.note(identity, "attach", (repository.name(), module.as_str(), version.as_str())).await;
    tracing::info!(by = identity, %module, %version, %sha256, part = kind.as_str(), "part of a version taken");
    let document = serde_json::json!({
        "module": module.as_str(),
        "version": version.as_str(),
        "part": kind.as_str(),
        "sha256": sha256.hex(),
    });
    let mut response = json(StatusCode::CREATED, &document);
    declared.echo(sha256, response.headers_mut());
    Ok(response)
}

/// 200 if the version is held with these bytes; 404 has the client send them.
async fn deploy_by_checksum(
    app: &App,
    repository: &Repository,
    target: &Target,
    declared: &Declared,
) -> Result<Response, Failure> {
    let name = repository.deployment_name()?;
    let record = app.store.version(name, target.module.as_str(), target.version.as_str()).await?.unwrap_or_default();
    let held = match target.kind {
        ArtefactKind::Zip => record.zip,
        ArtefactKind::Mod => record.gomod,
        ArtefactKind::Info | ArtefactKind::List | ArtefactKind::Latest | ArtefactKind::Query => record.info,
    };
    let held = held.filter(|held| record.tombstone.is_none() && declared.sha256 == Some(held.digest));
    let Some(held) = held else {
        return Err(RepoError::NotFound("these bytes are not held for this version; send them".to_owned()).into());
    };
    let mut response = StatusCode::OK.into_response();
    declared.echo(held.digest, response.headers_mut());
    Ok(response)
}

fn json(status: StatusCode, document: &serde_json::Value) -> Response {
    let mut response = (status, format!("{document}\n")).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Tombstones a version (DELETE `…/@v/<version>`) or lifts that (POST `…/@v/<version>/restore`).
pub(super) async fn remove_or_restore(
    app: &App,
    repository: &Repository,
    path: &str,
    method: &Method,
    identity: &str,
) -> Result<Response, Failure> {
    let restores = method == Method::POST;
    let path = if restores { path.strip_suffix("/restore") } else { Some(path) };
    // The version stands there alone; with a suffix it has the form that the request parser knows.
    let info = path.filter(|path| path.contains("/@v/")).map(|path| format!("{path}.info"));
    let (module, version, _) =
        info.map(|info| target(&info)).transpose()?.flatten().ok_or(Failure::Method(READ_METHODS))?;
    if restores {
        repository.restore(&module, &version).await?;
    } else {
        repository.tombstone(&module, &version).await?;
    }
    let action = if restores { "restore" } else { "remove" };
    app.note(identity, action, (repository.name(), module.as_str(), version.as_str())).await;
    tracing::info!(by = identity, %module, %version, restores, "tombstone changed");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Module, canonical version and kind of a path to write to; none if the path is no such thing.
fn target(path: &str) -> Result<Option<(ModulePath, Version, ArtefactKind)>, Failure> {
    match Asked::parse(path) {
        Ok(Asked::Module(asked)) => {
            let kind = asked.artefact.kind();
            match asked.artefact {
                Artefact::Info(version) | Artefact::Mod(version) | Artefact::Zip(version) => {
                    Ok(Some((asked.module, version, kind)))
                }
                // Whoever writes must name what he writes: a query has no version of its own.
                Artefact::Query(_) => {
                    Err(Failure::BadRequest("the version is not a canonical one for this module path".to_owned()))
                }
                Artefact::List | Artefact::Latest => Ok(None),
            }
        }
        Ok(Asked::Sumdb(_)) => Ok(None),
        Err(ParseError::Malformed(why) | ParseError::NotFound(why)) => Err(Failure::BadRequest(why)),
    }
}

fn rfc3339(time: SystemTime) -> String {
    let time = time::OffsetDateTime::from(time).replace_nanosecond(0).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    time.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}
