//! Why the syncer stops. Everything else is tried again.

use std::io;
use std::path::PathBuf;

use shared::change::ChangeId;
use shared::sync::RelayEnd;

use crate::prewarm::PrewarmError;

/// One line for the operator: what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncerError {
    /// The admin address cannot be had.
    #[error("admin: cannot listen on {address}: {source}; stop what uses it or set MODTIER_SYNCER_ADMIN")]
    Bind {
        /// The address that was configured.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The announcement cannot be written.
    #[error("announcement {}: {source}; name a file in a folder that can be written", file.display())]
    Announce {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Signals cannot be received.
    #[error("cannot watch for signals: {0}")]
    Signal(io::Error),
    /// A setting cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client: {0}")]
    Client(reqwest::Error),
    /// The stream holds records that the center does not have.
    #[error(
        "stream {stream}: its last id {stream_id} is ahead of the center's log, which is at {head}: \
         another center writes to this Redis, or the center was restored from an older copy; \
         name another Redis or, if the log is right, delete the stream"
    )]
    ForeignStream {
        /// The stream's key.
        stream: String,
        /// Its last id.
        stream_id: ChangeId,
        /// The head of the center's log.
        head: ChangeId,
    },
    /// Another kind of value stands where the stream should be.
    #[error("stream {stream}: the key holds something else: {message}")]
    NotAStream {
        /// The stream's key.
        stream: String,
        /// What Redis said.
        message: String,
    },
    /// What is to be kept warm cannot be.
    #[error(transparent)]
    Prewarm(#[from] PrewarmError),
    /// The admin listener ended.
    #[error("admin listener: {0}")]
    Serve(io::Error),
}

impl From<RelayEnd> for SyncerError {
    fn from(end: RelayEnd) -> Self {
        match end {
            RelayEnd::Foreign { stream, stream_id, head } => Self::ForeignStream { stream, stream_id, head },
            RelayEnd::NotAStream { stream, message } => Self::NotAStream { stream, message },
        }
    }
}
