//! The follower: applies changes in order, from the stream while it delivers, otherwise from the feed.
//!
//! ```text
//!        ┌──────── stream ────────┐  gap, no relay, relay ahead for over 1 s, stream cannot be read
//!        │  read, apply, confirm  │──────────────────────────────────────▶ feed
//!        └────────────────────────┘◀────────────────────────────────────── │ relay is alive again
//!                                                                           │ the log has no such place
//!                                                                           ▼
//!                                      reconcile: head first, mutables stale, tombstones, cursor = head
//! ```
//!
//! The stream is opened while the feed is followed, never instead of it: a stream that is slow to answer costs nothing. It is
//! followed once the feed has been read to its head since the stream was last left.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::log::{Log, LogError, PAGE_RECORDS_MAX, Page};
use super::reader::{
    AHEAD_MAX, Arrived, Channel, Followed, RelaySign, Replica, SourceError, StreamAccess, StreamReader,
};
use crate::backoff::Jitter;
use crate::change::{Change, ChangeId};

/// The follower's times.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long the feed is asked at a time where it is the only source.
    pub feed: Duration,
    /// How long the feed is asked at a time while the stream is looked for again.
    pub feed_beside_stream: Duration,
    /// The least time between two answers of the feed that have nothing new.
    pub feed_pause: Duration,
    /// How often the relay's sign of life is looked at.
    pub watch: Duration,
    /// How long opening the stream may take.
    pub open: Duration,
    /// How long after a failure it is opened again.
    pub reopen: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            feed: Duration::from_secs(30),
            feed_beside_stream: Duration::from_secs(2),
            feed_pause: Duration::from_millis(200),
            watch: Duration::from_millis(500),
            open: Duration::from_secs(5),
            reopen: Duration::from_secs(1),
        }
    }
}

/// Keeps one replica in step.
pub struct Follower<R, L, A> {
    replica: Arc<R>,
    log: L,
    access: Arc<A>,
    pace: Pace,
    jitter: Jitter,
    feed_failures: u32,
    /// Whether the feed has answered since the last start, reconciliation or failure. Until then it is asked without a
    /// long poll: whether changes arrive should be known at once, not after half a minute of silence.
    is_feed_known: bool,
    /// Whether the feed has to be read to its head before the stream is of use.
    is_feed_first: bool,
}

/// The relay's sign of life, judged.
struct Watch<S> {
    sign: S,
    ahead_since: Option<Instant>,
}

impl<S: RelaySign> Watch<S> {
    /// One look: an error when the stream cannot be relied on.
    async fn check(&mut self, cursor: ChangeId) -> Result<(), SourceError> {
        let head = self.sign.head().await?.ok_or_else(|| SourceError("no relay is alive".into()))?;
        if head <= cursor {
            self.ahead_since = None;
            return Ok(());
        }
        let since = *self.ahead_since.get_or_insert_with(Instant::now);
        if since.elapsed() > AHEAD_MAX {
            return Err(SourceError(format!("the relay is at {head}, and nothing comes after {cursor}")));
        }
        Ok(())
    }

    /// Whether the last look found nothing that is not applied.
    const fn is_in_step(&self) -> bool {
        self.ahead_since.is_none()
    }

    /// Ends, with the reason, when the stream can no longer be relied on.
    async fn until_unhealthy(&mut self, replica: &impl Replica, every: Duration) -> SourceError {
        loop {
            sleep(every).await;
            match self.check(replica.cursor()).await {
                Ok(()) if self.is_in_step() => replica.told(Followed::Healthy(true)),
                Ok(()) => {}
                Err(error) => return error,
            }
        }
    }
}

/// A stream that can be followed.
struct Open<A: StreamAccess> {
    reader: A::Reader,
    watch: Watch<A::Sign>,
    /// What was delivered before and never confirmed.
    pending: Vec<Change>,
}

/// Connects, if the relay lives, and reads once: a stream that may not be read is none. Entries after `replica`'s cursor of this
/// moment come, so what the feed delivers meanwhile comes a second time.
async fn open<R: Replica, A: StreamAccess>(replica: &R, access: &A) -> Result<Open<A>, SourceError> {
    let mut watch = Watch { sign: access.sign().await?, ahead_since: None };
    watch.check(replica.cursor()).await?;
    let mut reader = access.reader(replica.cursor()).await?;
    match reader.next().await? {
        Arrived::Changes(pending) => Ok(Open { reader, watch, pending }),
        Arrived::Lost(reason) => Err(SourceError(reason)),
    }
}

