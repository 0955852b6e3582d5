//! A folder with the paths of a GOPROXY: an unpacked bundle, or a module cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use shared::artefact::{Artefact, ArtefactKind};
use shared::module::{ModulePath, Version};
use shared::request::{Request as Asked, SumdbPart};

/// What lies in it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Records and tiles: the path below a GOPROXY, and the file.
    pub(super) sumdb: Vec<(String, PathBuf)>,
    /// The artefacts of each version.
    pub(super) versions: BTreeMap<(ModulePath, Version), Artefacts>,
}

/// The files of one version.
#[derive(Debug, Default)]
pub(super) struct Artefacts {
    /// `.info`.
    pub(super) info: Option<PathBuf>,
    /// `.mod`.
    pub(super) gomod: Option<PathBuf>,
    /// `.zip`.
    pub(super) zip: Option<PathBuf>,
}

impl Tree {
    /// Looks through a folder: a GOMODCACHE, its `cache/download`, or one like that. What is no artefact is passed over.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Self> {
        let inner = dir.join("cache/download");
        let root = if inner.is_dir() { inner } else { dir.to_owned() };
        ensure!(root.is_dir(), "{}: not a directory", dir.display());
        let mut tree = Self::default();
        tree.enter(&root, "")?;
        Ok(tree)
    }

    fn enter(&mut self, dir: &Path, below: &str) -> anyhow::Result<()> {
        let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut entries = entries.with_context(|| dir.display().to_string())?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type().with_context(|| entry.path().display().to_string())?;
            let path = format!("{below}{name}");
            if kind.is_dir() {
                self.enter(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() {
                self.add(path, entry.path());
            }
        }
        Ok(())
    }

    fn add(&mut self, path: String, file: PathBuf) {
        match Asked::parse(&path) {
            Ok(Asked::Sumdb(asked)) if matches!(asked.part, SumdbPart::Lookup { .. } | SumdbPart::Tile(_)) => {
                self.sumdb.push((path, file));
            }
            Ok(Asked::Module(asked)) => {
                let kind = asked.artefact.kind();
                let (Artefact::Info(version) | Artefact::Mod(version) | Artefact::Zip(version)) = asked.artefact else {
                    return;
                };
                let artefacts = self.versions.entry((asked.module, version)).or_default();
                match kind {
                    ArtefactKind::Info => artefacts.info = Some(file),
                    ArtefactKind::Mod => artefacts.gomod = Some(file),
                    ArtefactKind::Zip | ArtefactKind::List | ArtefactKind::Latest | ArtefactKind::Query => {
                        artefacts.zip = Some(file);
                    }
                }
            }
            Ok(Asked::Sumdb(_)) | Err(_) => {}
        }
    }
}
