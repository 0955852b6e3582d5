//! The relay: every record of the center's log becomes an entry of the repository's stream.
//!
//! Any number of relays may run; the one that holds the lease leads, the others stand by and see every second whether it still
//! does. Exactly once needs no memory: the entry's id is the record's, so the stream refuses a second one, and the stream's own
//! last id says where to go on. A session lasts while both sides answer and the lease is ours; then the next one begins by
//! reading that id again. The next page is asked for when the last is in the stream, so nothing piles up here.

mod once;
mod place;
mod tidy;

use std::convert::Infallible;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::keep::Keep;
use super::log::{Log, LogError, PAGE_RECORDS_MAX};
use super::writer::{BATCH_MAX, Fence, Lead, StreamStore, StreamWriter, WriteError};
use crate::backoff::{Backoff, Jitter};
use crate::change::ChangeId;

pub use self::once::{Pass, PassError};
use self::place::{Start, start};

/// How long one request waits for the next record.
const LONG_POLL: Duration = Duration::from_secs(30);

/// An empty page sooner than this is no long poll's; the next question waits as long.
const QUIET: Duration = Duration::from_millis(100);

/// How long the head may take to come for a sign of life.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// How long giving the lease back may take at the end.
const RESIGN_TIMEOUT: Duration = Duration::from_secs(1);

/// The relay's times and bounds.
#[derive(Debug, Clone, Copy)]
pub struct RelaySettings {
    /// How long the lease lasts without being renewed.
    pub lease: Duration,
    /// How often the sign of life is written and the lease renewed, or, standing by, asked for.
    pub heartbeat: Duration,
    /// How often the stream is trimmed and groups are looked after.
    pub tidy: Duration,
    /// What the stream holds on to.
    pub keep: Keep,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(5),
            heartbeat: Duration::from_secs(1),
            tidy: Duration::from_secs(10),
            keep: Keep::default(),
        }
    }
}

/// What the relay noticed, for whoever keeps figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayEvent {
    /// It does its part: it carries changes, or stands by for the one that does. False while a side does not answer.
    Ready(bool),
    /// It leads from now on, or no longer.
    Leads(bool),
    /// So many records are new in the stream.
    Published(u64),
    /// So many records were in the stream already.
    Refused(u64),
    /// The log no longer keeps what comes after the stream's last entry: a hole had to be left.
    Gap,
    /// The center did not answer.
    CenterFailed,
    /// The stream did not.
    StreamFailed,
    /// So many entries were trimmed.
    Trimmed(u64),
    /// So many groups of edges that are gone were removed.
    Retired(u64),
}

/// Why the relay ends: no trying helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayEnd {
    /// The stream holds records that the center does not have.
    Foreign {
        /// The stream's name.
        stream: String,
        /// Its last id.
        stream_id: ChangeId,
        /// The head of the center's log.
        head: ChangeId,
    },
    /// Something else stands where the stream should be.
    NotAStream {
        /// The stream's name.
        stream: String,
        /// What is wrong.
        message: String,
    },
}

/// A relay of one repository.
pub struct Relay<L, S: StreamStore> {
    log: L,
    store: S,
    settings: RelaySettings,
    told: Box<dyn Fn(RelayEvent) + Send + Sync>,
    /// The lease that is held, to be given back at the end.
    leading: Mutex<Option<(S::Writer, Fence)>>,
}

/// Why a session ended.
#[derive(Debug)]
enum Ended {
    Center(String),
    Stream(String),
    /// The log no longer has the place we were at: find the place again.
    Realign,
    /// Another leads, or nobody.
    Deposed,
    Fatal(RelayEnd),
}

impl From<LogError> for Ended {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Gone(_) => Self::Realign,
            LogError::Unavailable(_) | LogError::Malformed(_) => Self::Center(error.to_string()),
        }
    }
}

