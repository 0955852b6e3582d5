//! Sees that the configuration file has changed.
//!
//! It is looked at once a second instead of being watched by the kernel: what is looked at is what the path leads to, so an
//! edit in place, a rename over it and a swapped link (as Kubernetes does it with a mounted `ConfigMap`) are all seen alike,
//! on every file system.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What differs when a file does: one that is replaced within a tick of the clock has another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    device: u64,
    inode: u64,
}

impl Stamp {
    /// What stands in the file's place now; `None` if nothing does.
    pub fn of(file: &Path) -> Option<Self> {
        let data = std::fs::metadata(file).ok()?;
        Some(Self { modified: data.modified().ok(), len: data.len(), device: data.dev(), inode: data.ino() })
    }
}

/// Decides when a file is to be read again: it differs from what was read, and it is no longer being written.
#[derive(Debug)]
struct Watched {
    read: Option<Stamp>,
    seen: Option<Stamp>,
}

impl Watched {
    fn new(read: Option<Stamp>) -> Self {
        Self { read, seen: read }
    }

    /// To be told what is there now; whether to read it.
    fn look(&mut self, now: Option<Stamp>) -> bool {
        let is_settled = now == self.seen;
        self.seen = now;
        // A file that is gone for a moment is being replaced; one that stays away changes nothing.
        let is_due = is_settled && now.is_some() && now != self.read;
        if is_due {
            self.read = now;
        }
        is_due
    }
}

/// Tells when a file has changed.
#[derive(Debug)]
pub struct Watch {
    file: PathBuf,
    watched: Watched,
    /// Made when it is first waited for: only then is there a runtime for certain.
    ticks: Option<tokio::time::Interval>,
}

impl Watch {
    /// Begins to look at a file: what is there now counts as read.
    pub fn new(file: PathBuf) -> Self {
        let watched = Watched::new(Stamp::of(&file));
        Self { file, watched, ticks: None }
    }

    /// Waits until the file has changed, and is no longer being written. Never completes when the runtime is ending. May be
    /// dropped and called again without missing a change.
    pub async fn changed(&mut self) {
        loop {
            let ticks = self.ticks.get_or_insert_with(|| {
                let mut ticks = tokio::time::interval(LOOK_EVERY);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                ticks
            });
            ticks.tick().await;
            let looked_at = self.file.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || Stamp::of(&looked_at)).await else {
                return std::future::pending().await;
            };
            if self.watched.look(now) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Looks twice: a change counts when it has settled.
    fn settled(watched: &mut Watched, file: &Path) -> bool {
        let first = watched.look(Stamp::of(file));
        assert!(!first, "a file that may still be written is not read");
        watched.look(Stamp::of(file))
    }

    #[test]
    fn edits_renames_and_swapped_links_are_seen_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("one"), "a").unwrap();
        fs::write(at("two"), "b").unwrap();
        symlink("one", at("config")).unwrap();
        let mut watched = Watched::new(Stamp::of(&at("config")));
        assert!(!watched.look(Stamp::of(&at("config"))));
        fs::write(at("one"), "longer").unwrap();
        assert!(settled(&mut watched, &at("config")), "edited in place");
        assert!(!watched.look(Stamp::of(&at("config"))), "only once");
        symlink("two", at("new")).unwrap();
        fs::rename(at("new"), at("config")).unwrap();
        assert!(settled(&mut watched, &at("config")), "the link leads elsewhere");
        fs::write(at("new"), "b").unwrap();
        fs::rename(at("new"), at("two")).unwrap();
        assert!(settled(&mut watched, &at("config")), "another file of the same size");
        fs::remove_file(at("two")).unwrap();
        assert!(!watched.look(Stamp::of(&at("config"))) && !watched.look(Stamp::of(&at("config"))), "gone");
        fs::write(at("two"), "back again").unwrap();
        assert!(settled(&mut watched, &at("config")));
    }
}
