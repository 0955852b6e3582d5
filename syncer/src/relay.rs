//! The relay: every record of the center's change feed becomes an entry of the repository's Redis stream.
//!
//! Exactly once needs no memory of ours: the entry's id is the record's, so Redis refuses a second one, and the stream's
//! own last id says where to go on. A session lasts while both sides answer; when one does not, the next session begins
//! by reading that id again. The next page is asked for when the last is in the stream, so nothing piles up here.

use std::convert::Infallible;
use std::time::Duration;

use redis::Client;
use shared::change::ChangeId;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::backoff::Backoff;
use crate::error::SyncerError;
use crate::feed::{Feed, FeedError, PAGE_RECORDS_MAX};
use crate::metrics::Metrics;
use crate::stream::{BATCH_MAX, Stream, StreamError};

/// How long one request waits for the next record.
const LONG_POLL: Duration = Duration::from_secs(30);

/// An empty page sooner than this is no long poll's; the next question waits as long.
const QUIET: Duration = Duration::from_millis(100);

/// How often the sign of life is written.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long the head may take to come for a sign of life.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// What one relay works with.
pub(crate) struct Relay {
    feed: Feed,
    redis: Client,
    repository: String,
    metrics: Metrics,
    ready: watch::Sender<bool>,
}

/// Why a session ended.
#[derive(Debug)]
enum Ended {
    Center(String),
    Redis(String),
    /// The log no longer has the place we were at: find the place again.
    Realign,
    Fatal(SyncerError),
}

impl From<StreamError> for Ended {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Unavailable(message) => Self::Redis(message),
            StreamError::Fatal(error) => Self::Fatal(error),
        }
    }
}

impl From<FeedError> for Ended {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Gone(_) => Self::Realign,
            FeedError::Unavailable(message) | FeedError::Malformed(message) => Self::Center(message),
        }
    }
}

/// Where the feed is to be read from, given the stream's last id and the log's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// From the record after this one.
    After(ChangeId),
    /// The stream is ahead of the log.
    Foreign,
}

