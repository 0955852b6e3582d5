//! `modtier-syncer`: carries the center's changes to Redis, finds new versions upstream, warms edges, and watches how far each edge is.

mod admin;
mod cli;
mod config;
mod daemon;
mod error;
mod feed;
mod fleet;
mod metrics;
mod oversee;
mod popularity;
mod prewarm;
mod stream;
mod tier;
mod url;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::cli::{CommonArgs, EXIT_DONE, EXIT_FAILED, EXIT_USAGE, fail, run_checked};

use crate::cli::hot::Hot;
use crate::cli::live::Live;
use crate::cli::once::Once;
use crate::cli::replay::Replay;
use crate::cli::status::Status;
use crate::config::Config;
use crate::error::SyncerError;

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
    /// Run for good: relay changes to Redis, look upstream for new versions, oversee the edges
    Run,
    /// Do all that once and exit, for cron: 0 done, 1 partly, 2 nothing done or bad input
    Once(Once),
    /// Show how far every edge is: 0 all are in step, 1 some are not, 2 nobody could be asked
    Status(Status),
    /// Show that again and again, or a line for each change where there is no terminal
    Watch(Live),
    /// Show the modules that are asked for most, over all edges
    Hot(Hot),
    /// Have edges apply once more what follows a record: 0 all did, 1 some did, 2 none did
    Replay(Replay),
    /// Warm the edges with what files or the configured sources ask for, or look at what was warmed
    Prewarm(prewarm::PrewarmArgs),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let config: Config = match run_checked(&args.common, BINARY, &[], Config::check) {
        Ok(Some(config)) => config,
        Ok(None) => return ExitCode::from(EXIT_DONE),
        Err(error) => return fail(BINARY, EXIT_USAGE, &error),
    };
    let Some(command) = args.command else {
        return fail(
            BINARY,
            EXIT_USAGE,
            &"say what to do: run, once, status, watch, hot, replay or prewarm (--help shows more)",
        );
    };
    let _log = shared::telemetry::init(config.log.format, &config.log.level);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(BINARY, EXIT_FAILED, &format!("cannot start threads: {error}")),
    };
    let code = runtime.block_on(async {
        match command {
            Command::Run => match Box::pin(daemon::run(config, args.common.announce.as_deref())).await {
                Ok(()) => ExitCode::from(EXIT_DONE),
                Err(error) => fail(BINARY, EXIT_FAILED, &error),
            },
            Command::Prewarm(args) => prewarm::run_command(config, args).await,
            errand => do_errand(config, errand).await,
        }
    });
    // A blocking task (a zip being verified) is not waited for: it only reads a temporary file.
    runtime.shutdown_background();
    code
}

/// What ends by itself, or by a signal.
async fn do_errand(mut config: Config, errand: Command) -> ExitCode {
    if let Command::Once(once) = &errand {
        if !once.through.is_empty() {
            config.goproxy.clone_from(&once.through);
        }
        config.concurrency = once.concurrency.unwrap_or(config.concurrency);
        if let Err(error) = config.check() {
            return fail(BINARY, EXIT_USAGE, &error);
        }
    }
    let stop = match daemon::stop_signal() {
        Ok(stop) => stop,
        Err(error) => return fail(BINARY, EXIT_FAILED, &error),
    };
    let is_endless = matches!(errand, Command::Watch(_));
    let work = async {
        match &errand {
            // They have been run, or are no errand.
            Command::Run | Command::Prewarm(_) => Ok::<_, SyncerError>(EXIT_USAGE),
            Command::Once(once) => once.run(&config).await,
            Command::Status(status) => status.run(&config).await,
            Command::Watch(live) => live.run(&config).await,
            Command::Hot(hot) => hot.run(&config).await,
            Command::Replay(replay) => replay.run(&config).await,
        }
    };
    tokio::select! {
        result = work => match result {
            Ok(code) => ExitCode::from(code),
            Err(error) => fail(BINARY, EXIT_USAGE, &error),
        },
        () = stop => {
            if is_endless { ExitCode::from(EXIT_DONE) } else { fail(BINARY, EXIT_FAILED, &"stopped before it was done") }
        }
    }
}
