//! One artefact through a GOPROXY: asked for again while that may help, and proven.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use reqwest::Response;
use shared::backoff::Backoff;
use shared::client::retry_after;
use shared::digest::Digest;
use shared::go_sum::Entry;
use shared::module::zip::{GOMOD_BYTES_MAX, ZIP_BYTES_MAX};
use shared::module::{ModulePath, Version};
use tokio::time::sleep;

use super::proof;
use super::target::{Got, path};
use super::wanted::{Key, Parts};
use crate::tier::TierClient;
use crate::url::reason;

/// How often one artefact is asked for.
const TRIES_MAX: u32 = 5;

/// The longest `Retry-After` that is obeyed; who asks for more is not waited for.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// Largest `.info`.
const INFO_BYTES_MAX: u64 = 1 << 20;

/// Why an artefact is not warm.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// No connection could be made.
    #[error("{0}")]
    Connect(String),
    /// The connection broke.
    #[error("{0}")]
    Transport(String),
    /// The edge answered with an error.
    #[error("{status}: {message}")]
    Status {
        /// The status.
        status: StatusCode,
        /// The edge's line.
        message: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// What came is not what the go.sum says.
    #[error("{0}")]
    Proof(String),
    /// Here, the temporary file failed.
    #[error("temporary file: {0}")]
    Storage(#[from] std::io::Error),
}

impl FetchError {
    /// Whether asking again may end otherwise.
    pub(crate) fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Transport(_) => true,
            Self::Status { status, retry_after, .. } => {
                (status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS)
                    && retry_after.is_none_or(|wait| wait <= RETRY_AFTER_MAX)
            }
            Self::Proof(_) | Self::Storage(_) => false,
        }
    }

    fn retry_after(&self) -> Duration {
        match self {
            Self::Status { retry_after, .. } => retry_after.unwrap_or_default(),
            Self::Connect(_) | Self::Transport(_) | Self::Proof(_) | Self::Storage(_) => Duration::ZERO,
        }
    }
}

/// Asks one GOPROXY: an edge, or a repository of the center.
#[derive(Debug)]
pub(crate) struct Fetcher {
    client: TierClient,
    base: String,
}

impl Fetcher {
    /// Fetches through the GOPROXY at `base`.
    pub(crate) fn new(client: TierClient, base: &str) -> Self {
        Self { client, base: base.to_owned() }
    }

    /// Fetches and proves one artefact.
    pub(crate) async fn warm(&self, entry: &Entry, part: Parts) -> Result<Got, FetchError> {
        retried(|| self.attempt(entry, part)).await
    }

    /// The go.mod of a version.
    pub(crate) async fn gomod(&self, key: &Key) -> Result<Vec<u8>, FetchError> {
        let path = path(key, Parts::MOD);
        retried(|| self.small(&path, GOMOD_BYTES_MAX)).await
    }

    /// The version that `@latest` stands for; its own go.mod may name another module.
    pub(crate) async fn latest(&self, module: &ModulePath) -> Result<Version, FetchError> {
        let path = format!("{}/@latest", module.escaped());
        let body = retried(|| self.small(&path, INFO_BYTES_MAX)).await?;
        proof::version(&body, module).map_err(FetchError::Proof)
    }

    async fn small(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, FetchError> {
        small_body(self.ask(path).await?, bytes_max).await
    }

    async fn ask(&self, path: &str) -> Result<Response, FetchError> {
        let response = self.client.get(&self.base, path).send().await.map_err(|error| {
            if error.is_connect() { FetchError::Connect(reason(error)) } else { FetchError::Transport(reason(error)) }
        })?;
        if response.status() == StatusCode::OK { Ok(response) } else { Err(refusal(response).await) }
    }

    async fn attempt(&self, entry: &Entry, part: Parts) -> Result<Got, FetchError> {
        let key = Key { module: entry.module.clone(), version: entry.version.clone() };
        let response = self.ask(&path(&key, part)).await?;
        let was_warm = response.headers().get("x-cache").is_some_and(|value| value == "HIT");
        if part == Parts::ZIP {
            let bytes = self.zip(response, entry).await?;
            return Ok(Got { was_warm, bytes, sha256: None });
        }
        let is_info = part == Parts::INFO;
        let body = small_body(response, if is_info { INFO_BYTES_MAX } else { GOMOD_BYTES_MAX }).await?;
        let proven = if is_info { proof::info(&body, entry) } else { proof::gomod(&body, entry) };
        proven.map_err(FetchError::Proof)?;
        Ok(Got { was_warm, bytes: body.len() as u64, sha256: Some(Digest::of(&body)) })
    }

    /// Writes a zip to a temporary file, which has no name and vanishes with its handle, and proves it there.
    async fn zip(&self, mut response: Response, entry: &Entry) -> Result<u64, FetchError> {
        let mut file = tempfile::tempfile()?;
        let mut len = 0;
        while let Some(chunk) = response.chunk().await.map_err(|error| FetchError::Transport(reason(error)))? {
            len += chunk.len() as u64;
            check_len(len, ZIP_BYTES_MAX)?;
            file = blocking(move || append(file, &chunk)).await??;
        }
        let entry = entry.clone();
        blocking(move || proof::zip(file, len, &entry)).await?.map_err(FetchError::Proof)?;
        Ok(len)
    }
}

fn append(mut file: File, chunk: &Bytes) -> std::io::Result<File> {
    file.seek(std::io::SeekFrom::End(0))?;
    file.write_all(chunk)?;
    Ok(file)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)
}

/// Asks until it works, or another time would not help.
async fn retried<T, F>(attempt: impl Fn() -> F) -> Result<T, FetchError>
where
    F: Future<Output = Result<T, FetchError>>,
{
    let mut backoff = Backoff::default();
    let mut tries = 1;
    loop {
        let error = match attempt().await {
            Ok(got) => return Ok(got),
            Err(error) => error,
        };
        if tries >= TRIES_MAX || !error.is_worth_retrying() {
            return Err(error);
        }
        tries += 1;
        sleep(backoff.next().max(error.retry_after())).await;
    }
}

async fn small_body(mut response: Response, bytes_max: u64) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| FetchError::Transport(reason(error)))? {
        body.extend_from_slice(&chunk);
        check_len(body.len() as u64, bytes_max)?;
    }
    Ok(body)
}

fn check_len(len: u64, max: u64) -> Result<(), FetchError> {
    if len > max { Err(FetchError::Proof(format!("it is larger than {max} bytes"))) } else { Ok(()) }
}

/// The error of an answer that is not 200, with the edge's own line.
async fn refusal(mut response: Response) -> FetchError {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    // One chunk is enough for one line.
    let body = response.chunk().await.ok().flatten().unwrap_or_default();
    let line = String::from_utf8_lossy(&body[..body.len().min(500)]).lines().next().unwrap_or_default().to_owned();
    let message = line.chars().filter(|letter| !letter.is_control()).collect();
    FetchError::Status { status, message, retry_after }
}
