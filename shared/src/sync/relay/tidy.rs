//! Keeping the stream small, and free of edges that are gone.

use std::convert::Infallible;

use tokio::time::sleep;

use super::{Ended, Relay, RelayEvent};
use crate::sync::log::Log;
use crate::sync::writer::{Fence, StreamStore, StreamWriter as _, WriteError};

impl<L: Log, S: StreamStore> Relay<L, S> {
    /// Trims the stream and removes groups of edges that are gone. Nothing depends on it: a failure waits for the next round.
    pub(super) async fn tidy(&self, mut writer: S::Writer, fence: &Fence) -> Result<Infallible, Ended> {
        loop {
            sleep(self.settings.tidy).await;
            match self.tidy_once(&mut writer, fence).await {
                Ok(()) => {}
                Err(WriteError::NotLeading) => return Err(Ended::Deposed),
                Err(WriteError::Unavailable(message) | WriteError::NotAStream(message)) => {
                    tracing::warn!(error = message, "the stream was not trimmed");
                }
            }
        }
    }

    async fn tidy_once(&self, writer: &mut S::Writer, fence: &Fence) -> Result<(), WriteError> {
        let keep = &self.settings.keep;
        let last = writer.last_id().await?;
        let young = writer.first_younger(keep.age).await?;
        let slowest = writer.slowest().await?;
        if let Some(first) = keep.first_kept(last, young, slowest) {
            let trimmed = writer.trim(fence, first).await?;
            (self.told)(RelayEvent::Trimmed(trimmed));
        }
        let retired = writer.retire(fence, keep.group).await?;
        if !retired.is_empty() {
            tracing::info!(groups = ?retired, "groups of edges that gave no sign of life were removed");
            (self.told)(RelayEvent::Retired(retired.len() as u64));
        }
        Ok(())
    }
}
