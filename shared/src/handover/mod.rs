//! Hand-over: a new process takes the place of a running one, and no connection is refused.
//!
//! A data directory is held by one process at a time, so the two talk over a Unix socket in the data directory, in turn:
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

//!
//! What a server does when it pauses, goes on or has been replaced, it says by [`Giver`]; the rest is the same for all of them.

mod channel;
mod give;
mod listeners;
mod take;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::channel::Channel;
pub use self::give::{Giver, offer};
pub use self::listeners::{Listeners, bind};
pub use self::take::{Predecessor, find};

/// Changes when an old and a new process would misunderstand each other.
pub const PROTOCOL: u32 = 1;

/// The socket's name in the data directory.
pub const SOCKET: &str = "handover.sock";

/// How long the other side may take for what needs no disk.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// How long the new process may take to open the database before the old one goes on.
const OPEN_PATIENCE: Duration = Duration::from_secs(15);

/// What the two say to each other, one line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Word {
    /// New: who is there.
    Hello {
        /// [`PROTOCOL`] of its side.
        protocol: u32,
        /// Its version, for the log.
        version: String,
        /// Its process.
        pid: u32,
    },
    /// Old: the names of the attached sockets, in their order.
    Listeners {
        /// [`PROTOCOL`] of its side.
        protocol: u32,
        /// The names.
        names: Vec<String>,
    },
    /// New: everything that can be checked before is right.
    Take,
    /// Old: the database is free.
    Closed,
    /// New: the database is open.
    Opened,
    /// Old: accept.
    Go,
    /// Old: it goes on itself, and the new one must end.
    Kept {
        /// Why, in one line.
        reason: String,
    },
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
