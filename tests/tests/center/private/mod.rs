//! Private repositories, with the real `go` command as client of the edge and as fetcher of the center, and real git, ssh,
//! Mercurial and Subversion behind it.

mod changing;
mod confining;
mod external;
mod failing;
mod fetching;
mod place;
mod retaining;
