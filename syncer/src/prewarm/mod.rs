//! `modtier-syncer once --go-sum FILE`: everything that a project's go.sum names is fetched through the edges, so that a
//! build finds it there. What arrives is proven with the hashes of the go.sum.

mod fetch;
mod proof;
mod summary;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use shared::client::{ClientOptions, http_client};
use shared::go_sum::{self, Entry, GoSumError};
use shared::progress::Progress;

use self::fetch::{Artefact, FetchError, Fetcher};
use self::summary::{Outcome, Summary};
use crate::config::Config;

/// How long a body may pause: the edge may be fetching a large cold zip from afar.
const READ_TIMEOUT: Duration = Duration::from_mins(2);

/// Why nothing was begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrewarmError {
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no go.sum.
    #[error("{}:{error}", file.display())]
    GoSum {
        /// The file.
        file: PathBuf,
        /// The line and what is wrong with it.
        error: GoSumError,
    },
    /// There is nothing to do.
    #[error("{}: names no module, so there is nothing to warm", .0.display())]
    Empty(PathBuf),
    /// There is nobody to ask.
    #[error("no edge to warm: name one with --through URL or MODTIER_SYNCER_GOPROXY")]
    NoEdge,
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client: {0}")]
    Client(reqwest::Error),
}

/// Warms the edges; the exit code says how far it came.
pub(crate) async fn run(config: &Config, file: &Path) -> Result<u8, PrewarmError> {
    let text = std::fs::read_to_string(file).map_err(|source| PrewarmError::Read { file: file.to_owned(), source })?;
    let entries = go_sum::parse(&text).map_err(|error| PrewarmError::GoSum { file: file.to_owned(), error })?;
    if entries.is_empty() {
        return Err(PrewarmError::Empty(file.to_owned()));
    }
    if config.goproxy.is_empty() {
        return Err(PrewarmError::NoEdge);
    }
    let client = http_client(ClientOptions { read_timeout: READ_TIMEOUT, ..ClientOptions::default() })
        .map_err(PrewarmError::Client)?;
    let count: usize = entries.iter().map(|entry| artefacts(entry).len()).sum();
    let progress = Arc::new(Progress::start(count * config.goproxy.len(), "artefacts"));
    let entries = Arc::new(entries);
    let edges = config.goproxy.iter().map(|edge| {
        let fetcher = Arc::new(Fetcher::new(client.clone(), edge));
        warm_edge(fetcher, Arc::clone(&entries), config.concurrency, Arc::clone(&progress))
    });
    let summary = futures_util::future::join_all(edges).await.into_iter().fold(Summary::default(), Summary::plus);
    progress.finish();
    println!("{summary}");
    Ok(summary.exit_code())
}

/// Fetches every entry through one edge, `concurrency` of them at a time.
async fn warm_edge(
    fetcher: Arc<Fetcher>,
    entries: Arc<Vec<Entry>>,
    concurrency: usize,
    progress: Arc<Progress>,
) -> Summary {
    let (fetcher, progress) = (&fetcher, &progress);
    stream::iter(entries.iter().map(|entry| warm_entry(fetcher, entry, progress)))
        .buffer_unordered(concurrency)
        .fold(Summary::default(), async |sum, one| sum.plus(one))
        .await
}

/// What a build needs of an entry, the small ones first.
fn artefacts(entry: &Entry) -> &'static [Artefact] {
    if entry.zip.is_empty() {
        &[Artefact::Info, Artefact::Mod]
    } else {
        &[Artefact::Info, Artefact::Mod, Artefact::Zip]
    }
}

async fn warm_entry(fetcher: &Fetcher, entry: &Entry, progress: &Progress) -> Summary {
    let mut summary = Summary::default();
    for &artefact in artefacts(entry) {
        let outcome = match fetcher.warm(entry, artefact).await {
            Ok(got) => Outcome::Held { was_warm: got.was_warm, bytes: got.bytes },
            Err(error) => {
                if !matches!(error, FetchError::GivenUp) {
                    progress.line(&format!(
                        "failed: {} {} .{}: {error}",
                        entry.module,
                        entry.version,
                        artefact.extension()
                    ));
                }
                Outcome::Failed
            }
        };
        summary.add(outcome);
        progress.step();
    }
    summary
}

#[cfg(test)]
mod tests;
