//! The center's part of a hand-over (`shared::handover`): what only one process may hold is given up, and taken back if the next
//! one fails.
//!
//! | metadata | what the old process still does once it is replaced |
//! |---|---|
//! | RocksDB | sends what it has begun to send; what must be committed (a fill, an upload) and was not ready in time is 503, or aborted |
//! | PostgreSQL | ends everything that it has begun |

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use shared::handover::Listeners;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::app::App;

/// How long clients are told to come by another connection before those that are idle are closed.
pub(crate) const LAST_CALL: Duration = Duration::from_millis(200);
/// How long a request that has no answer yet may go on before the database is closed under it.
const ANSWERS_PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether there is one.
const ANSWERS_PAUSE: Duration = Duration::from_millis(5);
/// What to wait before the database is opened again that could not be.
const REOPEN_PAUSE: Duration = Duration::from_millis(50);

/// What happens to a center that is running.
pub(crate) enum Step {
    /// It is to pause, and to say when it does.
    Pause(oneshot::Sender<()>),
    /// It goes on: the new process has failed.
    Resume,
    /// The process with this id has taken over.
    Replaced(u32),
}

/// What a running center gives to the next one.
pub(crate) struct Giver {
    /// The thread that waits for a new process must not keep the center alive.
    pub(crate) app: Weak<App>,
    /// Where it listens.
    pub(crate) listeners: Arc<Mutex<Listeners>>,
    /// Told what happens.
    pub(crate) steps: mpsc::Sender<Step>,
}

impl shared::handover::Giver for Giver {
    fn listeners(&self) -> &Mutex<Listeners> {
        &self.listeners
    }

    fn is_ending(&self) -> bool {
        self.app.upgrade().is_none_or(|app| *app.stopping.borrow())
    }

    fn pause(&self) {
        let (paused, pausing) = oneshot::channel();
        // A center that ends hears nothing any more, and its process holds nothing for long.
        if self.steps.blocking_send(Step::Pause(paused)).is_ok() {
            let _ = pausing.blocking_recv();
        }
    }

    fn resume(&self) {
        let _ = self.steps.blocking_send(Step::Resume);
    }

    fn replaced(self, pid: u32) {
        let _ = self.steps.blocking_send(Step::Replaced(pid));
    }
}

/// Requests that have no answer yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unanswered(Arc<AtomicUsize>);

/// One of them, until it is dropped.
pub(crate) struct Asking(Unanswered);

impl Unanswered {
    pub(crate) fn begin(&self) -> Asking {
        self.0.fetch_add(1, Ordering::AcqRel);
        Asking(self.clone())
    }

    async fn none(&self) {
        while self.0.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(ANSWERS_PAUSE).await;
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Lets requests find what they need, writes what was only counted, and closes the store. Nothing is accepted any more.
pub(crate) async fn close(app: &App, unanswered: &Unanswered) {
    let began = Instant::now();
    if tokio::time::timeout(ANSWERS_PATIENCE, unanswered.none()).await.is_err() {
        tracing::warn!("some requests are not answered in time: what they would store, they cannot");
    }
    write_counts(app).await;
    if let Err(error) = app.store.close().await {
        tracing::error!(%error, "the store cannot be closed for the next process");
    }
    tracing::info!(took = ?began.elapsed(), "paused, the data directory is free");
}

/// Opens the store again, however long that takes: the new process may have to end first.
pub(crate) async fn reopen(app: &App) {
    let began = Instant::now();
    let mut is_told = false;
    while let Err(error) = app.store.reopen().await {
        if !is_told {
            tracing::error!(%error, "the store cannot be opened again yet");
            is_told = true;
        }
        tokio::time::sleep(REOPEN_PAUSE).await;
    }
    tracing::info!(took = ?began.elapsed(), "serving again");
}

/// Writes what is counted in memory.
pub(crate) async fn write_counts(app: &App) {
    app.downloads.write(app).await;
    if let Err(error) = app.store.write_uses().await {
        tracing::warn!(%error, "the last uses of versions could not be written");
    }
}
