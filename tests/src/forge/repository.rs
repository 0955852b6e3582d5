//! A git repository that a test writes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::plain_env;

/// A repository with a work tree; what is committed is served at once.
#[derive(Debug, Clone)]
pub struct GitRepository {
    folder: PathBuf,
}

impl GitRepository {
    /// A new, empty one.
    ///
    /// # Panics
    /// When git is missing.
    pub fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("the test's folder is writable");
        let repository = Self { folder: folder.to_owned() };
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes files, `(path, content)`, and commits them.
    pub fn commit(&self, files: &[(&str, &str)]) -> &Self {
        for (path, content) in files {
            let path = self.folder.join(path);
            std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the folder is writable");
            std::fs::write(path, content).expect("the folder is writable");
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "change"]);
        self
    }

    /// Commits a module with one package, and tags it.
    pub fn release(&self, module: &str, tag: &str) -> &Self {
        let gomod = format!("module {module}\n\ngo 1.21\n");
        let source = format!("// Package lib is a test.\npackage lib\n\n// Tag is the tag.\nconst Tag = {tag:?}\n");
        self.commit(&[("go.mod", &gomod), ("lib.go", &source), ("LICENSE", "Do as you like.\n")]).tag(tag)
    }

    /// Tags what was committed last; a tag that is there is moved.
    pub fn tag(&self, tag: &str) -> &Self {
        self.git(&["tag", "-f", tag]);
        self
    }

    /// Runs git in it and returns what it says.
    pub fn git(&self, args: &[&str]) -> String {
        command("git", args, &self.folder)
    }
}

/// Runs a program of version control with a fixed author and without anybody's settings, and returns its standard output.
///
/// # Panics
/// When it is missing or fails.
pub fn command(program: impl AsRef<OsStr>, args: &[&str], folder: &Path) -> String {
    let program = program.as_ref();
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).env_clear().envs(plain_env());
    for (name, value) in [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_AUTHOR_NAME", "test"),
        ("GIT_AUTHOR_EMAIL", "test@modtier.example"),
        ("GIT_COMMITTER_NAME", "test"),
        ("GIT_COMMITTER_EMAIL", "test@modtier.example"),
        ("HGRCPATH", ""),
        ("HGUSER", "test"),
    ] {
        command.env(name, value);
    }
    let output = command.output().unwrap_or_else(|error| panic!("{} is needed: {error}", program.display()));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {args:?}: {errors}", program.display());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
