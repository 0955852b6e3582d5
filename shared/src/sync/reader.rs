//! What an edge follows, and what it keeps in step.

use std::time::Duration;

use crate::change::{Change, ChangeId};

/// A source that could not be read, or a replica that could not be written, in words for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// What came from the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// Records in order, perhaps with known ones before them; empty: the stream is there and has nothing new.
    Changes(Vec<Change>),
    /// The stream cannot go on from the cursor.
    Lost(String),
}

/// The stream as one edge reads it.
pub trait StreamReader: Send {
    /// Waits for entries that this edge has not confirmed. The first call does not wait: it delivers those that were delivered
    /// before it was opened, or none.
    fn next(&mut self) -> impl Future<Output = Result<Arrived, SourceError>> + Send;

    /// Confirms all that was read: it is applied and kept.
    fn applied(&mut self) -> impl Future<Output = Result<(), SourceError>> + Send;
}

/// The relay's sign of life.
pub trait RelaySign: Send {
    /// The log's head as the relay last said it; none when it is not alive.
    fn head(&mut self) -> impl Future<Output = Result<Option<ChangeId>, SourceError>> + Send;
}

/// The way to the stream.
pub trait StreamAccess: Send + Sync {
    /// Reads entries.
    type Reader: StreamReader;
    /// Reads the relay's sign of life, also while the reader waits.
    type Sign: RelaySign;

    /// Whether there is to be a stream at all.
    fn is_configured(&self) -> bool;

    /// Connects to the sign of life.
    fn sign(&self) -> impl Future<Output = Result<Self::Sign, SourceError>> + Send;

    /// Connects to the stream: entries after `cursor` are delivered, perhaps again.
    fn reader(&self, cursor: ChangeId) -> impl Future<Output = Result<Self::Reader, SourceError>> + Send;
}

/// The way that changes come at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// They do not.
    Down,
    /// The center's feed.
    Feed,
    /// The stream.
    Stream,
}

impl Channel {
    /// As it stands in reports and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Feed => "feed",
            Self::Stream => "stream",
        }
    }
}

/// What the follower noticed, for whoever keeps figures and decides on freshness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// The log's newest id was heard of.
    Head(ChangeId),
    /// Everything up to here is applied and kept.
    Cursor(ChangeId),
    /// Changes come this way from now on.
    Channel(Channel),
    /// Changes arrive, or they do not: what may change is then trusted for a shorter time. That they do is said again and
    /// again, so that a replica that hears nothing for the feed's long poll and some time may take it that they do not.
    Healthy(bool),
    /// Records are missing in the stream.
    Gap,
    /// The log does not go on from the cursor: reconciling begins.
    Resync,
}

/// What is kept in step with the center: an edge's cache.
pub trait Replica: Send + Sync {
    /// The last record that is applied and kept; [`ChangeId::ZERO`] before the first start.
    fn cursor(&self) -> ChangeId;

    /// Applies records, each of which follows the one before, in one step with the cursor. Applying one twice changes nothing.
    fn apply(&self, changes: Vec<Change>, channel: Channel) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Catches up without the log, by the manifest, and sets the cursor to the manifest's head.
    fn reconcile(&self) -> impl Future<Output = Result<ChangeId, SourceError>> + Send;

    /// Hears what the follower noticed.
    fn told(&self, followed: Followed);
}

/// How long the relay may be ahead of the cursor before the stream is held to be stuck.
pub(super) const AHEAD_MAX: Duration = Duration::from_secs(1);
