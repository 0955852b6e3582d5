//! The edge's part of a hand-over (`shared::handover`): its database is closed, so that the next process can open it.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shared::handover::{Giver, Listeners};
use tokio::sync::oneshot;

use crate::app::App;
use crate::server::LAST_CALL;

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

impl Giver for Offer {
    fn listeners(&self) -> &Mutex<Listeners> {
        &self.listeners
    }

    fn is_ending(&self) -> bool {
        self.app.upgrade().is_none_or(|app| app.is_draining())
    }

    fn pause(&self) {
        if let Some(app) = self.app.upgrade() {
            pause(&app);
        }
    }

    fn resume(&self) {
        if let Some(app) = self.app.upgrade() {
            resume(&app);
        }
    }

    fn replaced(self, pid: u32) {
        // An error means that the edge ends anyway.
        let _ = self.taken.send(pid);
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
