//! An upload on its way to the disk: bounded, hashed while it comes, compared with what the client says it is.

use std::io::Write as _;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use shared::digest::Digest;
use tempfile::{NamedTempFile, TempPath};

use crate::app::App;
use crate::error::Failure;
use crate::repository::{RepoError, Upload};

/// What the client says the SHA-256 is; echoed.
pub(super) const X_CHECKSUM_SHA256: HeaderName = HeaderName::from_static("x-checksum-sha256");
/// The older hashes that clients made for Artifactory send beside it.
const X_CHECKSUM_SHA1: HeaderName = HeaderName::from_static("x-checksum-sha1");
const X_CHECKSUM_MD5: HeaderName = HeaderName::from_static("x-checksum-md5");
/// What is written out at once: one trip to the blocking pool for many small frames.
const WRITE_BYTES: usize = 256 << 10;

/// What the client says of the body's hashes, each in lower-case hexadecimal digits.
#[derive(Debug, Clone, Default)]
pub(super) struct Declared {
    pub(super) sha256: Option<Digest>,
    sha1: Option<String>,
    md5: Option<String>,
}

impl Declared {
    /// Reads the headers.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Failure> {
        let hex = |name: &HeaderName, bytes: usize| -> Result<Option<String>, Failure> {
            let Some(value) = headers.get(name) else { return Ok(None) };
            let text = value.to_str().unwrap_or_default().trim().to_ascii_lowercase();
            let is_hash = text.len() == 2 * bytes && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let wrong = || Failure::BadRequest(format!("{name} is not {} hexadecimal digits", 2 * bytes));
            is_hash.then_some(Some(text)).ok_or_else(wrong)
        };
        let sha256 = hex(&X_CHECKSUM_SHA256, 32)?.and_then(|text| text.parse().ok());
        Ok(Self { sha256, sha1: hex(&X_CHECKSUM_SHA1, 20)?, md5: hex(&X_CHECKSUM_MD5, 16)? })
    }

    /// Puts what was declared, and is therefore true by now, into the answer.
    pub(super) fn echo(&self, sha256: Digest, headers: &mut HeaderMap) {
        let all = [
            (X_CHECKSUM_SHA256, Some(sha256.hex())),
            (X_CHECKSUM_SHA1, self.sha1.clone()),
            (X_CHECKSUM_MD5, self.md5.clone()),
        ];
        for (name, value) in all {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                headers.insert(name, value);
            }
        }
    }
}

/// The hashes of a body, taken while it comes: the older ones only where the client declared them.
struct Hashes {
    sha256: Sha256,
    sha1: Option<Sha1>,
    md5: Option<Md5>,
}

impl Hashes {
    fn of(declared: &Declared) -> Self {
        let sha1 = declared.sha1.as_ref().map(|_| Sha1::new());
        Self { sha256: Sha256::new(), sha1, md5: declared.md5.as_ref().map(|_| Md5::new()) }
    }

    fn update(&mut self, chunk: &[u8]) {
        self.sha256.update(chunk);
        self.sha1.iter_mut().for_each(|hash| hash.update(chunk));
        self.md5.iter_mut().for_each(|hash| hash.update(chunk));
    }

    /// The SHA-256, if all hashes are the declared ones.
    fn finish(self, declared: &Declared) -> Result<Digest, Failure> {
        let sha256 = Digest::from_bytes(self.sha256.finalize().into());
        let sha1 = self.sha1.map(|hash| hex::encode(hash.finalize()));
        let md5 = self.md5.map(|hash| hex::encode(hash.finalize()));
        let all = [
            ("SHA-256", Some(sha256.hex()), declared.sha256.map(|digest| digest.hex())),
            ("SHA-1", sha1, declared.sha1.clone()),
            ("MD5", md5, declared.md5.clone()),
        ];
        for (name, found, declared) in all {
            if let (Some(found), Some(declared)) = (found, declared)
                && found != declared
            {
                return Err(Failure::Checksum(format!("the body has {name} {found}, not {declared}")));
            }
        }
        Ok(sha256)
    }
}