impl<L: Log, S: StreamStore> Relay<L, S> {
    /// A relay from `log` to the stream in `store`; `told` hears what happens.
    pub fn new(log: L, store: S, settings: RelaySettings, told: impl Fn(RelayEvent) + Send + Sync + 'static) -> Self {
        Self { log, store, settings, told: Box::new(told), leading: Mutex::new(None) }
    }

    /// Relays through any outage until `stop` is done; the lease is given back then.
    ///
    /// # Errors
    /// When no trying helps.
    pub async fn run(&self, stop: impl Future<Output = ()> + Send, jitter: Jitter) -> Result<(), RelayEnd> {
        let ended = tokio::select! {
            biased;
            () = stop => Ok(()),
            end = self.sessions(jitter) => Err(end),
        };
        let leading = self.leading.lock().take();
        if let Some((mut writer, fence)) = leading {
            // If it cannot be given back it runs out by itself.
            let _ = timeout(RESIGN_TIMEOUT, writer.resign(&fence)).await;
            (self.told)(RelayEvent::Leads(false));
        }
        ended
    }

    async fn sessions(&self, jitter: Jitter) -> RelayEnd {
        let mut backoff = Backoff::new(jitter);
        loop {
            let Err(ended) = self.session(&mut backoff).await;
            (self.told)(RelayEvent::Ready(false));
            let (side, message) = match ended {
                Ended::Fatal(end) => return end,
                Ended::Center(message) => {
                    (self.told)(RelayEvent::CenterFailed);
                    ("center", message)
                }
                Ended::Stream(message) => {
                    (self.told)(RelayEvent::StreamFailed);
                    ("redis", message)
                }
                Ended::Realign => ("center", "the log has moved".to_owned()),
                Ended::Deposed => ("redis", "the lease was lost".to_owned()),
            };
            if self.leading.lock().take().is_some() {
                (self.told)(RelayEvent::Leads(false));
            }
            let wait = backoff.next();
            tracing::warn!(side, error = %message, wait_ms = wait.as_millis(), "the relay is interrupted");
            sleep(wait).await;
        }
    }

    async fn session(&self, backoff: &mut Backoff) -> Result<Infallible, Ended> {
        let mut writer = self.store.connect().await.map_err(|error| ended("stream", error))?;
        let name = writer.name().to_owned();
        let fence = self.stand_by(&mut writer, backoff).await?;
        tracing::info!(stream = name, term = fence.term, "the relay leads");
        *self.leading.lock() = Some((writer.clone(), fence.clone()));
        (self.told)(RelayEvent::Leads(true));
        let (aligned, is_aligned) = watch::channel(false);
        let publishing = async {
            let mut writer = writer.clone();
            let after = self.align(&mut writer).await?;
            tracing::info!(stream = name, %after, "the relay follows the change feed");
            aligned.send_replace(true);
            backoff.reset();
            (self.told)(RelayEvent::Ready(true));
            self.publish(writer, &fence, after).await
        };
        tokio::select! {
            biased;
            ended = self.beat(writer.clone(), &fence, is_aligned) => ended,
            ended = publishing => ended,
            ended = self.tidy(writer.clone(), &fence) => ended,
        }
    }

    /// Waits for the lease. Who cannot ask the center does not ask for it either.
    async fn stand_by(&self, writer: &mut S::Writer, backoff: &mut Backoff) -> Result<Fence, Ended> {
        let mut leader = None;
        loop {
            // The head is read after the stream's id: only then does "ahead" mean foreign.
            let last = writer.last_id().await.map_err(|error| ended(writer.name(), error))?;
            let head = self.head(last).await?;
            if start(last, head) == Start::Foreign {
                return Err(foreign(writer, last, head));
            }
            match writer.lead(self.settings.lease).await.map_err(|error| ended(writer.name(), error))? {
                Lead::Ours(fence) => return Ok(fence),
                Lead::Taken { by } => {
                    backoff.reset();
                    (self.told)(RelayEvent::Ready(true));
                    if leader.as_ref() != Some(&by) {
                        tracing::info!(stream = writer.name(), leader = by, "another relay leads: standing by");
                        leader = Some(by);
                    }
                }
            }
            sleep(self.settings.heartbeat).await;
        }
    }

