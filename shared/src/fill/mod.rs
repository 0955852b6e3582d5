//! A body that grows while it is read.
//!
//! A [`Fill`] belongs to a key, not to a client: one task fetches from an upstream and writes through the [`FillWriter`], any number of
//! [`Reader`]s follow at their own pace. The last [`TAIL`] bytes are held back until the writer has proof that the body is right and
//! [commits](FillWriter::commit); a zip's directory stands at its end, so what a failed fill has let out cannot be used. A fill ends in
//! exactly one of: committed, or failed, and then every reader gets an error, never a clean end.
//!
//! ```text
//!            write ──▶ [ released to readers …………………… | held back: TAIL ]
//!   upstream ──▶ FillWriter ── seal ─▶ proof, store ── commit ─▶ tail released, end
//!                    └── fail, or dropped ─▶ every reader gets the error
//! ```

mod error;
mod flights;
mod spool;
mod writer;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use error::{FillError, FillErrorKind};
pub use flights::{Flights, Joined};
use spool::Spool;
pub use spool::{SPOOL_PREFIX, Spooled};
pub use writer::FillWriter;

/// How many bytes at the end of a body are held back until the body is proven.
pub const TAIL: u64 = 64 * 1024;

/// Bodies up to this size stay in memory; larger ones are spooled to a temporary file.
pub const MEMORY_MAX: u64 = 64 * 1024;

/// How far a fill is; what readers wait on.
#[derive(Debug, Clone, Default)]
struct Progress {
    has_head: bool,
    released: u64,
    end: Option<Result<(), FillError>>,
}

/// A body in the making, shared by its readers.
#[derive(Debug)]
pub struct Fill<H> {
    head: Mutex<Option<Arc<H>>>,
    spool: Spool,
    progress: watch::Sender<Progress>,
}

impl<H> Fill<H> {
    fn new(spool: Spool) -> Self {
        Self { head: Mutex::new(None), spool, progress: watch::Sender::new(Progress::default()) }
    }

    /// Waits for what is known before the body: the writer's head.
    ///
    /// # Errors
    /// The fill's own, when it failed before it had a head.
    pub async fn head(&self) -> Result<Arc<H>, FillError> {
        let mut progress = self.progress.subscribe();
        let state =
            progress.wait_for(|p| p.has_head || p.end.is_some()).await.map_err(|_| FillError::abandoned())?.clone();
        if let Some(head) = self.head.lock().clone() {
            return Ok(head);
        }
        match state.end {
            Some(Err(error)) => Err(error),
            Some(Ok(())) | None => Err(FillError::abandoned()),
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Why the fill failed.
    pub async fn done(&self) -> Result<(), FillError> {
        let mut progress = self.progress.subscribe();
        let state = progress.wait_for(|p| p.end.is_some()).await.map_err(|_| FillError::abandoned())?;
        state.end.clone().unwrap_or_else(|| Err(FillError::abandoned()))
    }

    /// How many bytes readers may have so far.
    pub fn released_len(&self) -> u64 {
        self.progress.borrow().released
    }

    /// Whether the fill was committed or has failed.
    pub fn has_ended(&self) -> bool {
        self.progress.borrow().end.is_some()
    }

    /// A reader that starts at the first byte.
    pub fn reader(self: &Arc<Self>) -> Reader<H> {
        Reader { progress: self.progress.subscribe(), fill: Arc::clone(self), position: 0 }
    }
}

/// One client's position in a growing body.
#[derive(Debug)]
pub struct Reader<H> {
    fill: Arc<Fill<H>>,
    progress: watch::Receiver<Progress>,
    position: u64,
}

impl<H> Reader<H> {
    /// The next bytes, `None` after the last ones of a committed body.
    ///
    /// # Errors
    /// The fill's, as soon as it failed; also when the spooled bytes cannot be read back.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FillError> {
        loop {
            let (released, end) = {
                let progress = self.progress.borrow_and_update();
                (progress.released, progress.end.clone())
            };
            if let Some(Err(error)) = end {
                return Err(error);
            }
            if self.position < released {
                let chunk = self.fill.spool.read(self.position, released).await.map_err(|e| spool_error(&e))?;
                self.position += chunk.len() as u64;
                return Ok(Some(chunk));
            }
            if end.is_some() {
                return Ok(None);
            }
            self.progress.changed().await.map_err(|_| FillError::abandoned())?;
        }
    }
}

/// The client learns that storage failed, the log learns why.
fn spool_error(error: &io::Error) -> FillError {
    tracing::error!(%error, "spooling a body failed");
    FillError::new(FillErrorKind::Storage, "the body could not be stored")
}

#[cfg(test)]
mod tests;
