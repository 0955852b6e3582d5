//! The files below a folder that say what a build needs, and what to read together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How deep is searched.
const DEPTH_MAX: usize = 32;

/// Most files and folders that are looked at in one search.
const ENTRIES_MAX: usize = 500_000;

/// What is read together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    /// The main module of a folder: its go.mod, and its go.sum if there is one.
    Module(PathBuf),
    /// The workspace of a folder: its go.work with all that this names.
    Workspace(PathBuf),
    /// A go.sum without a go.mod.
    Sums(PathBuf),
    /// A bill of materials.
    Sbom(PathBuf),
    /// A list of versions.
    List(PathBuf),
}

impl Unit {
    /// What a file by itself stands for; a name that is not known is a list.
    pub(crate) fn of_file(file: &Path) -> Self {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match file.file_name().and_then(|name| name.to_str()).unwrap_or_default() {
            "go.mod" => Self::Module(folder.to_owned()),
            "go.work" => Self::Workspace(folder.to_owned()),
            "go.sum" | "go.work.sum" => Self::Sums(file.to_owned()),
            name if has_end(name, ".json") || has_end(name, ".spdx") => Self::Sbom(file.to_owned()),
            name if has_end(name, ".sum") => Self::Sums(file.to_owned()),
            _ => Self::List(file.to_owned()),
        }
    }

    /// The file that names it.
    pub(crate) fn file(&self) -> PathBuf {
        match self {
            Self::Module(folder) => folder.join("go.mod"),
            Self::Workspace(folder) => folder.join("go.work"),
            Self::Sums(file) | Self::Sbom(file) | Self::List(file) => file.clone(),
        }
    }

    /// Whether it is to be read again when this file has changed.
    pub(crate) fn depends_on(&self, file: &Path) -> bool {
        match self {
            Self::Module(folder) => file.parent() == Some(folder),
            Self::Workspace(folder) => file.starts_with(folder),
            Self::Sums(own) | Self::Sbom(own) | Self::List(own) => own == file,
        }
    }
}

fn has_end(name: &str, end: &str) -> bool {
    name.len() > end.len() && name.to_ascii_lowercase().ends_with(end)
}

/// Whether a file of this name counts.
pub(crate) fn is_meant(name: &str) -> bool {
    matches!(name, "go.mod" | "go.sum" | "go.work" | "go.work.sum" | "bom.json")
        || [".cdx.json", ".spdx.json", ".spdx"].iter().any(|end| has_end(name, end))
}

/// The files that count, below a folder. Folders that the `go` command passes over are passed over, links are not followed.
pub(crate) fn find(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![(root.to_owned(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "a folder cannot be searched");
                continue;
            }
        };
        for entry in entries.flatten() {
            seen += 1;
            if seen > ENTRIES_MAX {
                tracing::warn!(root = %root.display(), ENTRIES_MAX, "the folder has too many files: the rest is not searched");
                return found;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < DEPTH_MAX && !is_passed_over(name) {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() && is_meant(name) {
                found.insert(entry.path());
            }
        }
    }
    found
}

fn is_passed_over(name: &str) -> bool {
    name.starts_with(['.', '_']) || matches!(name, "vendor" | "testdata" | "node_modules")
}

/// What to read of these files.
pub(crate) fn units(files: &BTreeSet<PathBuf>) -> BTreeSet<Unit> {
    let is_of_a_module = |file: &Path| file.parent().is_some_and(|folder| files.contains(&folder.join("go.mod")));
    let mut units = BTreeSet::new();
    for file in files {
        let unit = Unit::of_file(file);
        let is_work_sum = file.file_name().is_some_and(|name| name == "go.work.sum");
        let is_read_with_another = is_work_sum || (matches!(unit, Unit::Sums(_)) && is_of_a_module(file));
        if !is_read_with_another {
            units.insert(unit);
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_found_and_what_go_passes_over_is_not() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "go.work",
            "go.work.sum",
            "a/go.mod",
            "a/go.sum",
            "a/vendor/x/go.mod",
            "b/go.sum",
            "b/.git/go.mod",
            "b/testdata/go.mod",
            "c/main.go",
            "c/App.cdx.json",
            "c/x.spdx",
            "c/package.json",
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        let at = |name: &str| folder.path().join(name);
        let units = units(&find(folder.path()));
        let expected = BTreeSet::from([
            Unit::Module(at("a")),
            Unit::Workspace(folder.path().to_owned()),
            Unit::Sums(at("b/go.sum")),
            Unit::Sbom(at("c/App.cdx.json")),
            Unit::Sbom(at("c/x.spdx")),
        ]);
        assert_eq!(units, expected);
        let again: Vec<_> = units.iter().filter(|unit| unit.depends_on(&at("a/go.sum"))).collect();
        assert_eq!(again.len(), 2, "the module and the workspace");
    }
}
