//! The file of tokens: YAML with names, hashes and grants, never a token itself.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Grant, Place, RepositoryPattern, TokenHash};

/// One token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// Who holds it; stands in the audit.
    pub name: String,
    /// The hash of the token, as hexadecimal digits.
    pub sha256: TokenHash,
    /// What it allows.
    pub grants: Vec<Grant>,
    /// Where: names of repositories, or patterns. Without any of them everywhere, beyond repositories too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<RepositoryPattern>,
}

impl TokenEntry {
    /// Whether it allows this there.
    pub fn allows(&self, grant: Grant, place: Place<'_>) -> bool {
        let is_there = || match place {
            Place::Everywhere => false,
            Place::Repository(name) => self.repositories.iter().any(|pattern| pattern.covers(name)),
        };
        self.grants.contains(&grant) && (self.repositories.is_empty() || is_there())
    }
}

/// All tokens of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenFile {
    /// In the order of the file.
    #[serde(default)]
    pub tokens: Vec<TokenEntry>,
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It could not be read.
    #[error("tokens file {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be written.
    #[error("tokens file {}: cannot write: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what a token file is.
    #[error("tokens file {}: {message}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// What is wrong, with line and column.
        message: String,
    },
}

impl TokenFile {
    /// Reads a file of tokens.
    pub fn load(file: &Path) -> Result<Self, AccessError> {
        let text =
            std::fs::read_to_string(file).map_err(|source| AccessError::Read { file: file.to_owned(), source })?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_yaml::from_str(&text)
            .map_err(|error| AccessError::Syntax { file: file.to_owned(), message: error.to_string() })
    }

    /// Adds a token to a file, which is created where there is none, readable by its owner only. The file is replaced
    /// as a whole, so a reader never sees half of it; two that append at one time wait for each other.
    pub fn append(file: &Path, entry: TokenEntry) -> Result<(), AccessError> {
        // The folder is locked: the file itself is another one afterwards.
        let _turn = lock(folder_of(file)).map_err(|source| AccessError::Write { file: file.to_owned(), source })?;
        let mut all = match Self::load(file) {
            Ok(all) => all,
            Err(AccessError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error),
        };
        all.tokens.push(entry);
        let text = serde_yaml::to_string(&all)
            .map_err(|error| AccessError::Syntax { file: file.to_owned(), message: error.to_string() })?;
        replace(file, text.as_bytes()).map_err(|source| AccessError::Write { file: file.to_owned(), source })
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn lock(folder: &Path) -> io::Result<File> {
    let folder = File::open(folder)?;
    folder.lock()?;
    Ok(folder)
}

fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(file);
    // A temporary file is made with mode 0600, which is what a file of secrets' hashes should keep.
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(file)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::generate;

    #[test]
    fn what_is_appended_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.yaml");
        let entries: Vec<TokenEntry> = ["a", "b"]
            .map(|name| TokenEntry {
                name: name.into(),
                sha256: generate().unwrap().hashed,
                grants: vec![Grant::Read, Grant::Write],
                repositories: RepositoryPattern::new("team-*").into_iter().collect(),
            })
            .into();
        for entry in &entries {
            TokenFile::append(&file, entry.clone()).unwrap();
        }
        assert_eq!(TokenFile::load(&file).unwrap().tokens, entries);
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn tokens_that_are_appended_at_one_time_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.yaml");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let file = &file;
                scope.spawn(move || {
                    let sha256 = generate().unwrap().hashed;
                    TokenFile::append(
                        file,
                        TokenEntry { name: format!("t{number}"), sha256, grants: vec![], repositories: vec![] },
                    )
                    .unwrap();
                });
            }
        });
        assert_eq!(TokenFile::load(&file).unwrap().tokens.len(), 8);
    }

    #[test]
    fn a_wrong_file_is_named_and_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.yaml");
        std::fs::write(&file, "tokens: [{name: a, sha256: 12, grants: [read]}]").unwrap();
        assert!(TokenFile::load(&file).unwrap_err().to_string().contains("tokens.yaml"));
        let entry =
            TokenEntry { name: "b".into(), sha256: generate().unwrap().hashed, grants: vec![], repositories: vec![] };
        assert!(TokenFile::append(&file, entry).is_err());
        assert!(std::fs::read_to_string(&file).unwrap().contains("name: a"));
    }
}
