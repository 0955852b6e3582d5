//! The process's life: its addresses, its state, signals, a hand-over, its end.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::Mutex;
use sd_notify::NotifyState;
use shared::cli::{Announcement, CommonArgs, announce};
use shared::handover::{self, Listeners, Predecessor};
use shared::pace::Pace;
use shared::tls::{Tls, TlsSettings};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::app::App;
use crate::config::Config;
use crate::handover::{Giver, Step};
use crate::reload::Live;
use crate::serve::{self, End, Entrances, Manners};
use crate::upkeep;

/// Binds, builds and serves until the end. With `take_over`, in the place of the center that runs in the same data directory.
pub(crate) async fn start(config: Config, called: &CommonArgs, take_over: bool) -> anyhow::Result<()> {
    let found = || handover::find(&config.data_dir).map_err(anyhow::Error::msg);
    let mut predecessor = if take_over { tokio::task::block_in_place(found)? } else { None };
    let entrances = open(&config, predecessor.as_mut().map_or_else(Listeners::default, Predecessor::listeners))?;
    let announcement = announcement(&entrances);
    let mut signals = Signals::new().context("signals cannot be watched")?;
    if let Some(running) = &mut predecessor {
        tokio::task::block_in_place(|| running.release()).map_err(anyhow::Error::msg)?;
    }
    let app = App::build(&config, predecessor.is_some()).await?;
    if let Some(running) = predecessor {
        tokio::task::block_in_place(|| running.replace()).map_err(anyhow::Error::msg)?;
    }
    let (steps, stepping) = mpsc::channel::<Step>(1);
    let giver = Giver { app: Arc::downgrade(&app), listeners: Arc::clone(&entrances.shared), steps };
    if let Err(error) = handover::offer(&config.data_dir, giver) {
        tracing::warn!(%error, "this center cannot be taken over while it runs");
    }
    let manners = manners(&config);
    let certificate = entrances.tls.as_ref().map(|(_, tls)| watch(&app, Arc::clone(tls), config.tls.clone()));
    let live = Arc::new(Live::new(config, Arc::clone(&app), called.config.clone()));
    if let Some(path) = called.announce.as_deref() {
        announce(path, &announcement).with_context(|| format!("cannot write {}", path.display()))?;
    }
    tracing::info!(address = announcement.listen, "center is ready");
    notify(&[NotifyState::Ready]);
    let following = tokio::spawn(follow(Arc::clone(&live), signals.hangup));
    let stop = async move {
        tokio::select! {
            _ = signals.terminate.recv() => {}
            _ = signals.interrupt.recv() => {}
        }
    };
    let tell = |end: &End| match end {
        End::Stopped => notify(&[NotifyState::Stopping]),
        End::Replaced(pid) => {
            tracing::info!(pid, "handed over: finishing running requests");
            notify(&[NotifyState::MainPid(*pid)]);
        }
    };
    serve::serve(&app, &live, entrances, manners, stop, stepping, tell).await;
    following.abort();
    if let Some(certificate) = certificate {
        certificate.abort();
    }
    Ok(())
}

/// Every configured listener: the predecessor's where it has one there, else a new one.
fn open(config: &Config, mut listeners: Listeners) -> anyhow::Result<Entrances> {
    let mut bind = |name: &str, address: &str, setting: &str| {
        let listener = listeners.open(name, address, setting).map_err(anyhow::Error::msg)?;
        TcpListener::from_std(listener).with_context(|| format!("{address} cannot be listened to"))
    };
    let plain = bind("listen", &config.listen, "MODTIER_CENTER_LISTEN")?;
    let tls = match config.tls.listen.as_str() {
        "" => None,
        listen => {
            let tls = Tls::load(&config.tls).map_err(|error| anyhow::anyhow!("{error} (tls.certificate, tls.key)"))?;
            Some((bind("tls", listen, "tls.listen")?, Arc::new(tls)))
        }
    };
    let figures = match config.metrics.listen.as_str() {
        "" => None,
        listen => Some(bind("figures", listen, "metrics.listen")?),
    };
    Ok(Entrances { plain, tls, figures, shared: Arc::new(Mutex::new(listeners)) })
}

fn announcement(entrances: &Entrances) -> Announcement {
    let address = |listener: &TcpListener| -> Option<SocketAddr> { listener.local_addr().ok() };
    let mut announcement = Announcement::new(address(&entrances.plain), entrances.figures.as_ref().and_then(address));
    let tls = entrances.tls.as_ref().and_then(|(listener, _)| address(listener));
    announcement.tls = tls.map(|address| address.to_string());
    announcement
}

fn manners(config: &Config) -> Manners {
    Manners {
        handshake: config.serving.tls_handshake.get(),
        pace: Pace {
            bytes_per_second: config.serving.client_rate_min.bytes(),
            window: config.serving.client_rate_window.get(),
        },
        hsts: shared::tls::hsts(config.tls.hsts_preload),
    }
}

fn watch(app: &App, tls: Arc<Tls>, settings: TlsSettings) -> JoinHandle<()> {
    app.metrics.certificate(Ok(tls.expires()));
    let metrics = app.metrics.clone();
    tokio::spawn(shared::tls::watch(tls, move || settings.clone(), move |outcome| metrics.certificate(outcome)))
}

/// What goes on beside the requests: settings are read again whenever their file changes or SIGHUP says so, and the tokens that
/// others issue; what is due is done.
async fn follow(live: Arc<Live>, mut hangup: Signal) {
    tokio::select! {
        () = live.follow_file() => {}
        () = live.follow_tokens() => {}
        () = upkeep::keep(Arc::clone(&live)) => {}
        () = async { while hangup.recv().await.is_some() { live.reload("SIGHUP").await; } } => {}
    }
}

/// The signals that are heard.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Tells systemd, if it listens (`NOTIFY_SOCKET`).
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
