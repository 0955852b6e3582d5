//! The clones that `go` keeps between fetches, within a byte budget.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

/// How long the sizes may go unmeasured: a walk over many clones is not free.
const MEASURE_INTERVAL: Duration = Duration::from_mins(5);

/// Length of a clone's name: a SHA-256 in hexadecimal.
const NAME_LEN: usize = 64;

/// What the folder of a clone is called while it is removed.
const EVICTED: &str = "evicted";

/// The folder of clones.
#[derive(Debug)]
pub(super) struct Clones {
    folder: PathBuf,
    bytes_max: u64,
    /// What was used within this time may be in use.
    in_use: Duration,
    measured: Mutex<Option<SystemTime>>,
}

/// One clone: its folder, `<name>.info` and `<name>.lock` beside it.
struct Clone {
    folder: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Clones {
    /// `fetch_max` is the longest that a fetch may take.
    pub(super) fn new(folder: PathBuf, bytes_max: u64, fetch_max: Duration) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, bytes_max, in_use: fetch_max * 2, measured: Mutex::new(None) })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Notes which clones a fetch has used, after what it wrote with `-x`. File systems do not keep that by themselves.
    pub(super) fn note_use(&self, trace: &str) {
        for name in names_in(trace) {
            let lock = fs::OpenOptions::new().append(true).open(self.folder.join(name).with_extension("lock"));
            if let Err(error) = lock.and_then(|lock| lock.set_modified(SystemTime::now())) {
                tracing::debug!(%error, name, "the use of a clone cannot be noted");
            }
        }
    }

    /// Removes the clones that were not used for longest until the rest fits; none that may be in use. Does nothing if that was
    /// done a short while ago; blocks for as long as the disk takes.
    pub(super) fn trim(&self) -> io::Result<()> {
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
            if total <= self.bytes_max || clone.used.elapsed().is_ok_and(|age| age < self.in_use) {
                break;
            }
            // `go` holds this lock while it works in the clone. Opened without a change: its time says when it was used.
            let lock = fs::OpenOptions::new().append(true).create(true).open(clone.folder.with_extension("lock"))?;
            if lock.try_lock().is_err() {
                continue;
            }
            let _ = fs::remove_file(clone.folder.with_extension("info"));
            let evicted = clone.folder.with_extension(EVICTED);
            fs::rename(&clone.folder, &evicted)?;
            fs::remove_dir_all(&evicted)?;
            total -= clone.bytes;
            tracing::info!(clone = %clone.folder.display(), bytes = clone.bytes, "a clone was removed for space");
        }
        Ok(())
    }

    fn measure(&self) -> io::Result<Vec<Clone>> {
        let mut clones = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let folder = entry.path();
            if !entry.file_type()?.is_dir() {
                continue;
            }
            if folder.extension().is_some_and(|extension| extension == EVICTED) {
                // A removal that was interrupted.
                fs::remove_dir_all(&folder)?;
                continue;
            }
            let made = entry.metadata()?.modified()?;
            let noted = fs::metadata(folder.with_extension("lock")).and_then(|data| data.modified());
            clones.push(Clone { bytes: bytes_below(&folder)?, folder, used: noted.map_or(made, |at| at.max(made)) });
        }
        Ok(clones)
    }
}

/// The names of clones in a trace, each once.
fn names_in(trace: &str) -> Vec<&str> {
    let after = trace.split("/vcs/").skip(1).filter_map(|rest| rest.get(..NAME_LEN));
    let mut names: Vec<&str> = after.filter(|name| name.bytes().all(|b| b.is_ascii_hexdigit())).collect();
    names.sort_unstable();
    names.dedup();
    names
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

    fn name(letter: char) -> String {
        letter.to_string().repeat(NAME_LEN)
    }

    fn clone(clones: &Clones, letter: char, bytes: usize, age: Duration) {
        let folder = clones.folder.join(name(letter));
        fs::create_dir_all(folder.join("objects")).unwrap();
        fs::write(folder.join("objects/pack"), vec![0; bytes]).unwrap();
        fs::write(folder.with_extension("info"), "git3:x").unwrap();
        let used = SystemTime::now() - age;
        fs::File::create(folder.with_extension("lock")).unwrap().set_modified(used).unwrap();
        fs::File::open(&folder).unwrap().set_modified(used).unwrap();
    }

    /// The clones that are left, by their letters.
    fn left(clones: &Clones) -> String {
        let entries = fs::read_dir(&clones.folder).unwrap().map(|entry| entry.unwrap().path());
        let mut letters: Vec<_> = entries
            .filter(|path| path.is_dir())
            .map(|path| path.file_name().unwrap().to_str().unwrap()[..1].to_owned())
            .collect();
        letters.sort();
        letters.concat()
    }

    #[test]
    fn those_not_used_for_longest_go_first_and_none_that_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let minute = Duration::from_mins(1);
        let clones = |bytes_max| Clones::new(folder.path().join("vcs"), bytes_max, minute).unwrap();
        let first = clones(3500);
        for (age, letter) in "edcba".chars().enumerate() {
            clone(&first, letter, 1000, minute * (u32::try_from(age).unwrap() * 10 + 1));
        }
        // The oldest was used a moment ago, and the next one is being worked in.
        first.note_use(&format!("cd /x/cache/vcs/{}; git fetch\n# lock /x/cache/vcs/{}.lock\n", name('a'), name('a')));
        let lock = fs::File::open(first.folder.join(name('b')).with_extension("lock")).unwrap();
        lock.lock().unwrap();
        first.trim().unwrap();
        assert_eq!(left(&first), "abe");
        // All that is left was used within two minutes, or is locked.
        let second = clones(0);
        second.trim().unwrap();
        assert_eq!(left(&second), "abe");
        lock.unlock().unwrap();
        let third = clones(0);
        third.trim().unwrap();
        assert_eq!(left(&third), "ae");
        assert!(!third.folder.join(name('b')).with_extension("info").exists());
    }

    #[test]
    fn clones_are_found_in_a_trace() {
        let (a, b) = (name('a'), name('b'));
        let trace = format!(
            "mkdir -p /m/cache/vcs # git3 x\ncd /m/cache/vcs/{b}; git x\n# /m/cache/vcs/{a} for git3 x\ncd /m/vcs/{b}\n/vcs/short"
        );
        assert_eq!(names_in(&trace), [a, b]);
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
