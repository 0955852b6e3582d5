//! The Go project's own tools as judges: the `go` command, its test scripts, and `golang.org/x/mod`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod oracle;
mod real_project;
mod semantics;
mod suite;
