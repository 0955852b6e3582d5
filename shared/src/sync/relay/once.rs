//! A single pass, for whoever relays by the clock.

use std::time::Duration;

use tokio::time::timeout;

use super::{Ended, LogError, PAGE_RECORDS_MAX, RESIGN_TIMEOUT, Relay, RelayEnd, ended};
use crate::sync::log::Log;
use crate::sync::writer::{BATCH_MAX, Fence, Lead, StreamStore, StreamWriter as _};

/// What a pass came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pass {
    /// So many records are new in the stream, which has all of the log's now.
    Published(u64),
    /// Another relay leads: it does this all the time.
    Led {
        /// Its name.
        by: String,
    },
}

/// Why a pass did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassError {
    /// A side does not answer, or the log moved away; try again later.
    Interrupted(String),
    /// No trying helps.
    Fatal(RelayEnd),
}

impl From<Ended> for PassError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Fatal(end) => Self::Fatal(end),
            Ended::Center(message) | Ended::Stream(message) => Self::Interrupted(message),
            Ended::Realign => Self::Interrupted("the log has moved meanwhile".to_owned()),
            Ended::Deposed => Self::Interrupted("the lease was lost".to_owned()),
        }
    }
}

impl<L: Log, S: StreamStore> Relay<L, S> {
    /// Publishes what the log has now and the stream has not. No sign of life is written: after the pass nothing follows.
    ///
    /// # Errors
    /// When a side does not answer, or the stream is another center's.
    pub async fn once(&self) -> Result<Pass, PassError> {
        let mut writer = self.store.connect().await.map_err(|error| ended("stream", error))?;
        let fence = match writer.lead(self.settings.lease).await.map_err(|error| ended(writer.name(), error))? {
            Lead::Ours(fence) => fence,
            Lead::Taken { by } => return Ok(Pass::Led { by }),
        };
        let published = self.catch_up(&mut writer, &fence).await;
        // If it cannot be given back it runs out by itself.
        let _ = timeout(RESIGN_TIMEOUT, writer.resign(&fence)).await;
        Ok(Pass::Published(published?))
    }

    async fn catch_up(&self, writer: &mut S::Writer, fence: &Fence) -> Result<u64, Ended> {
        let mut after = self.align(writer).await?;
        let mut published = 0;
        loop {
            let page =
                self.log.page(after, Duration::ZERO, PAGE_RECORDS_MAX).await.and_then(|page| page.in_order(after));
            let page = page.map_err(|error: LogError| Ended::from(error))?;
            let Some(last) = page.changes.last() else { return Ok(published) };
            after = last.id;
            for batch in page.changes.chunks(BATCH_MAX) {
                let renewed = writer.beat(fence, None, self.settings.lease).await;
                renewed.map_err(|error| ended(writer.name(), error))?;
                published += writer.add(fence, batch).await.map_err(|error| ended(writer.name(), error))?.published;
            }
        }
    }
}
