//! `modtier-syncer prewarm`: files that are warmed now, the configured sources once, and a look at the queue.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use shared::cli::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE, fail};
use shared::go_sum;

use super::closure::Mods;
use super::fetch::Fetcher;
use super::metrics::PrewarmMetrics;
use super::queue::{Dead, Line, Queue, Search, dead_letters, request_retry, search};
use super::settings::PrewarmSettings;
use super::sources::Sources;
use super::sources::tree::Unit;
use super::wanted::{Cause, Key};
use super::{Prewarm, PrewarmError, caller, client, goproxies, read};
use crate::BINARY;
use crate::config::Config;
use crate::tier::TierClient;

/// What to warm, or what to say of it.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct PrewarmArgs {
    #[arg(
        value_name = "FILE",
        help = "go.mod, go.sum, go.work, CycloneDX or SPDX files, or lists of module@version; none: the configured sources, once"
    )]
    files: Vec<PathBuf>,
    /// GOPROXY URLs to warm through, instead of the configured ones
    #[arg(long, value_name = "URL", requires = "files")]
    through: Vec<String>,
    /// Modules that are fetched at one time, instead of the configured number
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    #[command(subcommand)]
    command: Option<Look>,
}

/// A look at the queue in `prewarm.state_dir`.
#[derive(Debug, clap::Subcommand)]
enum Look {
    /// What was warmed and what failed, the oldest first
    Log(Found),
    /// What was given up
    Dead(Found),
    /// Try again what was given up; a running syncer begins within a second, otherwise the next one
    Retry(Found),
}

#[derive(Debug, clap::Args)]
struct Found {
    /// Only modules with this in their module@version
    #[arg(long, value_name = "PART")]
    module: Option<String>,
    /// Only causes with this in them: project, list, sbom, hot, new-version, toolchain, or a part of the source's name
    #[arg(long, value_name = "PART")]
    cause: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub(crate) async fn run_command(mut config: Config, args: PrewarmArgs) -> ExitCode {
    if let Some(look) = args.command {
        return match look_at(&config.prewarm.state_dir, look) {
            Ok(()) => ExitCode::from(EXIT_DONE),
            Err(error) => fail(BINARY, EXIT_FAILED, &error),
        };
    }
    if !args.through.is_empty() {
        config.goproxy = args.through;
    }
    config.concurrency = args.concurrency.unwrap_or(config.concurrency);
    if let Err(error) = config.check() {
        return fail(BINARY, EXIT_USAGE, &error);
    }
    let done = if args.files.is_empty() { sources_once(&config).await } else { files(&config, &args.files).await };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(BINARY, EXIT_USAGE, &error),
    }
}

async fn sources_once(config: &Config) -> Result<u8, PrewarmError> {
    let prewarm = Prewarm::of(config)?.ok_or(PrewarmError::NoSource)?;
    let (code, said) = prewarm.once(&[]).await;
    println!("{said}");
    Ok(code)
}

/// Warms the edges with what a go.sum names; the exit code says how far it came.
pub(crate) async fn run(config: &Config, go_sum: &Path) -> Result<u8, PrewarmError> {
    warm(config, &[Unit::Sums(go_sum.to_owned())]).await
}

async fn files(config: &Config, files: &[PathBuf]) -> Result<u8, PrewarmError> {
    let units: Vec<Unit> = files.iter().map(|file| Unit::of_file(file)).collect();
    warm(config, &units).await
}

/// Through the GOPROXYs, in a queue that ends with this run. What a go.sum names is proven with its hashes.
async fn warm(config: &Config, units: &[Unit]) -> Result<u8, PrewarmError> {
    let mut sums = HashMap::new();
    for unit in units {
        let file = unit.file();
        let text = read(&file)?;
        let sums_file = match unit {
            Unit::Sums(_) => Some(text),
            Unit::Module(folder) => std::fs::read_to_string(folder.join("go.sum")).ok(),
            Unit::Workspace(_) | Unit::Sbom(_) | Unit::List(_) => None,
        };
        let entries = sums_file.map(|text| go_sum::parse(&text)).transpose();
        let entries = entries.map_err(|error| PrewarmError::GoSum { file: file.clone(), error })?.unwrap_or_default();
        if entries.is_empty() && matches!(unit, Unit::Sums(_)) {
            return Err(PrewarmError::Empty(file));
        }
        let keyed = entries
            .into_iter()
            .map(|entry| (Key { module: entry.module.clone(), version: entry.version.clone() }, entry));
        sums.extend(keyed);
    }
    let first = config.goproxy.first().ok_or(PrewarmError::NoEdge)?;
    let client = client()?;
    let edges = goproxies(config, &client, &Arc::new(sums));
    let names: Vec<String> = edges.iter().map(|edge| edge.name.clone()).collect();
    // The fetcher tries again where that may help: here a failure is one for good, and limits are for the background.
    let settings = PrewarmSettings { tries_max: 1, ..PrewarmSettings::default() };
    let metrics = PrewarmMetrics::new();
    let queue = Queue::in_memory(&names, &settings, metrics.clone());
    let sources = Sources {
        settings,
        queue: Arc::clone(&queue),
        mods: Mods::new(Fetcher::new(TierClient::open(client.clone()), first)),
        metrics,
        client: TierClient::of_edges(client.clone(), config)
            .map_err(|error| PrewarmError::Setting(error.to_string()))?,
        edges: Vec::new(),
        hot: Mutex::default(),
    };
    let mut is_whole = true;
    for unit in units {
        is_whole &= sources.want_unit(unit, None, false).await;
    }
    queue.show_progress().await;
    let callers = edges.iter().map(|edge| caller::serve(&queue, edge, true));
    futures_util::future::join_all(callers).await;
    queue.finish();
    let summary = queue.summary().await;
    println!("{summary}");
    Ok(if is_whole { summary.exit_code() } else { summary.exit_code().max(EXIT_FAILED) })
}

/// Shows a part of the log or of the dead, or asks for another try.
fn look_at(folder: &Path, look: Look) -> std::io::Result<()> {
    let mut text = String::new();
    match look {
        Look::Log(found) => {
            let search_for = found.search();
            for line in search(folder, &search_for)? {
                text += &found.shown(&line, || log_line(&line))?;
            }
        }
        Look::Dead(found) => {
            let search_for = found.search();
            for (edge, dead) in dead_letters(folder)? {
                if search_for.finds(&dead.job.key, &dead.job.causes) {
                    text += &found.shown(&(&edge, &dead), || dead_line(&edge, &dead))?;
                }
            }
        }
        Look::Retry(found) => request_retry(folder, &found.search())?,
    }
    // A closed pipe (`… | head`) is no error of ours.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

impl Found {
    fn search(&self) -> Search {
        Search { module: self.module.clone(), cause: self.cause.clone() }
    }

    fn shown(&self, what: &impl Serialize, for_people: impl FnOnce() -> String) -> std::io::Result<String> {
        Ok(if self.json { serde_json::to_string(what)? + "\n" } else { for_people() })
    }
}

fn log_line(line: &Line) -> String {
    let Line { time, edge, key, result, artefacts, bytes, .. } = line;
    let error = line.error.as_ref().map_or_else(String::new, |error| format!("  {error}"));
    format!("{time}  {edge}  {result:6}  {key}  {artefacts}  {bytes} bytes  {}{error}\n", causes(&line.causes))
}

fn dead_line(edge: &str, dead: &Dead) -> String {
    let Dead { job, error, .. } = dead;
    format!("{edge}  {}  {} tries  {}  {error}\n", job.key, job.tries, causes(&job.causes))
}

fn causes(causes: &[Cause]) -> String {
    causes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
