//! `modtier-center`: merges the modules published here and those of other proxies into one virtual repository, keeps them, and
//! tells edges of every change.
//!
//! `serve` accepts, `envelope` stands around each request, `router` has every route, `handlers` what they do, `respond` and
//! `error` how it is said in HTTP. Below that line nothing knows of HTTP: `repository`, `sumdb`, `store`.
//! `cli` is what a person does from a shell; `pack` makes module zips for it.

mod app;
mod cli;
mod conditional;
mod config;
mod doctor;
mod egress;
mod envelope;
mod error;
mod finding;
mod handlers;
mod handover;
mod metrics;
mod pack;
mod reload;
mod repository;
mod respond;
mod router;
mod sealed;
mod serve;
mod start;
mod store;
mod sumdb;
mod token;
mod upkeep;
mod upstream;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use shared::cli::{CommonArgs, EXIT_FAILED, EXIT_USAGE, fail, run_checked};

use crate::cli::{Command, Errand};
use crate::config::{ALIASES, Config};
use crate::start::start;

/// Requests take and give back memory on all threads, bodies and records of the metadata alike: the system's allocator takes longer
/// for it, and keeps more of it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The name in messages and in the names of environment variables.
const BINARY: &str = "center";

/// Modtier center: one virtual Go module repository out of many
#[derive(Debug, Parser)]
#[command(name = "modtier-center", version)]
struct Cli {
    #[command(flatten)]
    common: CommonArgs,
    /// Take the place of the center that runs in the same data directory, if one does, without refusing a connection
    #[arg(long)]
    take_over: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    match cli.command {
        None | Some(Command::Serve) => {}
        Some(Command::CheckConfig) => cli.common.check_config = true,
        Some(Command::Token(command)) => return cli::run(Errand::Token(command)),
        Some(Command::Doctor(doctor)) => return cli::run(Errand::Doctor(doctor, cli.common.config)),
        Some(Command::Gc(collect)) => return cli::run(Errand::Gc(collect, cli.common.config)),
        Some(Command::Verify(verify)) => return cli::run(Errand::Verify(verify, cli.common.config)),
        Some(Command::MoveStorage(moving)) => return cli::run(Errand::MoveStorage(moving, cli.common.config)),
        Some(Command::Export(export)) => return cli::run(Errand::Export(Box::new(export))),
        Some(Command::Import(import)) => return cli::run(Errand::Import(Box::new(import))),
        Some(Command::Publish(publish)) => return cli::run(Errand::Publish(Box::new(publish))),
        Some(Command::EgressConnect(arguments)) => {
            return match egress::connect(&arguments) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(BINARY, EXIT_FAILED, &format_args!("{error:#}")),
            };
        }
        Some(Command::Sealed(arguments)) => {
            return match sealed::become_command(&arguments) {
                Ok(never) => match never {},
                Err(error) => fail(BINARY, EXIT_FAILED, &format_args!("{error:#}")),
            };
        }
    }
    let config = match run_checked(&cli.common, BINARY, &ALIASES, Config::check) {
        Ok(Some(config)) => config,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return fail(BINARY, EXIT_USAGE, &error),
    };
    let _log = shared::telemetry::init(config.log.format, &config.log.level);
    match run(config, &cli.common, cli.take_over) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(BINARY, EXIT_FAILED, &format_args!("{error:#}")),
    }
}

fn run(config: Config, called: &CommonArgs, take_over: bool) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")?;
    let outcome = runtime.block_on(start(config, called, take_over));
    // Fills that still run are dropped: what they have is in the spool, which the next start empties.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    outcome
}
