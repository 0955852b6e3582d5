//! Which large files were compared with their digest since the start.
//!
//! Bodies up to 1 MiB are hashed each time they are brought into memory. Larger ones are given out as open files, so each is read once and
//! hashed before it is given out for the first time, and again when it was written to since. A disk that spoiled it thus costs a miss, not a
//! wrong body. What a fill has just proven counts as compared.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use parking_lot::Mutex;
use shared::digest::{Digest, Hasher};

/// Beyond so many files all are forgotten; 5 MiB.
const FILES_MAX: usize = 1 << 16;
const READ_BYTES: usize = 1 << 18;

/// Which file it is, and when it was last written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    seconds: i64,
    nanos: i64,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { inode: metadata.ino(), seconds: metadata.mtime(), nanos: metadata.mtime_nsec() })
    }
}

/// The files that were found right.
#[derive(Default)]
pub(super) struct Verified(Mutex<HashMap<Digest, Stamp>>);

impl Verified {
    /// Notes that `file` was proven to be the body of `digest`.
    pub(super) fn note(&self, digest: &Digest, file: &File) -> io::Result<()> {
        let stamp = Stamp::of(file)?;
        let mut files = self.0.lock();
        if files.len() >= FILES_MAX {
            files.clear();
        }
        files.insert(*digest, stamp);
        Ok(())
    }

    /// Whether it is known to be so.
    pub(super) fn knows(&self, digest: &Digest, file: &File) -> io::Result<bool> {
        let stamp = Stamp::of(file)?;
        Ok(self.0.lock().get(digest) == Some(&stamp))
    }

    /// Forgets that the file was found right.
    pub(super) fn forget(&self, digest: &Digest) {
        self.0.lock().remove(digest);
    }

    /// Reads the file, unless it is known to be right. Nobody waits for it who asks for another body.
    pub(super) fn check(&self, digest: &Digest, file: &File) -> io::Result<bool> {
        if self.knows(digest, file)? {
            return Ok(true);
        }
        if digest_of(file)? != *digest {
            return Ok(false);
        }
        self.note(digest, file)?;
        Ok(true)
    }
}

/// The digest of a whole file, read by position.
pub(super) fn digest_of(file: &File) -> io::Result<Digest> {
    let whole = digest_while(file, |_| true)?;
    whole.ok_or_else(|| io::Error::other("a file has no end"))
}

/// The same, for as long as `go_on` allows, which hears after each piece how long it was. `None`: it did not.
pub(super) fn digest_while(file: &File, mut go_on: impl FnMut(u64) -> bool) -> io::Result<Option<Digest>> {
    let (mut hasher, mut piece, mut at) = (Hasher::default(), vec![0; READ_BYTES], 0);
    loop {
        let read = file.read_at(&mut piece, at)?;
        if read == 0 {
            return Ok(Some(hasher.digest()));
        }
        hasher.update(&piece[..read]);
        at += read as u64;
        if !go_on(read as u64) {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_file_is_read_once_until_it_is_written_to() {
        let mut file = tempfile::tempfile().unwrap();
        let body = vec![7; READ_BYTES + 3];
        file.write_all(&body).unwrap();
        let digest = Digest::of(&body);
        let verified = Verified::default();
        assert!(!verified.knows(&digest, &file).unwrap());
        assert!(verified.check(&digest, &file).unwrap());
        assert!(verified.knows(&digest, &file).unwrap());
        assert!(!verified.check(&Digest::of(b"other"), &file).unwrap());
        file.write_all_at(b"x", 5).unwrap();
        // The clock of the file system may be too coarse to tell two writes of a test apart.
        file.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
        assert!(!verified.check(&digest, &file).unwrap());
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let (verified, file) = (Verified::default(), tempfile::tempfile().unwrap());
        for i in 0..=FILES_MAX as u64 {
            verified.note(&Digest::of(&i.to_le_bytes()), &file).unwrap();
        }
        assert_eq!(verified.0.lock().len(), 1);
    }
}
