//! `modtier-edge`: the proxy that `go` commands talk to. It serves what it holds and fetches the rest from a center.
//!
//! Life of the process: read the settings → bind both addresses → open the cache → serve → on SIGTERM or SIGINT stop
//! accepting, let running responses end, close the cache → exit. A request's life is in `serve`.

mod access_log;
mod admin;
mod app;
mod cache;
mod config;
mod error;
mod invalidation;
mod metrics;
mod popularity;
mod respond;
mod runtime;
mod serve;
mod server;
mod start;
#[cfg(test)]
mod testing;
mod upstream;

use std::process::ExitCode;

use clap::Parser;
use shared::cli::{CommonArgs, EXIT_FAILED, EXIT_USAGE};
use shared::{cli, telemetry};

use crate::config::Config;

/// A Go module proxy's edge: serves modules near their users
#[derive(Debug, Parser)]
#[command(name = "modtier-edge", version)]
struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config: Config = match cli::run_checked(&arguments.common, "edge", &[], Config::check) {
        Ok(Some(config)) => config,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return cli::fail("edge", EXIT_USAGE, &error),
    };
    let _log = telemetry::init(config.log.format, &config.log.level);
    match start::run(config, arguments.common.announce.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::fail("edge", EXIT_FAILED, &error),
    }
}
