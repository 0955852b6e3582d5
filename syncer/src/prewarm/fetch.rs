//! One artefact through one edge: asked for again while that may help, and proven.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use reqwest::{Client, Response};
use shared::backoff::Backoff;
use shared::client::retry_after;
use shared::go_sum::Entry;
use shared::module::zip::{GOMOD_BYTES_MAX, ZIP_BYTES_MAX};
use tokio::time::sleep;

use super::proof;
use crate::url::{join, reason};

/// How often one artefact is asked for.
const TRIES_MAX: u32 = 5;

/// The longest `Retry-After` that is obeyed; who asks for more is not waited for.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// After this many artefacts in a row without any connection the edge is given up.
const UNREACHED_MAX: u32 = 3;

/// Largest `.info`.
const INFO_BYTES_MAX: u64 = 1 << 20;

/// What is warmed of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Artefact {
    /// Its time and origin.
    Info,
    /// Its go.mod.
    Mod,
    /// Its content.
    Zip,
}

impl Artefact {
    /// The end of its path.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Mod => "mod",
            Self::Zip => "zip",
        }
    }

    const fn bytes_max(self) -> u64 {
        match self {
            Self::Info => INFO_BYTES_MAX,
            Self::Mod => GOMOD_BYTES_MAX,
            Self::Zip => ZIP_BYTES_MAX,
        }
    }
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Got {
    /// The edge had it already.
    pub(crate) was_warm: bool,
    /// Length of the body.
    pub(crate) bytes: u64,
}

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
    /// The edge was not reached so often that it is not tried again.
    #[error("the edge is not reachable")]
    GivenUp,
}

impl FetchError {
    fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Transport(_) => true,
            Self::Status { status, retry_after, .. } => {
                (status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS)
                    && retry_after.is_none_or(|wait| wait <= RETRY_AFTER_MAX)
            }
            Self::Proof(_) | Self::Storage(_) | Self::GivenUp => false,
        }
    }

    fn retry_after(&self) -> Duration {
        match self {
            Self::Status { retry_after, .. } => retry_after.unwrap_or_default(),
            Self::Connect(_) | Self::Transport(_) | Self::Proof(_) | Self::Storage(_) | Self::GivenUp => Duration::ZERO,
        }
    }
}

/// Asks one edge.
#[derive(Debug)]
pub(crate) struct Fetcher {
    client: Client,
    base: String,
    /// Artefacts in a row for which no connection could be made.
    unreached: AtomicU32,
}

impl Fetcher {
    /// Fetches through the GOPROXY at `base`.
    pub(crate) fn new(client: Client, base: &str) -> Self {
        Self { client, base: base.to_owned(), unreached: AtomicU32::new(0) }
    }

    /// Fetches and proves one artefact.
    pub(crate) async fn warm(&self, entry: &Entry, artefact: Artefact) -> Result<Got, FetchError> {
        let mut backoff = Backoff::default();
        let mut tries = 0;
        loop {
            if self.unreached.load(Ordering::Relaxed) >= UNREACHED_MAX {
                return Err(FetchError::GivenUp);
            }
            tries += 1;
            let error = match self.attempt(entry, artefact).await {
                Ok(got) => return Ok(got),
                Err(error) => error,
            };
            if tries >= TRIES_MAX || !error.is_worth_retrying() {
                if matches!(error, FetchError::Connect(_)) {
                    self.unreached.fetch_add(1, Ordering::Relaxed);
                }
                return Err(error);
            }
            sleep(backoff.next().max(error.retry_after())).await;
        }
    }

    async fn attempt(&self, entry: &Entry, artefact: Artefact) -> Result<Got, FetchError> {
        let path = format!("{}/@v/{}.{}", entry.module.escaped(), entry.version.escaped(), artefact.extension());
        let response = self.client.get(join(&self.base, &path)).send().await.map_err(|error| {
            if error.is_connect() { FetchError::Connect(reason(error)) } else { FetchError::Transport(reason(error)) }
        })?;
        self.unreached.store(0, Ordering::Relaxed);
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await);
        }
        let was_warm = response.headers().get("x-cache").is_some_and(|value| value == "HIT");
        let bytes = match artefact {
            Artefact::Info | Artefact::Mod => {
                let body = small_body(response, artefact).await?;
                match artefact {
                    Artefact::Info => proof::info(&body, entry),
                    Artefact::Mod | Artefact::Zip => proof::gomod(&body, entry),
                }
                .map_err(FetchError::Proof)?;
                body.len() as u64
            }
            Artefact::Zip => self.zip(response, entry).await?,
        };
        Ok(Got { was_warm, bytes })
    }

    /// Writes a zip to a temporary file, which has no name and vanishes with its handle, and proves it there.
    async fn zip(&self, mut response: Response, entry: &Entry) -> Result<u64, FetchError> {
        let mut file = tempfile::tempfile()?;
        let mut len = 0;
        while let Some(chunk) = response.chunk().await.map_err(|error| FetchError::Transport(reason(error)))? {
            len += chunk.len() as u64;
            check_len(len, Artefact::Zip)?;
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

async fn small_body(mut response: Response, artefact: Artefact) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| FetchError::Transport(reason(error)))? {
        body.extend_from_slice(&chunk);
        check_len(body.len() as u64, artefact)?;
    }
    Ok(body)
}

fn check_len(len: u64, artefact: Artefact) -> Result<(), FetchError> {
    let max = artefact.bytes_max();
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