/// Tries until the stream is open. `trouble` is why it is not followed, as it was last logged: that is said once, not every time.
async fn reopen<R: Replica, A: StreamAccess>(
    replica: Arc<R>,
    access: Arc<A>,
    pace: Pace,
    mut trouble: Option<String>,
) -> Open<A> {
    if !access.is_configured() {
        return std::future::pending().await;
    }
    if trouble.is_some() {
        // One that opens and fails at once is not opened in a tight loop.
        sleep(pace.reopen).await;
    }
    loop {
        let opened = timeout(pace.open, open(&*replica, &*access)).await;
        match opened.unwrap_or_else(|_| Err(SourceError(format!("it cannot be opened within {:?}", pace.open)))) {
            Ok(opened) => return opened,
            Err(SourceError(reason)) => {
                if trouble.as_ref() != Some(&reason) {
                    tracing::warn!(reason, "changes come from the center's feed until Redis delivers them");
                    trouble = Some(reason);
                }
            }
        }
        sleep(pace.reopen).await;
    }
}

impl<R: Replica, L: Log, A: StreamAccess> Follower<R, L, A> {
    /// A follower of `log` and, where `access` has one, its stream.
    pub fn new(replica: Arc<R>, log: L, access: A, pace: Pace, jitter: Jitter) -> Self {
        Self {
            replica,
            log,
            access: Arc::new(access),
            pace,
            jitter,
            feed_failures: 0,
            is_feed_known: false,
            is_feed_first: false,
        }
    }

    /// Follows until dropped.
    pub async fn run(mut self) {
        let mut knows_where = self.replica.cursor() != ChangeId::ZERO;
        while !knows_where {
            let began = self.reconcile().await;
            if let Some(pause) = self.judge_feed(&began) {
                sleep(pause).await;
            }
            knows_where = began.is_ok();
        }
        let mut trouble = None;
        loop {
            let opened = self.follow_feed(trouble).await;
            let Err(error) = self.follow_stream(opened).await;
            self.replica.told(Followed::Channel(Channel::Feed));
            tracing::warn!(reason = %error, "changes come from the center's feed until Redis delivers them");
            trouble = Some(error.0);
        }
    }

    /// Follows the feed until there is a stream to follow.
    async fn follow_feed(&mut self, trouble: Option<String>) -> Open<A> {
        let mut opening = pin!(reopen(Arc::clone(&self.replica), Arc::clone(&self.access), self.pace, trouble));
        let mut opened = None;
        loop {
            // Waiting for the feed may be cut off by the stream; applying what came may not.
            let (asked_at, before) = (Instant::now(), self.replica.cursor());
            let page = {
                let mut asking = pin!(self.log.page(before, self.wait(), PAGE_RECORDS_MAX));
                loop {
                    tokio::select! {
                        biased;
                        page = &mut asking => break Some(page),
                        stream = &mut opening, if opened.is_none() => opened = Some(stream),
                        () = async {}, if opened.is_some() && !self.is_feed_first => break None,
                    }
                }
            };
            let pause = match page {
                Some(page) => self.feed_round(page, before, asked_at).await,
                None => None,
            };
            if let Some(pause) = pause {
                // The stream may deliver what the feed does not.
                self.is_feed_first = false;
                if opened.is_none() {
                    opened = timeout(pause, &mut opening).await.ok();
                } else {
                    sleep(pause.min(self.pace.reopen)).await;
                }
            }
            if !self.is_feed_first
                && let Some(opened) = opened.take()
            {
                return opened;
            }
        }
    }

    /// How long the feed may be asked for what is not there yet.
    fn wait(&self) -> Duration {
        match (self.is_feed_known && !self.is_feed_first, self.access.is_configured()) {
            (false, _) => Duration::ZERO,
            (true, true) => self.pace.feed_beside_stream,
            (true, false) => self.pace.feed,
        }
    }

