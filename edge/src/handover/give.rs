//! The old side: gives its sockets and its database away, and goes on if the new one fails.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::channel::Channel;
use super::{ANSWER_PATIENCE, Listeners, OPEN_PATIENCE, PROTOCOL, SOCKET, SocketPath, Word};
use crate::app::App;
use crate::server::LAST_CALL;

/// How long the new process may think between the sockets and taking over: it binds what it needs besides.
const THINK_PATIENCE: Duration = Duration::from_secs(30);

/// Beyond a connection's last call: look-ups that are under way.
const LOOK_UPS: Duration = Duration::from_millis(50);

/// How long connections may wait for a database that cannot be opened again, before they are served without it.
const REOPEN_PATIENCE: Duration = Duration::from_secs(1);

/// What a running edge gives to the next one.
pub(crate) struct Offer {
    /// The edge; the thread that waits for a new process must not keep it alive.
    pub(crate) app: Weak<App>,
    /// Where it listens.
    pub(crate) listeners: Arc<Mutex<Listeners>>,
    /// Told the new process's id when it has taken over.
    pub(crate) taken: oneshot::Sender<u32>,
}

/// Listens for the next process in the data directory, in a thread of its own. Only the directory's owner can connect.
pub(crate) fn offer(data_dir: &Path, offer: Offer) -> io::Result<()> {
    let listener = bind(data_dir)?;
    let serve = move || {
        for stream in listener.incoming() {
            match stream.and_then(|stream| give(&offer, stream)) {
                Ok(Some(pid)) => {
                    // An error means that the edge ends anyway.
                    let _ = offer.taken.send(pid);
                    return;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a hand-over did not come about"),
            }
        }
    };
    thread::Builder::new().name("edge-handover".into()).spawn(serve)?;
    Ok(())
}

fn bind(data_dir: &Path) -> io::Result<UnixListener> {
    // What lies there is of a process that is gone, or has just handed over: this one has the database.
    let at = SocketPath::of(data_dir)?;
    let (new, path) = (at.path("handover.new"), at.path(SOCKET));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    // It has its name only when nobody else may connect any more.
    fs::rename(&new, &path)?;
    Ok(listener)
}

/// The conversation with one new process; its id if it has taken over.
fn give(offer: &Offer, stream: UnixStream) -> io::Result<Option<u32>> {
    let mut channel = Channel::new(stream)?;
    let pid = match channel.hear(ANSWER_PATIENCE)? {
        Some(Word::Hello { protocol: PROTOCOL, pid, version }) => {
            tracing::info!(pid, version, "another process wants to take over");
            pid
        }
        Some(Word::Hello { protocol, .. }) => return keep(&mut channel, &format!("unknown protocol {protocol}")),
        Some(_) | None => return Ok(None),
    };
    let Some(app) = offer.app.upgrade().filter(|app| !app.is_draining()) else {
        return keep(&mut channel, "this edge is stopping");
    };
    {
        let listeners = offer.listeners.lock();
        let (names, sockets): (Vec<_>, Vec<_>) =
            listeners.used().iter().map(|(name, socket)| (name.clone(), socket.as_fd())).unzip();
        channel.say_with(&Word::Listeners { protocol: PROTOCOL, names }, &sockets)?;
    }
    if channel.hear(THINK_PATIENCE)? != Some(Word::Take) {
        tracing::warn!(pid, "the new process has thought better of it; nothing has changed");
        return Ok(None);
    }
    pause(&app);
    match conclude(&mut channel) {
        Ok(()) => Ok(Some(pid)),
        Err(reason) => {
            tracing::error!(pid, %reason, "the new process has not taken over: this one goes on");
            // It may be gone, or be gone in a moment: that it hears this is all that can be done for it.
            let _ = channel.say(&Word::Kept { reason });
            drop(channel);
            resume(&app);
            Ok(None)
        }
    }
}

fn keep(channel: &mut Channel, reason: &str) -> io::Result<Option<u32>> {
    tracing::warn!(reason, "not handing over");
    channel.say(&Word::Kept { reason: reason.to_owned() })?;
    Ok(None)
}

/// From the closed database to the word that the new process waits for.
fn conclude(channel: &mut Channel) -> Result<(), String> {
    channel.say(&Word::Closed).map_err(|error| error.to_string())?;
    match channel.hear(OPEN_PATIENCE) {
        Ok(Some(Word::Opened)) => channel.say(&Word::Go).map_err(|error| error.to_string()),
        Ok(Some(other)) => Err(format!("it said {other:?}")),
        Ok(None) => Err("it is gone".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Accepts no more, lets idle connections end and requests under way find what they need, and frees the database.
fn pause(app: &App) {
    let began = Instant::now();
    app.stopping.send_replace(true);
    wait(app, LAST_CALL + LOOK_UPS);
    app.cache.close();
    tracing::info!(took = ?began.elapsed(), "paused, the database is free");
}

/// Takes the database back and accepts again.
fn resume(app: &App) {
    let began = Instant::now();
    loop {
        match app.cache.resume() {
            Ok(()) => break,
            Err(error) if began.elapsed() > REOPEN_PATIENCE && *app.stopping.borrow() => {
                tracing::error!(%error, "going on without the disk until its database can be opened");
                app.stopping.send_replace(false);
            }
            Err(_) => wait(app, Duration::from_millis(50)),
        }
        if app.is_draining() {
            return;
        }
    }
    // SIGTERM may have come meanwhile: then the edge stays stopped.
    app.stopping.send_if_modified(|stopping| !app.is_draining() && std::mem::replace(stopping, false));
    tracing::info!(took = ?began.elapsed(), "serving again");
}

/// Not for a serving thread.
fn wait(app: &App, time: Duration) {
    // The timer is made inside, where there is a runtime.
    app.behind.block_on(async { tokio::time::sleep(time).await });
}
