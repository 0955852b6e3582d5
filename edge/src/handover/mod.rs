//! Hand-over: a new process takes the place of a running one, and no connection is refused.
//!
//! RocksDB is held by one process at a time, so the two talk over a Unix socket in the data directory, in turn:
//!
//! ```text
//! new (its configuration is checked)        old
//! ──────────────────────────────────        ──────────────────────────────────────────────────────────────
//! hello                              ────▶
//!                                    ◀────  listeners, with the listening sockets attached by name
//! binds what is missing; take        ────▶  accepts no more, lets idle connections end, closes the database
//!                                    ◀────  closed
//! opens the database; opened         ────▶
//!                                    ◀────  go, or kept: the old one has lost patience and goes on itself
//! accepts                                   finishes its responses from memory and open files, ends
//! ```
//!
//! Meanwhile connections wait in the kernel's queue, which belongs to the socket and not to a process. Exactly one of the
//! two accepts at any time: the new one only after `go`, the old one again only before it. If the new one dies before
//! that, the old one opens its database again and goes on; if the old one dies, the new one goes on without it.

mod channel;
mod give;
mod listeners;
mod take;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use self::give::{Offer, offer};
pub(crate) use self::listeners::Listeners;
pub(crate) use self::take::{Predecessor, find};

/// Changes when an old and a new process would misunderstand each other.
const PROTOCOL: u32 = 1;

/// The socket's name in the data directory.
const SOCKET: &str = "handover.sock";

/// How long the other side may take for what needs no disk.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// How long the new process may take to open the database before the old one goes on.
const OPEN_PATIENCE: Duration = Duration::from_secs(15);

/// What the two say to each other, one line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
enum Word {
    /// New: who is there.
    Hello { protocol: u32, version: String, pid: u32 },
    /// Old: the names of the attached sockets, in their order.
    Listeners { protocol: u32, names: Vec<String> },
    /// New: everything that can be checked before is right.
    Take,
    /// Old: the database is free.
    Closed,
    /// New: the database is open.
    Opened,
    /// Old: accept.
    Go,
    /// Old: it goes on itself, and the new one must end.
    Kept { reason: String },
}

/// The data directory, and a path of its socket that is short enough for a socket's address, however deep the directory is.
struct SocketPath {
    dir: File,
}

impl SocketPath {
    fn of(data_dir: &Path) -> io::Result<Self> {
        Ok(Self { dir: File::open(data_dir)? })
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.dir.as_raw_fd()))
    }
}
