//! The syncer as an operator runs it, between real centers, edges and redis-servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod examples;
mod modes;
mod shell;
mod visible;
mod watching;
