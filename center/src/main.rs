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
mod metrics;
mod pack;
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

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use shared::cli::{Announcement, CommonArgs, EXIT_FAILED, EXIT_USAGE, announce, fail, run_checked};
use shared::pace::Pace;
use shared::tls::Tls;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::cli::{Command, Errand};
use crate::config::{ALIASES, Config};
use crate::reload::Live;
use crate::serve::{Entrances, Manners};

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

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    match cli.command {
        None | Some(Command::Serve) => {}
        Some(Command::CheckConfig) => cli.common.check_config = true,
        Some(Command::Token(command)) => return cli::run(Errand::Token(command)),
        Some(Command::Doctor(doctor)) => return cli::run(Errand::Doctor(doctor, cli.common.config)),
        Some(Command::Gc(collect)) => return cli::run(Errand::Gc(collect, cli.common.config)),
        Some(Command::Verify(verify)) => return cli::run(Errand::Verify(verify, cli.common.config)),
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
    let tls = match config.tls.listen.as_str() {
        "" => None,
        listen => {
            let tls = Tls::load(&config.tls).map_err(|error| anyhow::anyhow!("{error} (tls.certificate, tls.key)"))?;
            Some((bind(listen, "tls.listen").await?, Arc::new(tls)))
        }
    };
    let figures = match config.metrics.listen.as_str() {
        "" => None,
        listen => Some(bind(listen, "metrics.listen").await?),
    };
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be watched")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be watched")?;
    let mut hangup = signal(SignalKind::hangup()).context("signals cannot be watched")?;
    let app = App::build(&config).await?;
    let (data_dir, tls_settings) = (config.data_dir.clone(), config.tls.clone());
    let manners = Manners {
        handshake: config.serving.tls_handshake.get(),
        pace: Pace {
            bytes_per_second: config.serving.client_rate_min.bytes(),
            window: config.serving.client_rate_window.get(),
        },
        hsts: shared::tls::hsts(config.tls.hsts_preload),
    };
    let live = Arc::new(Live::new(config, Arc::clone(&app), called.config.clone()));
    if let Some(path) = called.announce.as_deref() {
        let address_of = |listener: &TcpListener| listener.local_addr().ok().map(|address| address.to_string());
        let mut announcement = Announcement::new(Some(address), figures.as_ref().and_then(address_of));
        announcement.tls = tls.as_ref().and_then(|(listener, _)| address_of(listener));
        announce(path, &announcement).with_context(|| format!("cannot write {}", path.display()))?;
    }
    tracing::info!(%address, data_dir = %data_dir.display(), "center is ready");
    let certificate = tls.as_ref().map(|(_, tls)| Arc::clone(tls)).map(|tls| {
        app.metrics.certificate(Ok(tls.expires()));
        let metrics = app.metrics.clone();
        tokio::spawn(shared::tls::watch(tls, move || tls_settings.clone(), move |outcome| metrics.certificate(outcome)))
    });
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
    let entrances = Entrances { plain: listener, tls, figures };
    serve::serve(&app, &live, entrances, manners, stop).await;
    follow.abort();
    if let Some(certificate) = certificate {
        certificate.abort();
    }
    Ok(())
}

async fn bind(listen: &str, key: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(listen).await;
    bound.with_context(|| format!("cannot listen on {listen}: stop what uses it, or set another address ({key})"))
}
