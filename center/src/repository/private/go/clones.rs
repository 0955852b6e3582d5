//! The clones that `go` keeps between fetches, within a byte budget.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

/// How long the sizes may go unmeasured: a walk over many clones is not free.
const MEASURE_INTERVAL: Duration = Duration::from_mins(5);

/// The folder of clones. Fetches use it together; for a removal they have to be out of it.
#[derive(Debug)]
pub(super) struct Clones {
    folder: PathBuf,
    bytes_max: u64,
    in_use: Arc<RwLock<()>>,
    measured: Mutex<Option<SystemTime>>,
}

/// One clone: its folder, `<name>.info` and `<name>.lock` beside it.
struct Clone {
    folder: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Clones {
    pub(super) fn new(folder: PathBuf, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, bytes_max, in_use: Arc::default(), measured: Mutex::new(None) })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Held by a fetch as long as it runs.
    pub(super) async fn using(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.in_use).read_owned().await
    }

    /// Removes the clones that were not used for longest until the rest fits. Does nothing where a fetch is running, or if
    /// that was done a short while ago; blocks for as long as the disk takes.
    pub(super) fn trim(&self) -> io::Result<()> {
        let Ok(_alone) = Arc::clone(&self.in_use).try_write_owned() else { return Ok(()) };
        {
            let mut measured = self.measured.lock();
            if measured.is_some_and(|at| at.elapsed().is_ok_and(|age| age < MEASURE_INTERVAL)) {
                return Ok(());
            }
            *measured = Some(SystemTime::now());
        }
        let mut clones = self.measure()?;
        clones.sort_unstable_by_key(|clone| clone.used);
        let mut total: u64 = clones.iter().map(|clone| clone.bytes).sum();
        for clone in clones {
            if total <= self.bytes_max {
                break;
            }
            fs::remove_dir_all(&clone.folder)?;
            for suffix in ["info", "lock"] {
                let _ = fs::remove_file(clone.folder.with_extension(suffix));
            }
            total -= clone.bytes;
            tracing::info!(clone = %clone.folder.display(), bytes = clone.bytes, "a clone was removed for space");
        }
        Ok(())
    }

    fn measure(&self) -> io::Result<Vec<Clone>> {
        let mut clones = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let folder = entry.path();
            // `go` opens the lock file at each use.
            let lock = fs::metadata(folder.with_extension("lock")).and_then(|data| data.accessed());
            let touched = entry.metadata()?.modified()?;
            let used = lock.map_or(touched, |lock| lock.max(touched));
            clones.push(Clone { bytes: bytes_below(&folder)?, folder, used });
        }
        Ok(clones)
    }
}

fn bytes_below(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let data = entry.metadata()?;
        bytes += if data.is_dir() { bytes_below(&entry.path())? } else { data.len() };
    }
    Ok(bytes)
}

/// Removes the folders of fetches that a killed center left behind.
pub(super) fn remove_abandoned(parent: &Path, prefix: &str, older_than: Duration) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let is_fetch = entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix));
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if is_fetch && age > older_than {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clone(clones: &Clones, name: &str, bytes: usize, age: Duration) {
        let folder = clones.folder.join(name);
        fs::create_dir_all(folder.join("objects")).unwrap();
        fs::write(folder.join("objects/pack"), vec![0; bytes]).unwrap();
        fs::write(folder.with_extension("info"), "git3:x").unwrap();
        let lock = fs::File::create(folder.with_extension("lock")).unwrap();
        let used = SystemTime::now() - age;
        lock.set_times(fs::FileTimes::new().set_accessed(used).set_modified(used)).unwrap();
        fs::File::open(&folder).unwrap().set_times(fs::FileTimes::new().set_modified(used)).unwrap();
    }

    #[tokio::test]
    async fn those_not_used_for_longest_go_first_and_none_while_fetches_run() {
        let folder = tempfile::tempdir().unwrap();
        let clones = Clones::new(folder.path().join("vcs"), 2500).unwrap();
        clone(&clones, "old", 1000, Duration::from_hours(3));
        clone(&clones, "middle", 1000, Duration::from_hours(2));
        clone(&clones, "new", 1000, Duration::from_hours(1));
        let using = clones.using().await;
        clones.trim().unwrap();
        assert!(clones.folder.join("old").exists());
        drop(using);
        clones.trim().unwrap();
        let mut left: Vec<_> = fs::read_dir(&clones.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["middle", "middle.info", "middle.lock", "new", "new.info", "new.lock"]);
    }

    #[test]
    fn only_old_folders_of_fetches_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["fetch-old", "fetch-new", "vcs"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            let age = Duration::from_hours(if name == "fetch-new" { 0 } else { 9 });
            let times = fs::FileTimes::new().set_modified(SystemTime::now() - age);
            fs::File::open(&path).unwrap().set_times(times).unwrap();
        }
        remove_abandoned(folder.path(), "fetch-", Duration::from_hours(1)).unwrap();
        assert!(!folder.path().join("fetch-old").exists());
        assert!(folder.path().join("fetch-new").exists() && folder.path().join("vcs").exists());
    }
}
