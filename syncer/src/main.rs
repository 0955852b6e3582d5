//! `modtier-syncer`: carries the center's changes to Redis, warms edges, and watches how far each edge is.

mod admin;
mod config;
mod daemon;
mod error;
mod feed;
mod metrics;
mod oversee;
mod prewarm;
mod stream;
mod url;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::cli::{CommonArgs, EXIT_DONE, EXIT_FAILED, EXIT_USAGE, fail, run_checked};

use crate::config::Config;

/// The name in variables (`MODTIER_SYNCER_…`) and messages.
const BINARY: &str = "syncer";

/// Carries changes to the edges and warms them.
#[derive(Debug, Parser)]
#[command(name = "modtier-syncer", version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run for good: relay changes to Redis, oversee the edges
    Run,
    /// Do one thing and exit, for cron: 0 done, 1 partly, 2 nothing done or bad input
    Once(Once),
}

#[derive(Debug, clap::Args)]
struct Once {
    /// Warm everything that this go.sum names
    #[arg(long, value_name = "FILE")]
    go_sum: PathBuf,
    /// GOPROXY URLs to warm through, instead of the configured ones
    #[arg(long, value_name = "URL", num_args = 1..)]
    through: Vec<String>,
    /// Modules that are fetched at one time, instead of the configured number
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let config: Config = match run_checked(&args.common, BINARY, &[], Config::check) {
        Ok(Some(config)) => config,
        Ok(None) => return ExitCode::from(EXIT_DONE),
        Err(error) => return fail(BINARY, EXIT_USAGE, &error),
    };
    let Some(command) = args.command else {
        return fail(BINARY, EXIT_USAGE, &"say what to do: run, or once --go-sum FILE (--help shows more)");
    };
    let _log = shared::telemetry::init(config.log.format, &config.log.level);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(BINARY, EXIT_FAILED, &format!("cannot start threads: {error}")),
    };
    let code = runtime.block_on(async {
        match command {
            Command::Run => match daemon::run(config, args.common.announce.as_deref()).await {
                Ok(()) => ExitCode::from(EXIT_DONE),
                Err(error) => fail(BINARY, EXIT_FAILED, &error),
            },
            Command::Once(once) => once_code(config, once).await,
        }
    });
    // A blocking task (a zip being verified) is not waited for: it only reads a temporary file.
    runtime.shutdown_background();
    code
}

async fn once_code(mut config: Config, once: Once) -> ExitCode {
    if !once.through.is_empty() {
        config.goproxy = once.through;
    }
    if let Some(concurrency) = once.concurrency {
        config.concurrency = concurrency;
    }
    if let Err(error) = config.check() {
        return fail(BINARY, EXIT_USAGE, &error);
    }
    let stop = match daemon::stop_signal() {
        Ok(stop) => stop,
        Err(error) => return fail(BINARY, EXIT_FAILED, &error),
    };
    tokio::select! {
        result = prewarm::run(&config, &once.go_sum) => match result {
            Ok(code) => ExitCode::from(code),
            Err(error) => fail(BINARY, EXIT_USAGE, &error),
        },
        () = stop => fail(BINARY, EXIT_FAILED, &"stopped before it was done"),
    }
}
