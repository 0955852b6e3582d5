//! Which objects are known to be there: an object store that is a network away need not be asked before each read.
//!
//! What is referred to is removed by nobody. That an object was lost all the same shows when it is read; it is then forgotten here,
//! and the next request finds it missing and heals it.

use std::collections::HashMap;

use parking_lot::Mutex;
use shared::digest::Digest;

/// Objects remembered at most; beyond that, remembering begins anew.
const SEEN_MAX: usize = 100_000;

/// Digests with lengths in bytes.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<HashMap<Digest, u64>>);

impl Seen {
    pub(super) fn has(&self, digest: &Digest, len: u64) -> bool {
        self.0.lock().get(digest) == Some(&len)
    }

    pub(super) fn note(&self, digest: &Digest, len: u64) {
        let mut seen = self.0.lock();
        if seen.len() >= SEEN_MAX {
            seen.clear();
        }
        seen.insert(*digest, len);
    }

    pub(super) fn forget(&self, digest: &Digest) {
        self.0.lock().remove(digest);
    }
}