    /// Follows the stream for as long as it delivers; says why it no longer does.
    async fn follow_stream(&mut self, opened: Open<A>) -> Result<Infallible, SourceError> {
        let Open { mut reader, mut watch, pending } = opened;
        self.replica.told(Followed::Channel(Channel::Stream));
        if watch.is_in_step() {
            // Otherwise it has to deliver first: it may have a hole that the feed cannot fill.
            self.replica.told(Followed::Healthy(true));
        }
        // What was missing when it was opened, the feed may have brought.
        watch.ahead_since = watch.ahead_since.map(|_| Instant::now());
        tracing::info!("changes come from Redis");
        // Whatever ends it: what was missed meanwhile is in the feed.
        self.is_feed_first = true;
        let mut arrived = Arrived::Changes(pending);
        loop {
            let hole = match arrived {
                Arrived::Lost(reason) => Some(reason),
                Arrived::Changes(changes) => {
                    let before = self.replica.cursor();
                    let hole = self.apply(changes, Channel::Stream).await?;
                    if hole.is_none() && self.replica.cursor() != before {
                        self.replica.told(Followed::Healthy(true));
                    }
                    hole
                }
            };
            if let Some(hole) = hole {
                self.replica.told(Followed::Gap);
                return Err(SourceError(hole));
            }
            reader.applied().await?;
            // A read that is dropped in the middle is repaired by opening again, which goes back to the cursor.
            arrived = tokio::select! {
                biased;
                arrived = reader.next() => arrived?,
                unhealthy = watch.until_unhealthy(&*self.replica, self.pace.watch) => return Err(unhealthy),
            };
        }
    }

    /// Takes what the feed answered. Some: it failed, and how long to wait.
    async fn feed_round(
        &mut self,
        page: Result<Page, LogError>,
        before: ChangeId,
        asked_at: Instant,
    ) -> Option<Duration> {
        let round = self.take_page(page).await;
        // A feed that answers "nothing new" at once must not be asked in a tight loop.
        if round.is_ok() && self.replica.cursor() == before && asked_at.elapsed() < self.pace.feed_pause {
            sleep(self.pace.feed_pause).await;
        }
        self.judge_feed(&round)
    }

    async fn take_page(&mut self, page: Result<Page, LogError>) -> Result<(), SourceError> {
        let lost = match page {
            Ok(page) => {
                self.replica.told(Followed::Head(page.head));
                self.replica.told(Followed::Channel(Channel::Feed));
                match self.apply(page.changes, Channel::Feed).await? {
                    None => {
                        self.is_feed_known = true;
                        self.is_feed_first &= self.replica.cursor() < page.head;
                        return Ok(());
                    }
                    Some(hole) => hole,
                }
            }
            Err(LogError::Gone(cursor)) => format!("the feed no longer has {cursor}"),
            Err(error) => return Err(SourceError(error.to_string())),
        };
        self.is_feed_known = false;
        tracing::warn!(reason = %lost, "the feed does not go on from here: reconciling with the manifest");
        self.replica.told(Followed::Resync);
        self.reconcile().await
    }

    async fn reconcile(&mut self) -> Result<(), SourceError> {
        let head = self.replica.reconcile().await?;
        self.replica.told(Followed::Head(head));
        self.replica.told(Followed::Cursor(self.replica.cursor()));
        self.is_feed_first = false;
        Ok(())
    }

    /// Applies records after the cursor. Some: a hole, of which this is to be said; what follows it is not applied.
    async fn apply(&self, changes: Vec<Change>, channel: Channel) -> Result<Option<String>, SourceError> {
        let mut cursor = self.replica.cursor();
        let mut fresh = Vec::with_capacity(changes.len());
        let mut hole = None;
        for change in changes {
            if change.id <= cursor {
                continue;
            }
            if !change.id.follows(cursor) {
                hole = Some(format!("record {} does not follow {cursor}", change.id));
                break;
            }
            cursor = change.id;
            fresh.push(change);
        }
        if !fresh.is_empty() {
            self.replica.apply(fresh, channel).await?;
        }
        self.replica.told(Followed::Cursor(self.replica.cursor()));
        Ok(hole)
    }

    /// Notes whether changes arrive at all. Some: how long to wait, a little longer after each failure in a row.
    fn judge_feed(&mut self, round: &Result<(), SourceError>) -> Option<Duration> {
        match round {
            Ok(()) => {
                if self.feed_failures > 0 {
                    tracing::info!("changes arrive again");
                }
                self.feed_failures = 0;
                self.replica.told(Followed::Healthy(true));
                None
            }
            Err(error) => {
                if self.feed_failures == 0 {
                    tracing::warn!(reason = %error, "changes do not arrive: what may change is asked for more often");
                }
                self.feed_failures += 1;
                self.is_feed_known = false;
                self.replica.told(Followed::Channel(Channel::Down));
                self.replica.told(Followed::Healthy(false));
                let seconds = f64::from(self.feed_failures.min(5)) * (0.5 + (self.jitter)());
                Some(Duration::from_secs_f64(seconds))
            }
        }
    }
}