/// Reads a small body into memory.
pub(super) async fn receive_small(
    app: &App,
    body: Body,
    declared: &Declared,
    bytes_max: u64,
) -> Result<(Bytes, Digest), Failure> {
    let mut hashes = Hashes::of(declared);
    let mut collected = Vec::new();
    let mut frames = Frames::new(app, body, bytes_max)?;
    while let Some(chunk) = frames.next().await? {
        hashes.update(&chunk);
        collected.extend_from_slice(&chunk);
    }
    Ok((collected.into(), hashes.finish(declared)?))
}

/// Writes a body to a file of the spool directory. The returned path removes the file when it is dropped.
pub(super) async fn receive(app: &App, body: Body, declared: &Declared) -> Result<(TempPath, Upload), Failure> {
    let mut frames = Frames::new(app, body, app.limits.upload_size_max.bytes())?;
    let mut spooled = Spooled::create(app, declared)?;
    while let Some(chunk) = frames.next().await? {
        spooled = spooled.write(chunk).await?;
    }
    spooled.finish(declared).await
}

/// The data of a body that must not be too long nor pause for too long.
struct Frames {
    body: Limited<Body>,
    bytes_max: u64,
    stall: std::time::Duration,
}

impl Frames {
    fn new(app: &App, body: Body, bytes_max: u64) -> Result<Self, Failure> {
        // Said beforehand: refused before the client sends anything, if it asked with Expect: 100-continue.
        if http_body::Body::size_hint(&body).lower() > bytes_max {
            return Err(Failure::UploadTooLarge(bytes_max));
        }
        let body = Limited::new(body, usize::try_from(bytes_max).unwrap_or(usize::MAX));
        Ok(Self { body, bytes_max, stall: app.limits.upload_stall_timeout.get() })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame =
                tokio::time::timeout(self.stall, self.body.frame()).await.map_err(|_| Failure::UploadStalled)?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| {
                if error.downcast_ref::<LengthLimitError>().is_some() {
                    return Failure::UploadTooLarge(self.bytes_max);
                }
                Failure::BadRequest("the upload broke off".to_owned())
            })?;
            if let Ok(chunk) = frame.into_data() {
                return Ok(Some(chunk));
            }
        }
    }
}

/// A file that grows.
struct Spooled {
    file: NamedTempFile,
    hashes: Hashes,
    len: u64,
    pending: Vec<Bytes>,
    pending_bytes: usize,
}

impl Spooled {
    fn create(app: &App, declared: &Declared) -> Result<Self, Failure> {
        let file =
            tempfile::Builder::new().prefix("upload-").tempfile_in(app.store.spool_dir()).map_err(|e| io_failed(&e))?;
        Ok(Self { file, hashes: Hashes::of(declared), len: 0, pending: Vec::new(), pending_bytes: 0 })
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
                self.hashes.update(&chunk);
                self.file.write_all(&chunk)?;
            }
            self.pending_bytes = 0;
            Ok::<_, std::io::Error>(self)
        });
        written.await.map_err(|error| Failure::Internal(error.to_string()))?.map_err(|error| io_failed(&error))
    }

    async fn finish(self, declared: &Declared) -> Result<(TempPath, Upload), Failure> {
        let Self { file, hashes, len, .. } = self.flush().await?;
        let sha256 = hashes.finish(declared)?;
        let path = file.into_temp_path();
        let upload = Upload { path: path.to_path_buf(), len, sha256 };
        Ok((path, upload))
    }
}

fn io_failed(error: &std::io::Error) -> Failure {
    tracing::error!(%error, "an upload could not be written");
    Failure::Repository(RepoError::Storage("the center's storage failed; see its log".to_owned()))
}
