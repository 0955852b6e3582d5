//! The old side: gives its sockets and its data directory away, and goes on if the new one fails.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::channel::Channel;
use super::{ANSWER_PATIENCE, Listeners, OPEN_PATIENCE, PROTOCOL, SOCKET, SocketPath, Word};

/// How long the new process may think between the sockets and taking over: it binds what it needs besides.
const THINK_PATIENCE: Duration = Duration::from_secs(30);

/// A running server, as the hand-over needs it. All of it is called in a thread where waiting is allowed.
pub trait Giver: Send + 'static {
    /// Where it listens.
    fn listeners(&self) -> &Mutex<Listeners>;

    /// Whether it is ending, and so has nothing to give.
    fn is_ending(&self) -> bool;

    /// Accepts no more, lets idle connections end and requests under way find what they need, and frees the data directory.
    fn pause(&self);

    /// Takes the data directory back and accepts again: the new process has failed.
    fn resume(&self);

    /// The process with this id has taken over.
    fn replaced(self, pid: u32);
}

/// Listens for the next process in the data directory, in a thread of its own. Only the directory's owner can connect.
///
/// # Errors
/// When there can be no socket in the data directory.
pub fn offer(data_dir: &Path, giver: impl Giver) -> io::Result<()> {
    let listener = bind(data_dir)?;
    let serve = move || {
        for stream in listener.incoming() {
            match stream.and_then(|stream| give(&giver, stream)) {
                Ok(Some(pid)) => {
                    giver.replaced(pid);
                    return;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a hand-over did not come about"),
            }
        }
    };
    thread::Builder::new().name("handover".into()).spawn(serve)?;
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
fn give(giver: &impl Giver, stream: UnixStream) -> io::Result<Option<u32>> {
    let mut channel = Channel::new(stream)?;
    let pid = match channel.hear(ANSWER_PATIENCE)? {
        Some(Word::Hello { protocol: PROTOCOL, pid, version }) => {
            tracing::info!(pid, version, "another process wants to take over");
            pid
        }
        Some(Word::Hello { protocol, .. }) => return keep(&mut channel, &format!("unknown protocol {protocol}")),
        Some(_) | None => return Ok(None),
    };
    if giver.is_ending() {
        return keep(&mut channel, "this one is stopping");
    }
    {
        let listeners = giver.listeners().lock();
        let (names, sockets): (Vec<_>, Vec<_>) =
            listeners.used().iter().map(|(name, socket)| (name.clone(), socket.as_fd())).unzip();
        channel.say_with(&Word::Listeners { protocol: PROTOCOL, names }, &sockets)?;
    }
    if channel.hear(THINK_PATIENCE)? != Some(Word::Take) {
        tracing::warn!(pid, "the new process has thought better of it; nothing has changed");
        return Ok(None);
    }
    giver.pause();
    match conclude(&mut channel) {
        Ok(()) => Ok(Some(pid)),
        Err(reason) => {
            tracing::error!(pid, %reason, "the new process has not taken over: this one goes on");
            // It may be gone, or be gone in a moment: that it hears this is all that can be done for it.
            let _ = channel.say(&Word::Kept { reason });
            drop(channel);
            giver.resume();
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
