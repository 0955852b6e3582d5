//! Larger bodies: files named by their SHA-256, `files/aa/bb/<hex>`.
//!
//! A file appears under its name only when it is complete and on the disk: temporary file, sync, rename, sync of the directory.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::digest::Digest;
use shared::fill::{SPOOL_PREFIX, Spooled};

/// The directory of the files, and the one of those that are not complete yet.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    spool: PathBuf,
}

impl Files {
    /// Creates the directories.
    pub(super) fn open(dir: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let this = Self { root: dir.join("files"), spool: dir.join("spool") };
        for needed in [&this.root, &this.spool] {
            fs::create_dir_all(needed).map_err(|error| (needed.clone(), error))?;
        }
        Ok(this)
    }

    /// Where incomplete files lie.
    pub(super) fn spool(&self) -> &Path {
        &self.spool
    }

    /// Removes what interrupted fills left. Only while no fill can be under way.
    pub(super) fn clear_spool(&self) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.spool)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Whether a spooled file has all its bytes; then they are brought to the disk. Slow, so it comes before any lock.
    pub(super) fn sync(&self, spooled: Spooled) -> io::Result<Synced> {
        match spooled {
            Spooled::File { path, file, len, .. } => {
                let found = file.metadata()?.len();
                if found != len {
                    return Err(io::Error::other(format!("the spooled file has {found} bytes instead of {len}")));
                }
                file.sync_all()?;
                Ok(Synced { path, file })
            }
            Spooled::Memory(bytes) => {
                let (mut file, path) =
                    tempfile::Builder::new().prefix(SPOOL_PREFIX).tempfile_in(&self.spool)?.into_parts();
                file.write_all(&bytes)?;
                file.sync_all()?;
                Ok(Synced { path, file: Arc::new(file) })
            }
        }
    }

    /// Gives a synced file its name, in place of one that may be there.
    pub(super) fn place(&self, digest: &Digest, synced: Synced) -> io::Result<Arc<File>> {
        let Synced { path, file } = synced;
        let target = self.path(digest);
        let dir = target.parent().unwrap_or(&self.root);
        self.create_dir(dir)?;
        path.persist(&target).map_err(|error| error.error)?;
        File::open(dir)?.sync_all()?;
        Ok(file)
    }

    /// Opens the file of a body, if it has the length that it must have.
    pub(super) fn open_file(&self, digest: &Digest, len: u64) -> io::Result<Opened> {
        let file = match File::open(self.path(digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Opened::Missing),
            Err(error) => return Err(error),
        };
        let found = file.metadata()?.len();
        if found == len { Ok(Opened::Whole(Arc::new(file))) } else { Ok(Opened::WrongLength(found)) }
    }

    /// Removes a file; one that is not there is removed already.
    pub(super) fn remove(&self, digest: &Digest) -> io::Result<()> {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Calls `each` with every file's digest, and removes what is no file of a body. Ends when `each` says `false`.
    pub(super) fn walk(&self, each: &mut dyn FnMut(Digest) -> bool) -> io::Result<()> {
        for upper in subdirs(&self.root)? {
            for lower in subdirs(&upper)? {
                for entry in fs::read_dir(&lower)? {
                    let entry = entry?;
                    let digest = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
                    match digest {
                        Some(digest) if self.path(&digest) == entry.path() => {
                            if !each(digest) {
                                return Ok(());
                            }
                        }
                        Some(_) | None => fs::remove_file(entry.path())?,
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.root.join(&hex[..2]).join(&hex[2..4]).join(hex)
    }

    /// Creates `files/aa/bb`, each new directory's name on the disk before anything lies in it.
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(dir)?;
        for parent in dir.ancestors().skip(1).take_while(|parent| parent.starts_with(&self.root)) {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    }
}

/// A complete file on the disk that has no name yet; removed when dropped.
#[derive(Debug)]
pub(super) struct Synced {
    path: tempfile::TempPath,
    file: Arc<File>,
}

/// What was found under a body's name.
#[derive(Debug)]
pub(super) enum Opened {
    Whole(Arc<File>),
    Missing,
    WrongLength(u64),
}

fn subdirs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            dirs.push(entry.path());
        }
    }
    Ok(dirs)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_file_appears_whole_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let digest = Digest::of(b"body");
        assert!(matches!(files.open_file(&digest, 4).unwrap(), Opened::Missing));
        let synced = files.sync(Spooled::Memory(Bytes::from_static(b"body"))).unwrap();
        files.place(&digest, synced).unwrap();
        assert!(matches!(files.open_file(&digest, 4).unwrap(), Opened::Whole(_)));
        assert!(matches!(files.open_file(&digest, 5).unwrap(), Opened::WrongLength(4)));
        assert_eq!(fs::read_dir(files.spool()).unwrap().count(), 0);
        let mut walked = Vec::new();
        files
            .walk(&mut |digest| {
                walked.push(digest);
                true
            })
            .unwrap();
        assert_eq!(walked, [digest]);
        files.remove(&digest).unwrap();
        files.remove(&digest).unwrap();
        assert!(matches!(files.open_file(&digest, 4).unwrap(), Opened::Missing));
    }

    #[test]
    fn what_interrupted_fills_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        fs::write(files.spool().join("fill-x"), b"half").unwrap();
        let kept = files.sync(Spooled::Memory(Bytes::from_static(b"not placed"))).unwrap();
        drop(kept);
        assert_eq!(files.clear_spool().unwrap(), 1);
    }
}
