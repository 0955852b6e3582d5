//! Writing to a local repository: PUT of a zip, DELETE of a version, POST …/restore.

use std::io::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::LengthLimitError;
use sha2::{Digest as _, Sha256};
use shared::artefact::Artefact;
use shared::digest::Digest;
use shared::module::{ModulePath, Version};
use shared::request::{ParseError, Request as Asked};
use tempfile::{NamedTempFile, TempPath};

use crate::app::App;
use crate::error::{Failure, READ_METHODS};
use crate::repository::{Repository, RepositoryKind, Upload};

/// What the client says the SHA-256 is; echoed.
const X_CHECKSUM_SHA256: HeaderName = HeaderName::from_static("x-checksum-sha256");

/// Takes a module zip. Answered only when the repository has it on disk.
pub(super) async fn publish(
    app: &App,
    repository: &Arc<Repository>,
    path: &str,
    request: Request,
    identity: &str,
) -> Result<Response, Failure> {
    let (module, version) = target(path, "zip")?.ok_or(Failure::Method(READ_METHODS))?;
    if matches!(repository.kind(), RepositoryKind::Private | RepositoryKind::Remote) {
        return Err(Failure::Method(READ_METHODS));
    }
    let expected = expected_digest(request.headers())?;
    let (path, upload) = receive(app, request).await?;
    if let Some(expected) = expected
        && expected != upload.sha256
    {
        return Err(Failure::Checksum(format!("the body has SHA-256 {}, not {expected}", upload.sha256)));
    }
    let sha256 = upload.sha256;
    // A task of its own: a client that leaves now must not stop the commit half way.
    let task = {
        let (repository, module, version) = (Arc::clone(repository), module.clone(), version.clone());
        tokio::spawn(async move {
            let published = repository.publish(&module, &version, upload, expected).await;
            drop(path);
            published
        })
    };
    let published = task.await.map_err(|error| Failure::Internal(format!("publishing failed: {error}")))??;
    tracing::info!(by = identity, %module, %version, %sha256, created = published.created, "published");
    let status = if published.created { StatusCode::CREATED } else { StatusCode::OK };
    let document = serde_json::json!({
        "module": module.as_str(),
        "version": version.as_str(),
        "sha256": published.sha256.hex(),
        "h1": published.h1,
        "time": rfc3339(published.time),
        "repository": published.repository,
    });
    let mut response = (status, format!("{document}\n")).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(value) = HeaderValue::from_str(&published.sha256.hex()) {
        response.headers_mut().insert(X_CHECKSUM_SHA256, value);
    }
    Ok(response)
}

/// Tombstones a version (DELETE `…/@v/<version>`) or lifts that (POST `…/@v/<version>/restore`).
pub(super) async fn remove_or_restore(
    repository: &Repository,
    path: &str,
    method: &Method,
    identity: &str,
) -> Result<Response, Failure> {
    let restores = method == Method::POST;
    let path = if restores { path.strip_suffix("/restore") } else { Some(path) };
    // The version stands there alone; with a suffix it has the form that the request parser knows.
    let info = path.filter(|path| path.contains("/@v/")).map(|path| format!("{path}.info"));
    let (module, version) =
        info.map(|info| target(&info, "info")).transpose()?.flatten().ok_or(Failure::Method(READ_METHODS))?;
    if restores {
        repository.restore(&module, &version).await?;
    } else {
        repository.tombstone(&module, &version).await?;
    }
    tracing::info!(by = identity, %module, %version, restores, "tombstone changed");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Module and canonical version of a path to write to; none if the path is no such thing.
fn target(path: &str, kind: &str) -> Result<Option<(ModulePath, Version)>, Failure> {
    match Asked::parse(path) {
        Ok(Asked::Module(asked)) if asked.artefact.kind().as_str() == kind => match asked.artefact {
            Artefact::Info(version) | Artefact::Mod(version) | Artefact::Zip(version) => {
                Ok(Some((asked.module, version)))
            }
            Artefact::List | Artefact::Latest | Artefact::Query(_) => Ok(None),
        },
        // Whoever writes must name what he writes: a query has no version of its own.
        Ok(Asked::Module(asked)) if matches!(asked.artefact, Artefact::Query(_)) => {
            Err(Failure::BadRequest("the version is not a canonical one for this module path".to_owned()))
        }
        Ok(_) => Ok(None),
        Err(ParseError::Malformed(why) | ParseError::NotFound(why)) => Err(Failure::BadRequest(why)),
    }
}

fn expected_digest(headers: &HeaderMap) -> Result<Option<Digest>, Failure> {
    let Some(value) = headers.get(X_CHECKSUM_SHA256) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| text.trim().to_ascii_lowercase().parse().ok());
    parsed.map(Some).ok_or_else(|| Failure::BadRequest("x-checksum-sha256 is not 64 hexadecimal digits".to_owned()))
}

