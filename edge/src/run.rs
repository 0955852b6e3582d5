//! The process's life: start, signals, reloads, hand-over, end.
//!
//! | signal | what happens |
//! |---|---|
//! | SIGTERM, SIGINT | `/readyz` says 503, running responses end, the process ends with 0; a second one ends it at once |
//! | SIGHUP | the configuration is read again |
//!
//! systemd hears of all of it where it asks to (`Type=notify` or `notify-reload`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use shared::cli::{Announcement, announce};
use shared::handover;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::app::App;
use crate::config::Config;
use crate::handover::Offer;
use crate::reload;
use crate::server::Entrance;
use crate::start::{Edge, Origin};

/// How long the database of an edge that died during the hand-over may stay locked.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// How the process was called.
#[derive(Debug, Default)]
pub(crate) struct Called {
    /// `--config`.
    pub(crate) config_file: Option<PathBuf>,
    /// `--announce`.
    pub(crate) announce_to: Option<PathBuf>,
    /// `--take-over`.
    pub(crate) take_over: bool,
}

/// Why the edge ends.
enum End {
    Signal(&'static str),
    HandedOver(u32),
}

/// Runs the edge to its end.
pub(crate) fn run(config: Config, called: Called) -> Result<(), String> {
    let predecessor = if called.take_over { handover::find(&config.data_dir)? } else { None };
    let lock_patience = if called.take_over { LOCK_PATIENCE } else { Duration::ZERO };
    let data_dir = config.data_dir.clone();
    let edge = Edge::start_from(config, Origin { config_file: called.config_file, predecessor, lock_patience })?;
    let admin = edge.admin;
    let (taken, handed_over) = oneshot::channel();
    let offer = Offer { app: Arc::downgrade(&edge.app), listeners: Arc::clone(&edge.listeners), taken };
    if let Err(error) = handover::offer(&data_dir, offer) {
        tracing::warn!(%error, "this edge cannot be taken over while it runs");
    }
    let (mut stop, mut hangup) = edge
        .block_on(async { Ok::<_, std::io::Error>((StopSignals::new()?, signal(SignalKind::hangup())?)) })
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    for (entrance, address) in &edge.addresses {
        tracing::info!(listener = entrance.name(), %address, "serving");
    }
    tracing::info!(%admin, edge = %edge.app.edge_id, "serving");
    notify(&[NotifyState::Ready]);
    if let Some(path) = called.announce_to {
        let announcement = Announcement {
            tls: edge.address(Entrance::Tls).map(|address| address.to_string()),
            h2c: edge.address(Entrance::H2c).map(|address| address.to_string()),
            ..Announcement::new(edge.address(Entrance::Plain), Some(admin))
        };
        announce(&path, &announcement).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    let watching = reload::watch(Arc::clone(&edge.app));
    edge.spawn(watching);
    let end = edge.block_on(until_end(&edge.app, &mut stop, &mut hangup, handed_over));
    let hurried = Arc::clone(&edge.app);
    edge.spawn(async move {
        stop.next().await;
        tracing::warn!("told to stop again: ending in the middle of responses");
        hurried.leaving.send_replace(Some(Duration::ZERO));
    });
    conclude(edge, &end);
    Ok(())
}

async fn until_end(
    app: &Arc<App>,
    stop: &mut StopSignals,
    hangup: &mut Signal,
    mut handed_over: oneshot::Receiver<u32>,
) -> End {
    loop {
        tokio::select! {
            signal = stop.next() => return End::Signal(signal),
            Ok(pid) = &mut handed_over => return End::HandedOver(pid),
            _ = hangup.recv() => {
                let now = NotifyState::monotonic_usec_now();
                notify(&now.map_or_else(|_| vec![NotifyState::Reloading], |now| vec![NotifyState::Reloading, now]));
                reload::reload(app, "SIGHUP").await;
                notify(&[NotifyState::Ready]);
            }
        }
    }
}

fn conclude(edge: Edge, end: &End) {
    let (shutdown_grace, drain_delay, handover_grace) = {
        let limits = &edge.app.config().limits;
        (limits.shutdown_grace.get(), limits.drain_delay.get(), limits.handover_grace.get())
    };
    match end {
        End::Signal(signal) => {
            tracing::info!(signal, "stopping");
            notify(&[NotifyState::Stopping]);
            edge.leave(shutdown_grace, drain_delay);
        }
        End::HandedOver(pid) => {
            tracing::info!(pid, "handed over: finishing running responses");
            notify(&[NotifyState::MainPid(*pid)]);
            // The administration's socket is the new process's as well.
            edge.app.stopped.send_replace(true);
            edge.leave(handover_grace, Duration::ZERO);
        }
    }
    edge.stop();
    tracing::info!("stopped");
}

/// The signals that end the edge.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Tells systemd, if it listens (`NOTIFY_SOCKET`).
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
