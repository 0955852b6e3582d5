//! Bodies on their way into the store.

use std::path::PathBuf;

use bytes::Bytes;
use shared::digest::Digest;

use super::Stored;

/// A body on its way into the store.
#[derive(Debug, Clone)]
pub(crate) enum NewBody {
    /// In memory.
    Memory(Bytes),
    /// In a file of the spool directory. It is copied; removing it is the caller's.
    File {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
        /// Its SHA-256.
        digest: Digest,
    },
}

impl NewBody {
    /// SHA-256 of the body.
    pub(crate) fn digest(&self) -> Digest {
        match self {
            Self::Memory(bytes) => Digest::of(bytes),
            Self::File { digest, .. } => *digest,
        }
    }

    /// Length in bytes.
    pub(crate) const fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }
}

/// A body that lies safely in the store, but to which no metadata refers yet. A small one travels in the batch of the
/// metadata itself.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    /// How metadata refers to it.
    pub(crate) stored: Stored,
    /// The bytes, if the batch must carry them.
    pub(in crate::store) small: Option<Bytes>,
}
