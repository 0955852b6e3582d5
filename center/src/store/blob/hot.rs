//! Small bodies in memory that were asked for of late.
//!
//! A body is named by its SHA-256, which is computed before it is taken in: what is here can neither be wrong nor grow old, whoever
//! else writes the metadata.

use bytes::Bytes;
use parking_lot::Mutex;
use shared::config::ByteSize;
use shared::digest::Digest;

use crate::store::recent::Recent;

/// What a body costs besides its bytes.
const OVERHEAD_BYTES: usize = 128;
/// Parts that are locked on their own.
const PARTS: usize = 16;

/// Small bodies by their digests.
#[derive(Debug)]
pub(in crate::store) struct Hot {
    parts: Vec<Mutex<Recent<Digest, Bytes>>>,
}

impl Hot {
    pub(in crate::store) fn new(budget: ByteSize) -> Self {
        let bytes = usize::try_from(budget.bytes()).unwrap_or(usize::MAX) / PARTS;
        Self { parts: std::iter::repeat_with(|| Mutex::new(Recent::new(bytes))).take(PARTS).collect() }
    }

    pub(in crate::store) fn get(&self, digest: &Digest) -> Option<Bytes> {
        self.part(digest).lock().get(digest)
    }

    /// Takes a body in whose digest was computed.
    pub(super) fn put(&self, digest: Digest, body: Bytes) {
        let weight = body.len() + OVERHEAD_BYTES;
        self.part(&digest).lock().put(digest, body, weight);
    }

    /// Lets go of a body that is to be fetched again.
    pub(in crate::store) fn remove(&self, digest: &Digest) {
        self.part(digest).lock().remove(digest);
    }

    fn part(&self, digest: &Digest) -> &Mutex<Recent<Digest, Bytes>> {
        // A digest is as even as any hash of it.
        &self.parts[usize::from(digest.as_bytes()[0]) % PARTS]
    }
}
