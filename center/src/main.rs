//! `modtier-center`: merges the modules published here and those of other proxies into one virtual repository, keeps them, and
//! tells edges of every change.
//!
//! `serve` accepts, `envelope` stands around each request, `router` has every route, `handlers` what they do, `respond` and
//! `error` how it is said in HTTP. Below that line nothing knows of HTTP: `repository`, `sumdb`, `store`.

mod app;
mod conditional;
mod config;
mod egress;
mod envelope;
mod error;
mod handlers;
mod metrics;
mod reload;
mod repository;
mod respond;
mod router;
mod sealed;
mod serve;
mod store;
mod sumdb;
mod token;
mod upstream;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use shared::cli::{Announcement, CommonArgs, EXIT_FAILED, EXIT_USAGE, announce, fail, run_checked};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::config::{ALIASES, Config};
use crate::egress::ConnectArguments;
use crate::reload::Live;
use crate::sealed::SealedArguments;
use crate::token::TokenCommand;

/// The name in messages and in the names of environment variables.
const BINARY: &str = "center";

/// Modtier center: one virtual Go module repository out of many
#[derive(Debug, Parser)]
#[command(name = "modtier-center", version)]
struct Cli {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (what is done without a command too)
    Run,
    /// Make tokens for publishing and administration
    #[command(subcommand)]
    Token(TokenCommand),
    /// What ssh is told to reach its hosts by
    #[command(hide = true)]
    EgressConnect(ConnectArguments),
    /// What programs that fetch are started by
    #[command(hide = true)]
    Sealed(SealedArguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None | Some(Command::Run) => {}
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
        Some(Command::Token(command)) => {
            return match command.run() {
                Ok(printed) => {
                    // Whoever closed the pipe does not want to know.
                    let _ = std::io::stdout().lock().write_all(printed.as_bytes());
                    ExitCode::SUCCESS
                }
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
    match run(config, &cli.common) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(BINARY, EXIT_FAILED, &format_args!("{error:#}")),
    }
}

fn run(config: Config, called: &CommonArgs) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")?;
    let outcome = runtime.block_on(start(config, called));
    // Fills that still run are dropped: what they have is in the spool, which the next start empties.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    outcome
}

async fn start(config: Config, called: &CommonArgs) -> anyhow::Result<()> {
    let listener = TcpListener::bind(&config.listen).await.with_context(|| {
        format!("cannot listen on {}: stop what uses it, or set another address (MODTIER_CENTER_LISTEN)", config.listen)
    })?;
    let address = listener.local_addr().context("the bound address is not known")?;
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be watched")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be watched")?;
    let mut hangup = signal(SignalKind::hangup()).context("signals cannot be watched")?;
    let app = App::build(&config).await?;
    let data_dir = config.data_dir.clone();
    let live = Arc::new(Live::new(config, Arc::clone(&app), called.config.clone()));
    if let Some(path) = called.announce.as_deref() {
        announce(path, &Announcement::new(Some(address), None::<&str>))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    tracing::info!(%address, data_dir = %data_dir.display(), "center is ready");
    let reloading = Arc::clone(&live);
    let follow = tokio::spawn(async move {
        tokio::select! {
            () = reloading.follow_file() => {}
            () = async { while hangup.recv().await.is_some() { reloading.reload("SIGHUP").await; } } => {}
        }
    });
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve::serve(&app, &live, listener, stop).await;
    follow.abort();
    Ok(())
}
