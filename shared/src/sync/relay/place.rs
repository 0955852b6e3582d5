//! Where a session goes on: after the stream's last entry, if that is one of the log's.

use std::time::Duration;

use super::{Ended, Relay, RelayEvent, ended, foreign};
use crate::change::ChangeId;
use crate::sync::log::{Log, LogError};
use crate::sync::writer::{StreamStore, StreamWriter as _};

/// Where the log is to be read from, given the stream's last id and the log's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// From the record after this one.
    After(ChangeId),
    /// The stream is ahead of the log.
    Foreign,
}

/// The decision that a session begins with.
pub(super) fn start(last: ChangeId, head: ChangeId) -> Start {
    if last == ChangeId::ZERO {
        // A new stream, or one that was lost: all that the log keeps.
        return Start::After(ChangeId::ZERO);
    }
    if last > head {
        return Start::Foreign;
    }
    if last.epoch < head.epoch {
        return Start::After(ChangeId { epoch: head.epoch, seq: 0 });
    }
    Start::After(last)
}

impl<L: Log, S: StreamStore> Relay<L, S> {
    /// Finds the place to go on from.
    pub(super) async fn align(&self, writer: &mut S::Writer) -> Result<ChangeId, Ended> {
        let last = writer.last_id().await.map_err(|error| ended(writer.name(), error))?;
        let head = self.log.head(last).await?;
        let after = match start(last, head) {
            Start::After(after) => after,
            Start::Foreign => return Err(foreign(writer, last, head)),
        };
        if after == ChangeId::ZERO {
            return Ok(after);
        }
        match self.log.page(after, Duration::ZERO, 1).await {
            Ok(_) => Ok(after),
            Err(LogError::Gone(_)) => {
                tracing::warn!(%after, "the center keeps no record right after the stream's last one; edges fill the gap from the feed");
                (self.told)(RelayEvent::Gap);
                Ok(ChangeId::ZERO)
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(epoch: u64, seq: u64) -> ChangeId {
        ChangeId { epoch, seq }
    }

    #[test]
    fn a_session_begins_where_the_stream_ends() {
        let head = id(2000, 10);
        for (last, expected) in [
            (ChangeId::ZERO, Start::After(ChangeId::ZERO)),
            (id(2000, 4), Start::After(id(2000, 4))),
            (id(2000, 10), Start::After(id(2000, 10))),
            (id(2000, 11), Start::Foreign),
            (id(3000, 1), Start::Foreign),
            (id(1000, 99), Start::After(id(2000, 0))),
        ] {
            assert_eq!(start(last, head), expected, "{last}");
        }
    }
}
