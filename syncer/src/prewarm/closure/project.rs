//! What a folder's go.mod, go.sum and go.work ask for.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use shared::go_sum::{self, Entry};
use shared::module::gomod::{self, ModFile};

use crate::prewarm::sources::toolchain;
use crate::prewarm::wanted::Key;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A main module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Main {
    /// Its path, as far as it has one.
    pub(crate) path: String,
    /// What it requires.
    pub(crate) require: Vec<Key>,
    /// Whether its graph is pruned.
    pub(crate) is_pruned: bool,
}

/// What takes a module's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Replacement {
    /// Another version.
    Module(Key),
    /// A folder, of which only the requirements count.
    Folder(PathBuf),
}

/// One build: a main module, or a workspace of some.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Project {
    /// The main modules.
    pub(crate) mains: Vec<Main>,
    /// Whether a go.work holds them together.
    pub(crate) is_workspace: bool,
    excludes: HashSet<Key>,
    /// By path and version; an empty version stands for all.
    replaces: HashMap<(String, String), Replacement>,
    /// What the go.sum files name.
    pub(crate) sums: Vec<Entry>,
    /// The toolchain that the `go` command would take, such as `go1.26.0`.
    pub(crate) toolchain: Option<String>,
    /// What is wrong with the files, and does not keep the rest from being read.
    pub(crate) flaws: Vec<String>,
}

impl Project {
    /// The main module in a folder.
    ///
    /// # Errors
    /// When there is no go.mod that can be read.
    pub(crate) fn of_module(folder: &Path) -> Result<Self, String> {
        let mut this = Self::default();
        this.add_main(folder)?;
        this.add_sums(&folder.join("go.sum"));
        Ok(this)
    }

    /// The workspace of a folder.
    ///
    /// # Errors
    /// When there is no go.work that can be read, or a module of it has no go.mod.
    pub(crate) fn of_workspace(folder: &Path) -> Result<Self, String> {
        let work = read(&folder.join("go.work"))?;
        let mut this = Self { is_workspace: true, ..Self::default() };
        for module in &work.uses {
            this.add_main(&folder.join(module))?;
            this.add_sums(&folder.join(module).join("go.sum"));
        }
        this.add_sums(&folder.join("go.work.sum"));
        // The workspace decides where its modules differ.
        this.add_replaces(&work, folder);
        this.add_toolchain(&work);
        Ok(this)
    }

    /// A program that requires one module and nothing else.
    pub(crate) fn of_requirement(key: Key) -> Self {
        let main = Main { path: String::new(), require: vec![key], is_pruned: true };
        Self { mains: vec![main], ..Self::default() }
    }

    /// What a go.sum names, and no more.
    pub(crate) fn of_sums(sums: Vec<Entry>) -> Self {
        Self { sums, ..Self::default() }
    }

    /// What takes a version's place, if anything does.
    pub(crate) fn replacement(&self, key: &Key) -> Option<&Replacement> {
        let path = key.module.as_str().to_owned();
        let exact = self.replaces.get(&(path.clone(), key.version.as_str().to_owned()));
        exact.or_else(|| self.replaces.get(&(path, String::new())))
    }

    /// Whether no build uses this version.
    pub(crate) fn excludes(&self, key: &Key) -> bool {
        self.excludes.contains(key)
    }

    fn add_main(&mut self, folder: &Path) -> Result<(), String> {
        let file = read(&folder.join("go.mod"))?;
        let require = keys(&file, &mut self.flaws);
        self.excludes.extend(file.exclude.iter().filter_map(|named| Key::new(&named.path, &named.version).ok()));
        self.add_replaces(&file, folder);
        self.add_toolchain(&file);
        let is_pruned = file.is_pruned();
        self.mains.push(Main { path: file.module.unwrap_or_default(), require, is_pruned });
        Ok(())
    }

    fn add_replaces(&mut self, file: &ModFile, folder: &Path) {
        for replace in &file.replace {
            let with = match &replace.with_version {
                None => Ok(Replacement::Folder(folder.join(&replace.with))),
                Some(version) => Key::new(&replace.with, version).map(Replacement::Module),
            };
            match with {
                Ok(with) => {
                    let version = replace.version.clone().unwrap_or_default();
                    self.replaces.insert((replace.path.clone(), version), with);
                }
                Err(error) => self.flaws.push(format!("replace {}: {error}", replace.path)),
            }
        }
    }

    fn add_toolchain(&mut self, file: &ModFile) {
        let wanted = toolchain::of(file.go.as_deref(), file.toolchain.as_deref());
        self.toolchain = toolchain::newer(self.toolchain.take(), wanted);
    }

    fn add_sums(&mut self, path: &Path) {
        let text = match read_text(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return self.flaws.push(format!("{}: {error}", path.display())),
        };
        match go_sum::parse(&text) {
            Ok(entries) => self.sums.extend(entries),
            Err(error) => self.flaws.push(format!("{}:{error}", path.display())),
        }
    }
}

/// What a go.mod requires, as far as it is valid.
pub(crate) fn keys(file: &ModFile, flaws: &mut Vec<String>) -> Vec<Key> {
    let mut keys = Vec::new();
    for named in &file.require {
        match Key::new(&named.path, &named.version) {
            Ok(key) => keys.push(key),
            Err(error) => flaws.push(format!("require {} {}: {error}", named.path, named.version)),
        }
    }
    keys
}

/// Reads a go.mod or go.work.
pub(crate) fn read(path: &Path) -> Result<ModFile, String> {
    let text = read_text(path).map_err(|error| format!("{}: {error}", path.display()))?;
    gomod::file(text.as_bytes()).ok_or_else(|| format!("{}: it is malformed", path.display()))
}

/// The text of a file that somebody else may be writing or have written.
///
/// # Errors
/// When it cannot be read or is too large.
pub(crate) fn read_text(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    // A pipe would keep whoever opens it waiting.
    let file = if std::fs::metadata(path)?.is_file() { std::fs::File::open(path)? } else { return Err(no_file()) };
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn no_file() -> std::io::Error {
    std::io::Error::other("it is no file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_its_modules_and_what_it_says_itself() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("go.work", "go 1.24\nuse (\n\t./a\n\t./b\n)\nreplace x.y => z.z v1.0.0\n");
        write("a/go.mod", "module a.b/a\ngo 1.24\ntoolchain go1.25.3\nrequire x.y v1.0.0\nexclude q.r v1.0.0\n");
        write("b/go.mod", "module a.b/b\nrequire (\n\tq.r v1.1.0\n\tq.r branch\n)\nreplace x.y => ../x\n");
        write("b/go.sum", "q.r v1.1.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
        let project = Project::of_workspace(folder.path()).unwrap();
        assert_eq!(project.mains.iter().map(|main| main.is_pruned).collect::<Vec<_>>(), [true, false]);
        let key = "x.y@v1.0.0".parse().unwrap();
        assert_eq!(project.replacement(&key), Some(&Replacement::Module("z.z@v1.0.0".parse().unwrap())));
        assert!(project.excludes(&"q.r@v1.0.0".parse().unwrap()));
        assert_eq!(project.toolchain.as_deref(), Some("go1.25.3"));
        assert_eq!((project.sums.len(), project.flaws.len()), (1, 1), "{:?}", project.flaws);
        let alone = Project::of_module(&folder.path().join("b")).unwrap();
        assert!(matches!(alone.replacement(&key), Some(Replacement::Folder(_))));
        assert!(Project::of_module(folder.path()).unwrap_err().contains("go.mod"));
    }
}
