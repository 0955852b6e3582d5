//! Pre-warming: edges hold what the next build will ask for, before it does.
//!
//! ```text
//! folders · git · bills · lists · hot modules · new versions
//!    └─▶ sources ──▶ closure ──▶ queue (a lane for each edge) ──▶ callers ──▶ the edge fetches what it lacks
//!        (files)     (MVS)       journal, log, limits, retries
//! ```
//!
//! An edge is told names and fetches what it lacks by its own fills, from its own center: nothing is moved through here. What it
//! says it holds is compared by SHA-256 with what other edges hold. A run over single files (`prewarm FILE…`, `once --go-sum`)
//! goes through an edge's GOPROXY instead, and proves with the hashes of the go.sum what arrives.

mod caller;
mod closure;
mod command;
mod fetch;
mod limits;
mod metrics;
mod proof;
mod queue;
mod settings;
mod sources;
mod summary;
mod target;
mod wanted;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shared::client::{ClientOptions, http_client};
use shared::go_sum::GoSumError;
use tokio::sync::mpsc;

use self::caller::Edge;
use self::closure::Mods;
pub(crate) use self::command::{PrewarmArgs, run, run_command};
use self::fetch::Fetcher;
use self::metrics::PrewarmMetrics;
use self::queue::{Queue, StateError};
pub(crate) use self::settings::PrewarmSettings;
use self::sources::Sources;
use self::target::Target;
use crate::config::Config;
use crate::feed::Feed;
use crate::tier::TierClient;
use crate::url::{authority, join};
use crate::watch::NewVersion;

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
    /// Nothing is configured.
    #[error("nothing to warm: name files, or sources in the group prewarm of the configuration")]
    NoSource,
    /// There is nobody to ask.
    #[error("no edge to warm: name one with --through URL or MODTIER_SYNCER_GOPROXY")]
    NoEdge,
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client: {0}")]
    Client(reqwest::Error),
    /// A setting cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The queue's folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Keeping the configured sources warm at the configured edges, with the queue on disk.
pub(crate) struct Prewarm {
    edges: Vec<Edge>,
    sources: Sources,
    queue: Arc<Queue>,
}

impl Prewarm {
    /// As configured; none if nothing is to be kept warm.
    ///
    /// # Errors
    /// When the folder of the state cannot be used.
    pub(crate) fn of(config: &Config) -> Result<Option<Self>, PrewarmError> {
        if !config.prewarm.has_sources() {
            return Ok(None);
        }
        let client = client()?;
        let of_edges =
            TierClient::of_edges(client.clone(), config).map_err(|error| PrewarmError::Setting(error.to_string()))?;
        let of_center =
            TierClient::of_center(client.clone(), config).map_err(|error| PrewarmError::Setting(error.to_string()))?;
        let edges = edges(config, &client, &of_edges)?;
        let names: Vec<String> = edges.iter().map(|edge| edge.name.clone()).collect();
        let metrics = PrewarmMetrics::new();
        let queue = Queue::open(&names, &config.prewarm, metrics.clone())?;
        let center = join(&config.center, &format!("api/go/{}", config.repository));
        let sources = Sources {
            settings: config.prewarm.clone(),
            queue: Arc::clone(&queue),
            mods: Mods::new(Fetcher::new(of_center, &center)),
            metrics,
            client: of_edges,
            edges: config.edges.iter().map(|edge| (authority(edge), edge.clone())).collect(),
            hot: Mutex::default(),
        };
        Ok(Some(Self { edges, sources, queue }))
    }

    /// Watches the sources and serves the edges for good; what appeared upstream is one of the sources.
    pub(crate) async fn watch(self, feed: &Feed, appeared: mpsc::Receiver<NewVersion>) {
        let callers = self.edges.iter().map(|edge| caller::serve(&self.queue, edge, false));
        let sources = async { tokio::join!(self.sources.watch(feed), self.sources.want_appeared(appeared)) };
        tokio::join!(Box::pin(sources), futures_util::future::join_all(callers));
    }

    /// Reads the sources once and empties the queue, as far as the limits allow. The exit code and a line that says what came of it.
    /// `appeared` came upstream since the last time.
    pub(crate) async fn once(self, appeared: &[NewVersion]) -> (u8, String) {
        let mut is_whole = self.sources.read_once().await;
        for new in appeared {
            is_whole &= self.sources.want_new(new).await;
        }
        self.queue.show_progress().await;
        let callers = self.edges.iter().map(|edge| caller::serve(&self.queue, edge, true));
        futures_util::future::join_all(callers).await;
        self.queue.finish();
        let summary = self.queue.summary().await;
        let code = if is_whole { summary.exit_code() } else { summary.exit_code().max(shared::cli::EXIT_FAILED) };
        (code, summary.to_string())
    }
}

fn client() -> Result<reqwest::Client, PrewarmError> {
    http_client(ClientOptions { read_timeout: READ_TIMEOUT, ..ClientOptions::default() }).map_err(PrewarmError::Client)
}

/// The edges' administrations, where they are configured; otherwise their GOPROXYs.
fn edges(config: &Config, client: &reqwest::Client, of_edges: &TierClient) -> Result<Vec<Edge>, PrewarmError> {
    let admin = config.edges.iter().map(|base| Edge {
        name: authority(base),
        target: Target::Admin { client: of_edges.clone(), base: base.clone() },
    });
    let mut edges: Vec<Edge> = admin.collect();
    if edges.is_empty() {
        edges = goproxies(config, client, &Arc::default());
    }
    if edges.is_empty() { Err(PrewarmError::NoEdge) } else { Ok(edges) }
}

fn goproxies(
    config: &Config,
    client: &reqwest::Client,
    sums: &Arc<std::collections::HashMap<wanted::Key, shared::go_sum::Entry>>,
) -> Vec<Edge> {
    let edge = |base: &String| Edge {
        name: authority(base),
        target: Target::Goproxy {
            fetcher: Fetcher::new(TierClient::open(client.clone()), base),
            concurrency: config.concurrency,
            sums: Arc::clone(sums),
        },
    };
    config.goproxy.iter().map(edge).collect()
}

/// The text of a file that was named on the command line.
fn read(file: &Path) -> Result<String, PrewarmError> {
    closure::read_text(file).map_err(|source| PrewarmError::Read { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests;
