//! The stream as the relay writes it.
//!
//! Whoever writes holds the lease: every writing step names the fence that came with it and is refused, in the same atomic step,
//! once the lease is another's or has run out. So a relay that was paused in the middle cannot write into its successor's work.

use std::time::Duration;

use crate::change::{Change, ChangeId};

/// A term of leadership: its number, which only grows, and who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The term's number.
    pub term: u64,
    /// The name that the lease holds.
    pub holder: String,
}

/// What came of asking for the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lead {
    /// It is ours.
    Ours(Fence),
    /// Another holds it.
    Taken {
        /// Its name.
        by: String,
    },
}

/// What came of a batch.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// Records that are new in the stream.
    pub published: u64,
    /// Records that the stream refused because it has that id or a larger one.
    pub refused: u64,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteError {
    /// The stream cannot be reached or is not able; try again.
    Unavailable(String),
    /// The lease is not this writer's (any more).
    NotLeading,
    /// Something that is no stream stands in its place: no trying helps.
    NotAStream(String),
}

/// Where streams are.
pub trait StreamStore: Send + Sync {
    /// A connection to the repository's stream.
    type Writer: StreamWriter;

    /// Connects; a connection is not renewed when it breaks, because then the stream's last id must be read again.
    fn connect(&self) -> impl Future<Output = Result<Self::Writer, WriteError>> + Send;
}

/// A connection to one repository's stream. Its clones share it.
pub trait StreamWriter: Clone + Send + Sync {
    /// The stream's name, for messages.
    fn name(&self) -> &str;

    /// Asks for the lease, to hold for `lease`; a holder that asks again gets a new term.
    fn lead(&mut self, lease: Duration) -> impl Future<Output = Result<Lead, WriteError>> + Send;

    /// Gives the lease back, so that another need not wait for its end.
    fn resign(&mut self, fence: &Fence) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// The id of the last entry the stream ever had; [`ChangeId::ZERO`] for a missing or empty stream.
    fn last_id(&mut self) -> impl Future<Output = Result<ChangeId, WriteError>> + Send;

    /// Adds records in their order, each with its own id as the entry's id. At most [`BATCH_MAX`] at a time.
    fn add(&mut self, fence: &Fence, changes: &[Change]) -> impl Future<Output = Result<Added, WriteError>> + Send;

    /// Holds the lease for another `lease` and, with a head, says that the relay lives and where the log is.
    fn beat(
        &mut self,
        fence: &Fence,
        head: Option<ChangeId>,
        lease: Duration,
    ) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// The smallest cursor of the edges that live; none where no edge says how far it is.
    fn slowest(&mut self) -> impl Future<Output = Result<Option<ChangeId>, WriteError>> + Send;

    /// The first entry that is not older than `age`; none for an empty stream.
    fn first_younger(&mut self, age: Duration) -> impl Future<Output = Result<Option<ChangeId>, WriteError>> + Send;

    /// Removes entries before `first_kept`, perhaps not the last few of them; says how many went.
    fn trim(&mut self, fence: &Fence, first_kept: ChangeId) -> impl Future<Output = Result<u64, WriteError>> + Send;

    /// Removes the groups of edges that gave no sign of life for `age`; says whose.
    fn retire(&mut self, fence: &Fence, age: Duration) -> impl Future<Output = Result<Vec<String>, WriteError>> + Send;
}

/// Most records that are added in one step.
pub const BATCH_MAX: usize = 500;
