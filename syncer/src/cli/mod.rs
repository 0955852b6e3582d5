//! The subcommands beside `run`: what an operator or cron has the syncer do.
//!
//! Exit codes: 0 all is well, or done; 1 only partly; 2 not at all, or called wrongly.

pub(crate) mod hot;
pub(crate) mod live;
pub(crate) mod once;
pub(crate) mod replay;
pub(crate) mod status;

use std::io::Write as _;

/// Prints to standard output. Whoever closed the pipe (`… | head`) does not want to know.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}
