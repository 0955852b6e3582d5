//! The syncer as an operator runs it, with Redis, a center and edges.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod examples;
mod modes;
mod prewarm;
mod relay;
mod shell;
mod visible;
mod watching;
