//! The syncer, Redis and the edges that follow changes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod model;
