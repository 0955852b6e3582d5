//! Private repositories, with the real `go` command as client of the edge and as fetcher of the center, and real git, ssh,
//! Mercurial and Subversion behind it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

#[path = "private/changing.rs"]
mod changing;
#[path = "private/confining.rs"]
mod confining;
#[path = "private/external.rs"]
mod external;
#[path = "private/failing.rs"]
mod failing;
#[path = "private/fetching.rs"]
mod fetching;
#[path = "private/place.rs"]
mod place;
#[path = "private/retaining.rs"]
mod retaining;
