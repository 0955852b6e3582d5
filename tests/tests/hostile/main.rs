//! Requests that mean harm.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod headers;
mod http2;
mod identity;
mod requests;
mod smuggling;
