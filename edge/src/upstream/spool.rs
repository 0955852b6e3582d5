//! A fill's body on its way into the cache.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use shared::digest::Digest;
use shared::fill::{FillError, FillErrorKind, FillWriter, TAIL};

use super::body::Sink;
use super::proof::Promise;
use super::{BodyHead, FillHead};
use crate::app::{App, Kept};
use crate::cache::{Meta, Ticket};

/// So long must nobody wait for a fill before it counts as left: a client that just takes over from another is not there for a moment.
const LEFT: Duration = Duration::from_secs(1);

/// Writes a fill, and watches whether anybody still wants it.
pub(super) struct Spool<'a> {
    writer: &'a mut FillWriter<FillHead>,
    proven: Arc<OnceLock<(Digest, u64)>>,
    head_is_said: bool,
    unattended: Option<Unattended>,
}

/// How far a fill may go that a client began and that nobody waits for any more.
struct Unattended {
    period_max: Duration,
    bytes_max: u64,
    since: Option<Instant>,
}

impl<'a> Spool<'a> {
    /// For a fill that a client waits for, or that was begun for the cache's own sake.
    pub(super) fn new(app: &App, writer: &'a mut FillWriter<FillHead>, for_a_client: bool) -> Self {
        let config = app.config();
        let limits = &config.limits;
        let unattended = for_a_client.then(|| Unattended {
            period_max: limits.unattended_fill.get().max(LEFT),
            bytes_max: limits.unattended_fill_bytes_max.bytes(),
            since: None,
        });
        Self { writer, proven: Arc::default(), head_is_said: false, unattended }
    }

    /// Stores the proven body, if it is to be stored. What the caller lets go after this may be answered with its length and digest.
    pub(super) async fn keep(&mut self, app: &App, ticket: Ticket, promise: Promise) -> Result<Kept, FillError> {
        self.say_head(&promise);
        let spooled = self.writer.seal();
        let (digest, len) = (spooled.digest(), spooled.len());
        let kept = if promise.no_store {
            Kept::Yes
        } else {
            let meta = Meta::filled(digest, len, promise.modified, promise.change_id);
            app.commit(ticket, meta, spooled).await?
        };
        // Set before the tail is let go: a reader that waits for the end finds length and digest proven.
        let _ = self.proven.set((digest, len));
        Ok(kept)
    }

    /// Once, when no other center can begin the body anew any more.
    fn say_head(&mut self, promise: &Promise) {
        if self.head_is_said {
            return;
        }
        self.head_is_said = true;
        self.writer.head(FillHead::Body(BodyHead {
            digest: promise.digest,
            len: promise.len,
            modified: promise.modified,
            change_id: promise.change_id,
            no_store: promise.no_store,
            caveat: promise.caveat,
            proven: Arc::clone(&self.proven),
        }));
    }
}

impl Sink for Spool<'_> {
    fn written(&self) -> u64 {
        self.writer.written()
    }

    fn is_released(&self) -> bool {
        self.writer.is_released()
    }

    fn digest_so_far(&self) -> Digest {
        self.writer.digest_so_far()
    }

    async fn write(&mut self, promise: &Promise, bytes: Bytes) -> Result<(), FillError> {
        if let Some(unattended) = &mut self.unattended {
            let len = promise.len.unwrap_or(0).max(self.writer.written());
            unattended.check(self.writer.is_followed(), len)?;
        }
        if self.writer.written() + bytes.len() as u64 > TAIL {
            self.say_head(promise);
        }
        self.writer.write(bytes).await
    }

    fn restart(&mut self) {
        self.writer.restart();
    }
}

impl Unattended {
    fn check(&mut self, is_followed: bool, len: u64) -> Result<(), FillError> {
        if is_followed {
            self.since = None;
            return Ok(());
        }
        let left = self.since.get_or_insert_with(Instant::now).elapsed();
        if left < LEFT || (left < self.period_max && len <= self.bytes_max) {
            return Ok(());
        }
        Err(FillError::new(FillErrorKind::Abandoned, "nobody waits for it any more"))
    }
}
