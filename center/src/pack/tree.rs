//! The files of a directory, as `zip.CreateFromDir` walks it.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use shared::module::gomod;

use super::rules::is_vendored;
use super::{Content, Found, Kind, Source};

/// Folders that version control keeps for itself.
const OF_VERSION_CONTROL: [&str; 4] = [".bzr", ".git", ".hg", ".svn"];

/// Everything in a directory that the rules are to judge.
pub(super) fn read(dir: &Path) -> anyhow::Result<Source> {
    // A link to the folder is the folder: who names it means what is in it.
    let root = dir.canonicalize().with_context(|| dir.display().to_string())?;
    ensure!(root.is_dir(), "{}: not a directory", dir.display());
    let gomod = gomod_of(&root)?;
    let language = gomod.as_deref().and_then(|body| gomod::language(body).ok()).flatten();
    let mut walk = Walk { language, files: Vec::new(), omitted: Vec::new() };
    walk.enter(&root, "")?;
    Ok(Source { files: walk.files, omitted: walk.omitted, gomod, archive: None })
}

fn gomod_of(root: &Path) -> anyhow::Result<Option<Bytes>> {
    let path = root.join("go.mod");
    match fs::symlink_metadata(&path) {
        Ok(data) => {
            ensure!(data.is_file(), "{}: not a regular file, so it would not be in the module", path.display());
            Ok(Some(fs::read(&path).with_context(|| path.display().to_string())?.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

struct Walk {
    language: Option<(u32, u32)>,
    files: Vec<Found>,
    omitted: Vec<(String, &'static str)>,
}

impl Walk {
    /// `below` is the folder's name from the root on, with a slash behind it.
    fn enter(&mut self, dir: &Path, below: &str) -> anyhow::Result<()> {
        let listed = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = listed.with_context(|| dir.display().to_string())?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            // What is not UTF-8 gets a character that the rules refuse.
            let base = entry.file_name().to_string_lossy().into_owned();
            let name = format!("{below}{base}");
            let data = entry.metadata().with_context(|| entry.path().display().to_string())?;
            if !data.is_dir() {
                let kind = if data.is_file() { Kind::Regular } else { Kind::Other };
                self.file(name, kind, data.len(), &entry.path());
            } else if is_vendored(&name, self.language) {
                self.enter(&entry.path(), &format!("{name}/"))?;
            } else if OF_VERSION_CONTROL.contains(&base.as_str()) {
                self.omitted.push((name, "of version control"));
            } else if fs::symlink_metadata(entry.path().join("go.mod")).is_ok_and(|found| !found.is_dir()) {
                self.omitted.push((name, "another module"));
            } else {
                self.enter(&entry.path(), &format!("{name}/"))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, name: String, kind: Kind, size: u64, path: &Path) {
        if is_vendored(&name, self.language) {
            self.omitted.push((name, "in a vendor directory"));
        } else if kind == Kind::Regular {
            self.files.push(Found { name, kind, size, content: Content::File(path.to_owned()) });
        } else {
            // A link has no say in what collides here, unlike one that git holds.
            self.omitted.push((name, "not a regular file"));
        }
    }
}
