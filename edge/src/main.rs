//! `modtier-edge`: the proxy that `go` commands talk to. It serves what it holds and fetches the rest from a center.
//!
//! Life of the process, see `run`: read the settings → bind all addresses → open the cache → serve → on SIGTERM, SIGINT or a
//! hand-over stop accepting, let running responses end, close the cache → exit. A request's life is in `serve`. The
//! subcommands talk to a running edge, see `cli`.

mod access_log;
mod admin;
mod app;
mod cache;
mod cli;
mod config;
mod error;
#[cfg(test)]
mod fuzz;
mod handover;
mod invalidation;
mod limit;
mod metrics;
mod popularity;
mod reload;
mod respond;
mod run;
mod runtime;
mod serve;
mod server;
mod start;
#[cfg(test)]
mod testing;
mod upstream;

use std::process::ExitCode;

use clap::Parser;
use shared::cli::{CommonArgs, EXIT_FAILED, EXIT_USAGE, fail, run_checked};
use shared::telemetry;

use crate::config::Config;
use crate::run::Called;

/// Buffers are freed on other threads than those that took them, and most allocators keep much of that: in an hour of mixed load
/// resident memory went from 103 to 235 MiB with mimalloc; with this one it stays at 80 (docs/deep.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A Go module proxy's edge: serves modules near their users. Without a command it serves; the commands talk to an edge that
/// runs
#[derive(Debug, Parser)]
#[command(name = "modtier-edge", version)]
struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
    /// Take the place of the edge that runs in the same data directory, if one does, without refusing a connection
    #[arg(long)]
    take_over: bool,
    #[command(subcommand)]
    command: Option<cli::Command>,
}

fn main() -> ExitCode {
    let Arguments { common, take_over, command } = Arguments::parse();
    if let Some(command) = command {
        return cli::run(command, common.config.as_deref());
    }
    let config: Config = match run_checked(&common, "edge", config::ALIASES, Config::check) {
        Ok(Some(config)) => config,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return fail("edge", EXIT_USAGE, &error),
    };
    let _log = telemetry::init(config.log.format, &config.log.level);
    let called = Called { config_file: common.config, announce_to: common.announce, take_over };
    match run::run(config, called) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail("edge", EXIT_FAILED, &error),
    }
}