/// The decision that a session begins with; no input or output in it.
fn start(last: ChangeId, head: ChangeId) -> Start {
    if last == ChangeId::ZERO {
        // A new stream, or one that Redis lost: all that the log keeps.
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

fn foreign(stream: &Stream, stream_id: ChangeId, head: ChangeId) -> Ended {
    Ended::Fatal(SyncerError::ForeignStream { stream: stream.key().to_owned(), stream_id, head })
}

impl Relay {
    /// A relay of `repository`; `ready` tells whether it works.
    pub(crate) fn new(
        feed: Feed,
        redis: Client,
        repository: &str,
        metrics: Metrics,
        ready: watch::Sender<bool>,
    ) -> Self {
        Self { feed, redis, repository: repository.to_owned(), metrics, ready }
    }

    /// Relays until the process ends, through any outage; returns only when no trying helps.
    pub(crate) async fn run(self) -> SyncerError {
        let mut backoff = Backoff::default();
        loop {
            let Err(ended) = self.session(&mut backoff).await;
            self.set_ready(false);
            let (side, message) = match ended {
                Ended::Fatal(error) => return error,
                Ended::Center(message) => ("center", message),
                Ended::Redis(message) => ("redis", message),
                Ended::Realign => ("center", "the log has moved".to_owned()),
            };
            self.metrics.relay_failures.with_label_values(&[&self.repository, side]).inc();
            let wait = backoff.next();
            tracing::warn!(side, error = %message, wait_ms = wait.as_millis(), "the relay is interrupted");
            sleep(wait).await;
        }
    }

    /// Publishes what the feed has now and the stream has not; returns how many records that were.
    pub(crate) async fn catch_up(&self) -> Result<u64, String> {
        let said = |ended: Ended| match ended {
            Ended::Fatal(error) => error.to_string(),
            Ended::Center(message) | Ended::Redis(message) => message,
            Ended::Realign => "the log has moved meanwhile".to_owned(),
        };
        let mut stream = Stream::connect(&self.redis, &self.repository).await.map_err(|error| said(error.into()))?;
        let mut after = self.align(&mut stream).await.map_err(said)?;
        let mut published = 0;
        loop {
            let page = self.feed.page(after, Duration::ZERO, PAGE_RECORDS_MAX).await.map_err(|error| said(error.into()))?;
            let Some(last) = page.changes.last() else { return Ok(published) };
            after = last.id;
            for batch in page.changes.chunks(BATCH_MAX) {
                published += stream.add(batch).await.map_err(|error| said(error.into()))?.published;
            }
        }
    }

    async fn session(&self, backoff: &mut Backoff) -> Result<Infallible, Ended> {
        let mut stream = Stream::connect(&self.redis, &self.repository).await?;
        let after = self.align(&mut stream).await?;
        tracing::info!(stream = stream.key(), %after, "the relay follows the change feed");
        backoff.reset();
        self.set_ready(true);
        tokio::select! {
            ended = self.publish(stream.clone(), after) => ended,
            ended = self.heartbeat(stream, after) => ended,
        }
    }

    /// Finds the place to go on from. The head is read after the stream's id: only then does "ahead" mean foreign.
    async fn align(&self, stream: &mut Stream) -> Result<ChangeId, Ended> {
        let last = stream.last_id().await?;
        let head = self.feed.head(last).await?;
        let after = match start(last, head) {
            Start::After(after) => after,
            Start::Foreign => return Err(foreign(stream, last, head)),
        };
        if after == ChangeId::ZERO {
            return Ok(after);
        }
        match self.feed.page(after, Duration::ZERO, 1).await {
            Ok(_) => Ok(after),
            Err(FeedError::Gone(_)) => {
                tracing::warn!(%after, "the center keeps no record right after the stream's last one; edges fill the gap from the feed");
                self.metrics.relay_gaps.with_label_values(&[&self.repository]).inc();
                Ok(ChangeId::ZERO)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn publish(&self, mut stream: Stream, mut after: ChangeId) -> Result<Infallible, Ended> {
        loop {
            let asked = Instant::now();
            let page = self.feed.page(after, LONG_POLL, PAGE_RECORDS_MAX).await?;
            if page.changes.is_empty() && asked.elapsed() < QUIET {
                // A center that is about to stop answers its long polls at once.
                sleep(QUIET).await;
            }
            for batch in page.changes.chunks(BATCH_MAX) {
                let added = stream.add(batch).await?;
                self.metrics.relay_published.with_label_values(&[&self.repository]).inc_by(added.published);
                self.metrics.relay_refused.with_label_values(&[&self.repository]).inc_by(added.refused);
                if added.refused > 0 {
                    self.check_owner(&mut stream, page.head).await?;
                }
                after = batch.last().map_or(after, |change| change.id);
            }
        }
    }

    /// A refusal means "already there": by an earlier session, by another relay of this center, or, if the stream is
    /// ahead of the log, by another center.
    async fn check_owner(&self, stream: &mut Stream, page_head: ChangeId) -> Result<(), Ended> {
        let last = stream.last_id().await?;
        if last <= page_head {
            return Ok(());
        }
        let head = self.feed.head(page_head).await?;
        if last > head { Err(foreign(stream, last, head)) } else { Ok(()) }
    }

    async fn heartbeat(&self, mut stream: Stream, mut head: ChangeId) -> Result<Infallible, Ended> {
        let mut ticks = interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match timeout(HEAD_TIMEOUT, self.feed.head(head)).await {
                Ok(Ok(now)) => {
                    head = now;
                    stream.beat(head).await?;
                    self.set_ready(true);
                }
                // Not a sign of life of ours alone: without the feed the channel is not healthy, and the edges must see it.
                Ok(Err(_)) | Err(_) => self.set_ready(false),
            }
        }
    }

    fn set_ready(&self, ready: bool) {
        self.metrics.relay_up.set(i64::from(ready));
        self.ready.send_if_modified(|now| std::mem::replace(now, ready) != ready);
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