/// Writes the body to a file of the spool directory while hashing it. The returned path removes the file when it is dropped.
async fn receive(app: &App, request: Request) -> Result<(TempPath, Upload), Failure> {
    let limit = app.limits.upload_size_max.bytes();
    let stall = app.limits.upload_stall_timeout.get();
    let body = request.into_body();
    // Said beforehand: refused before the client sends anything, if it asked with Expect: 100-continue.
    if http_body::Body::size_hint(&body).lower() > limit {
        return Err(Failure::UploadTooLarge(limit));
    }
    let mut spooled = Spooled::create(app)?;
    let mut body = http_body_util::Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
    loop {
        let frame = tokio::time::timeout(stall, body.frame()).await.map_err(|_| Failure::UploadStalled)?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| {
            if error.downcast_ref::<LengthLimitError>().is_some() {
                return Failure::UploadTooLarge(limit);
            }
            Failure::BadRequest("the upload broke off".to_owned())
        })?;
        let Ok(chunk) = frame.into_data() else { continue };
        spooled = spooled.write(chunk).await?;
    }
    spooled.finish().await
}

/// An upload on its way to the disk.
struct Spooled {
    file: NamedTempFile,
    hasher: Sha256,
    len: u64,
    /// Written out from 256 KiB on: one trip to the blocking pool for many small frames.
    pending: Vec<Bytes>,
    pending_bytes: usize,
}

const WRITE_BYTES: usize = 256 << 10;

impl Spooled {
    fn create(app: &App) -> Result<Self, Failure> {
        let file =
            tempfile::Builder::new().prefix("upload-").tempfile_in(app.store.spool_dir()).map_err(|e| io_failed(&e))?;
        Ok(Self { file, hasher: Sha256::new(), len: 0, pending: Vec::new(), pending_bytes: 0 })
    }

    async fn write(mut self, chunk: Bytes) -> Result<Self, Failure> {
        self.len += chunk.len() as u64;
        self.pending_bytes += chunk.len();
        self.pending.push(chunk);
        if self.pending_bytes < WRITE_BYTES { Ok(self) } else { self.flush().await }
    }

    async fn flush(mut self) -> Result<Self, Failure> {
        let written = tokio::task::spawn_blocking(move || {
            for chunk in self.pending.drain(..) {
                self.hasher.update(&chunk);
                self.file.write_all(&chunk)?;
            }
            self.pending_bytes = 0;
            Ok::<_, std::io::Error>(self)
        });
        written.await.map_err(|error| Failure::Internal(error.to_string()))?.map_err(|error| io_failed(&error))
    }

    async fn finish(self) -> Result<(TempPath, Upload), Failure> {
        let Self { file, hasher, len, .. } = self.flush().await?;
        let sha256 = Digest::from_bytes(hasher.finalize().into());
        let path = file.into_temp_path();
        let upload = Upload { path: path.to_path_buf(), len, sha256 };
        Ok((path, upload))
    }
}

fn io_failed(error: &std::io::Error) -> Failure {
    tracing::error!(%error, "an upload could not be written");
    Failure::Repository(crate::repository::RepoError::Storage("the center's storage failed; see its log".to_owned()))
}

fn rfc3339(time: SystemTime) -> String {
    let time = time::OffsetDateTime::from(time).replace_nanosecond(0).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    time.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}