    async fn head(&self, after: ChangeId) -> Result<ChangeId, Ended> {
        match timeout(HEAD_TIMEOUT, self.log.head(after)).await {
            Ok(head) => Ok(head?),
            Err(_) => Err(Ended::Center(format!("change feed: no answer within {HEAD_TIMEOUT:?}"))),
        }
    }

    async fn publish(&self, mut writer: S::Writer, fence: &Fence, mut after: ChangeId) -> Result<Infallible, Ended> {
        loop {
            let asked = Instant::now();
            let page = self.log.page(after, LONG_POLL, PAGE_RECORDS_MAX).await?.in_order(after)?;
            if page.changes.is_empty() && asked.elapsed() < QUIET {
                // A center that is about to stop answers its long polls at once.
                sleep(QUIET).await;
            }
            for batch in page.changes.chunks(BATCH_MAX) {
                let added = writer.add(fence, batch).await.map_err(|error| ended(writer.name(), error))?;
                (self.told)(RelayEvent::Published(added.published));
                if added.refused > 0 {
                    (self.told)(RelayEvent::Refused(added.refused));
                    self.check_owner(&mut writer, page.head).await?;
                }
                after = batch.last().map_or(after, |change| change.id);
            }
        }
    }

    /// A refusal means "already there": by an earlier session or, if the stream is ahead of the log, by another center.
    async fn check_owner(&self, writer: &mut S::Writer, page_head: ChangeId) -> Result<(), Ended> {
        let last = writer.last_id().await.map_err(|error| ended(writer.name(), error))?;
        if last <= page_head {
            return Ok(());
        }
        // Asked for what lies after `last`, a replica of the center that is behind it looks again before it answers.
        let head = self.log.head(last).await?;
        if last > head { Err(foreign(writer, last, head)) } else { Ok(()) }
    }

    /// Renews the lease for as long as the center answers: a leader that is cut off from it makes way for another. Once
    /// the place is found, it also tells the edges where the log is. A stream that another center writes to is left, also when there
    /// is nothing to publish.
    async fn beat(
        &self,
        mut writer: S::Writer,
        fence: &Fence,
        mut is_aligned: watch::Receiver<bool>,
    ) -> Result<Infallible, Ended> {
        let mut ticks = interval(self.settings.heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut head = ChangeId::ZERO;
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => {}
                Ok(()) = is_aligned.changed() => {}
            }
            // The head is read after the stream's id: only then does "ahead" mean foreign.
            let last = writer.last_id().await.map_err(|error| ended(writer.name(), error))?;
            // Asked for what lies after `last`, a replica of the center that is behind it looks again before it answers. Without the
            // feed the channel is not healthy, and the edges must see it.
            let Ok(now) = self.head(last.max(head)).await else {
                (self.told)(RelayEvent::Ready(false));
                continue;
            };
            head = now;
            if start(last, head) == Start::Foreign {
                return Err(foreign(&writer, last, head));
            }
            let aligned = *is_aligned.borrow();
            let beaten = writer.beat(fence, aligned.then_some(head), self.settings.lease).await;
            beaten.map_err(|error| ended(writer.name(), error))?;
            (self.told)(RelayEvent::Ready(aligned));
        }
    }
}

fn ended(stream: &str, error: WriteError) -> Ended {
    match error {
        WriteError::Unavailable(message) => Ended::Stream(message),
        WriteError::NotLeading => Ended::Deposed,
        WriteError::NotAStream(message) => Ended::Fatal(RelayEnd::NotAStream { stream: stream.to_owned(), message }),
    }
}

fn foreign(writer: &impl StreamWriter, stream_id: ChangeId, head: ChangeId) -> Ended {
    Ended::Fatal(RelayEnd::Foreign { stream: writer.name().to_owned(), stream_id, head })
}
