//! Where refused bytes are put aside, so that an operator can look at what a server sent. Nothing is ever served from here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use shared::fill::Spooled;

use crate::store::now_ms;

/// Bodies that are kept aside.
const FILES_MAX: usize = 32;
/// And their bytes together.
const BYTES_MAX: u64 = 1 << 30;

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Quarantine {
    directory: PathBuf,
}

impl Quarantine {
    /// Beside the directory of temporary files, so that a body is put aside by a link and not copied.
    pub(super) fn beside(spool: &Path) -> Self {
        Self { directory: spool.parent().unwrap_or(spool).join("quarantine") }
    }

    /// Puts a body aside; blocks. `what` is `module@version`, `part` the suffix of its name. A failure is told and changes nothing.
    pub(super) fn keep(&self, what: &str, part: &str, body: &Spooled) {
        let name = format!("{}-{}.{part}", now_ms(), body.digest().hex());
        match self.put(&name, body) {
            Ok(()) => {
                let file = self.directory.join(name);
                tracing::error!(target: "audit", what, file = %file.display(), "refused bytes are put aside");
            }
            Err(error) => tracing::warn!(what, %error, "refused bytes could not be put aside"),
        }
    }

    fn put(&self, name: &str, body: &Spooled) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let target = self.directory.join(name);
        match body {
            Spooled::Memory(bytes) => fs::write(&target, bytes)?,
            Spooled::File { path, .. } => fs::hard_link(path, &target)?,
        }
        self.tidy()
    }

    /// Removes the oldest ones over the limits.
    fn tidy(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            files.push((entry.file_name(), entry.metadata()?.len()));
        }
        // Names begin with the time, of as many digits for centuries to come.
        files.sort();
        let mut bytes = 0;
        for (count, (name, len)) in files.into_iter().rev().enumerate() {
            bytes += len;
            if count >= FILES_MAX || (count > 0 && bytes > BYTES_MAX) {
                fs::remove_file(self.directory.join(name))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ones_stay() {
        let data = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::beside(&data.path().join("spool"));
        for number in 0..40 {
            let body = Spooled::Memory(vec![number; 10].into());
            quarantine.put(&format!("{number:02}.zip"), &body).unwrap();
        }
        let mut names: Vec<_> =
            fs::read_dir(data.path().join("quarantine")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!((names.len(), names[0].to_str(), names[31].to_str()), (32, Some("08.zip"), Some("39.zip")));
    }
}
