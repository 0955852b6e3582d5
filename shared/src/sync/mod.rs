//! How changes travel from the center's log to every edge: the protocol, without its wires.
//!
//! ```text
//!            ┌────────────────────────── Log: the center's change feed ──────────────────────────┐
//!            ▼                                                                                    ▼
//!   Relay (one leads) ── StreamWriter: append, lease, heartbeat, trim ──▶ stream ── StreamReader ▶ Follower ──▶ Replica
//!                                                                         relay's sign ─────────▶ (each edge)
//! ```
//!
//! [`Relay`] copies the log into the stream, [`Follower`] applies changes in order from whichever of stream and feed delivers them.
//! Both are generic over the traits of [`log`], [`writer`] and [`reader`]: the syncer and the edge implement them over HTTP, Redis
//! and the cache, a simulation in memory. Time is tokio's, jitter is given from outside, no decision is taken at random.

mod follower;
mod keep;
pub mod log;
pub mod reader;
mod relay;
#[cfg(test)]
mod simulation;
pub mod writer;

pub use self::follower::{Follower, Pace};
pub use self::keep::Keep;
pub use self::log::{Log, LogError, Page};
pub use self::reader::{Arrived, Channel, Followed, RelaySign, Replica, SourceError, StreamAccess, StreamReader};
pub use self::relay::{Pass, PassError, Relay, RelayEnd, RelayEvent, RelaySettings};
pub use self::writer::{Added, Fence, Lead, StreamStore, StreamWriter, WriteError};
