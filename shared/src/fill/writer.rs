//! The one hand that writes a growing body.

use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempPath;

use super::spool::Spooled;
use super::{Fill, FillError, TAIL, spool_error};
use crate::digest::{Digest, Hasher};

/// Writes one [`Fill`]. Dropped without an end, it fails the fill: a panic in the filling task is an error for its readers.
#[derive(Debug)]
pub struct FillWriter<H> {
    fill: Arc<Fill<H>>,
    hasher: Hasher,
    written: u64,
    path: Option<TempPath>,
    ended: bool,
}

impl<H> FillWriter<H> {
    pub(super) fn new(fill: Arc<Fill<H>>) -> Self {
        Self { fill, hasher: Hasher::default(), written: 0, path: None, ended: false }
    }

    /// Says what is known before the body; readers of [`Fill::head`] go on.
    pub fn head(&mut self, head: H) {
        *self.fill.head.lock() = Some(Arc::new(head));
        self.fill.progress.send_modify(|p| p.has_head = true);
    }

    /// Appends to the body and lets readers have all but the last [`TAIL`] bytes.
    ///
    /// # Errors
    /// When the bytes cannot be spooled; the caller then fails the fill with the error.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), FillError> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.hasher.update(&chunk);
        self.written += chunk.len() as u64;
        if let Some(path) = self.fill.spool.append(chunk).await.map_err(|e| spool_error(&e))? {
            self.path = Some(path);
        }
        let released = self.written.saturating_sub(TAIL);
        if released > 0 {
            self.fill.progress.send_modify(|p| p.released = released);
        }
        Ok(())
    }

    /// How many bytes were written.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Whether readers may have some of the body: then it can be gone on with, but not begun anew.
    pub fn is_released(&self) -> bool {
        self.fill.released_len() > 0
    }

    /// Whether anybody waits for the body or reads it just now.
    pub fn is_followed(&self) -> bool {
        self.fill.progress.receiver_count() > 0
    }

    /// Begins the body anew, with what another source sends.
    ///
    /// # Panics
    /// When some of it is [released](FillWriter::is_released): readers would get a mixture.
    pub fn restart(&mut self) {
        assert!(!self.is_released(), "a body that readers have a part of cannot be begun anew");
        self.fill.spool.clear();
        (self.hasher, self.written, self.path) = (Hasher::default(), 0, None);
    }

    /// The SHA-256 of all bytes written so far.
    pub fn digest_so_far(&self) -> Digest {
        self.hasher.digest()
    }

    /// The complete body, for proof and storage, while its tail is still held back.
    ///
    /// It can be taken once; a body that was spooled to a file and taken again would have no file any more.
    pub fn seal(&mut self) -> Spooled {
        self.fill.spool.spooled(self.path.take(), self.hasher.digest())
    }

    /// The body is proven and stored: readers get the tail and a clean end.
    pub fn commit(mut self) {
        let written = self.written;
        self.end(Ok(()), Some(written));
    }

    /// Every reader gets the error, never a clean end.
    pub fn fail(mut self, error: FillError) {
        self.end(Err(error), None);
    }

    fn end(&mut self, how: Result<(), FillError>, released: Option<u64>) {
        self.ended = true;
        self.fill.progress.send_modify(|p| {
            p.released = released.unwrap_or(p.released);
            p.end = Some(how);
        });
    }
}

impl<H> Drop for FillWriter<H> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Err(FillError::abandoned()), None);
        }
    }
}
