//! Folders: searched now and then, and the files found looked at once a second. A file counts when it has not changed between
//! two looks. As everywhere here it is looked at and not watched by the kernel: that works on every file system alike.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use shared::reload::Stamp;
use tokio::time::{Instant, sleep};

use super::tree::{self, Unit};
use super::{GLANCE, MEND_FIRST, Sources};

/// What to read of the files below a folder.
pub(super) async fn search(folder: &Path) -> BTreeSet<Unit> {
    let folder = folder.to_owned();
    // It fails only while the runtime ends.
    tokio::task::spawn_blocking(move || tree::units(&tree::find(&folder))).await.unwrap_or_default()
}

/// The files that are known, and which of them are still being written.
#[derive(Debug, Default)]
struct Known {
    files: BTreeMap<PathBuf, Option<Stamp>>,
    moving: BTreeSet<PathBuf>,
}

impl Known {
    /// Takes note of how the files are now; which have changed and come to rest.
    fn look(&mut self, found: Option<BTreeSet<PathBuf>>) -> BTreeSet<PathBuf> {
        let mut at_rest = BTreeSet::new();
        if let Some(found) = found {
            self.files.retain(|file, _| found.contains(file));
            for file in found {
                self.files.entry(file).or_default();
            }
        }
        for (file, seen) in &mut self.files {
            let now = Stamp::of(file);
            if now != *seen {
                *seen = now;
                self.moving.insert(file.clone());
            } else if self.moving.remove(file) {
                at_rest.insert(file.clone());
            }
        }
        at_rest
    }

    fn units(&self) -> BTreeSet<Unit> {
        tree::units(&self.files.keys().cloned().collect())
    }
}

impl Sources {
    /// Watches the folders of the configuration for good.
    pub(super) async fn watch_directories(&self) {
        let folders = &self.settings.directories;
        if folders.is_empty() {
            return;
        }
        let mut known = Known::default();
        // When to read what was not whole, and how long was waited for that.
        let mut to_mend: BTreeMap<Unit, (Instant, std::time::Duration)> = BTreeMap::new();
        let (mut search_at, mut again_at) = (Instant::now(), Instant::now() + self.settings.again_every.get());
        loop {
            let now = Instant::now();
            let is_searched = now >= search_at;
            if is_searched {
                search_at = now + self.settings.search_every.get();
            }
            let folders = folders.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let found = is_searched.then(|| folders.iter().flat_map(|folder| tree::find(folder)).collect());
                let at_rest = known.look(found);
                (known, at_rest)
            });
            let Ok((kept, at_rest)) = looked.await else { return };
            known = kept;
            let units = known.units();
            let is_anew = now >= again_at;
            if is_anew {
                again_at = now + self.settings.again_every.get();
            }
            to_mend.retain(|unit, _| units.contains(unit));
            for unit in units {
                let is_due = to_mend.get(&unit).is_some_and(|(at, _)| *at <= now);
                if !is_anew && !is_due && !at_rest.iter().any(|file| unit.depends_on(file)) {
                    continue;
                }
                if self.want_unit(&unit, None, is_anew).await {
                    to_mend.remove(&unit);
                } else {
                    let waited = to_mend.get(&unit).map_or(MEND_FIRST, |(_, waited)| *waited * 2);
                    let wait = waited.min(self.settings.look_every.get());
                    to_mend.insert(unit, (Instant::now() + wait, wait));
                }
            }
            sleep(GLANCE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_when_it_is_at_rest() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("go.mod");
        std::fs::write(&file, "module a.b\n").unwrap();
        let mut known = Known::default();
        let found = || Some(tree::find(folder.path()));
        assert!(known.look(found()).is_empty());
        assert_eq!(known.look(None), BTreeSet::from([file.clone()]));
        assert!(known.look(None).is_empty(), "only once");
        std::fs::write(&file, "module a.b/longer\n").unwrap();
        assert!(known.look(None).is_empty());
        std::fs::write(&file, "module a.b/longer/still\n").unwrap();
        assert!(known.look(None).is_empty(), "it moves on");
        assert_eq!(known.look(None).len(), 1);
        std::fs::remove_file(&file).unwrap();
        known.look(found());
        assert!(known.units().is_empty());
    }
}
