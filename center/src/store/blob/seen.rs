//! Which objects are known to be there: an object store that is a network away need not be asked before each read.
//!
//! What is referred to is removed by nobody. That an object was lost all the same shows when it is read; it is then forgotten here,
//! and the next request finds it missing and heals it.

use std::collections::HashMap;

use parking_lot::Mutex;
use shared::digest::Digest;

use super::BlobRef;

/// Objects remembered at most; beyond that, remembering begins anew.
const SEEN_MAX: usize = 100_000;

/// By digest and generation, lengths in bytes.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<HashMap<(Digest, u32), u64>>);

impl Seen {
    pub(super) fn has(&self, blob: &BlobRef) -> bool {
        self.0.lock().get(&(blob.digest, blob.generation)) == Some(&blob.len)
    }

    pub(super) fn note(&self, blob: &BlobRef) {
        let mut seen = self.0.lock();
        if seen.len() >= SEEN_MAX {
            seen.clear();
        }
        seen.insert((blob.digest, blob.generation), blob.len);
    }

    pub(super) fn forget(&self, blob: &BlobRef) {
        self.0.lock().remove(&(blob.digest, blob.generation));
    }
}
