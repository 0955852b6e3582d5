//! The syncer with Redis, a center and edges.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod prewarm;
mod relay;
