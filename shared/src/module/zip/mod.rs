//! Module zips: every rule of `zip.CheckZip` and `zip.Unzip`, and the `h1:` of `dirhash.HashZip`, in one pass.
//!
//! The archive is read here and not by a zip library, because a proof is only as good as its reading: `go` takes a
//! zip apart with Go's `archive/zip`, and two readers that find different entries in the same bytes (duplicates,
//! overlapping directories, sizes that contradict each other) would make the proof worthless.
//! `directory` finds the entries as Go does, `names` judges them together, `body` unpacks one.
//!
//! Nothing is held but the names, 32 bytes a file, and the `go.mod`. What a header claims is never believed before
//! memory is taken for it. In two points this is stricter than Go, to stay in bounded memory: a zip
//! has at most [`ENTRIES_MAX`] entries and directories and at most [`NAMES_BYTES_MAX`] bytes of names.

mod body;
mod directory;
mod names;
mod source;

use std::collections::HashMap;
use std::io::{self, Read, Seek};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::path::{ModulePath, check_file_path};
use super::version::Version;
use super::{gomod, h1};
use directory::Entry;
pub use names::Names;
use source::Source;

/// Largest module zip in bytes, and the largest sum of its files' sizes.
pub const ZIP_BYTES_MAX: u64 = 500 << 20;
/// Largest `go.mod` in bytes.
pub const GOMOD_BYTES_MAX: u64 = 16 << 20;
/// Largest `LICENSE` in bytes.
pub const LICENSE_BYTES_MAX: u64 = 16 << 20;
/// Most files and directories, implied ones included. Real modules have some ten thousands.
pub const ENTRIES_MAX: usize = 1_000_000;
/// Most bytes of file names.
pub const NAMES_BYTES_MAX: usize = 128 << 20;

/// What a valid module zip contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZipSummary {
    /// The zip's hash, as in `go.sum`.
    pub h1: String,
    /// The bytes of its `go.mod`, if it has one.
    pub gomod: Option<Bytes>,
    /// The hash of the `go.mod`, or of the one that `go` makes up where there is none ([`gomod::synthesized`]).
    pub gomod_h1: String,
    /// Number of files, without directories.
    pub files: usize,
    /// The first entry that says of itself that it is no file: a symbolic link, a device. The `go` command unpacks it as a file
    /// and so does this hash, but who packs by the rules of `golang.org/x/mod/zip` leaves such entries out.
    pub irregular: Option<String>,
}

/// Why a zip is refused.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// The zip could not be read; it may be valid.
    #[error("reading the zip: {0}")]
    Io(#[from] io::Error),
    /// Larger than [`ZIP_BYTES_MAX`], packed or unpacked, or beyond another limit.
    #[error("module zip too large: {0}")]
    TooLarge(String),
    /// Not a zip, or one whose parts contradict each other.
    #[error("malformed zip: {0}")]
    Format(String),
    /// An entry of another module; in the words that the `go` command has for it.
    #[error("zip for {module} has unexpected file {name}")]
    Foreign {
        /// The module and version, `path@version`.
        module: String,
        /// The entry's name.
        name: String,
    },
    /// An entry that a module zip must not have.
    #[error("zip entry {name:?}: {reason}")]
    Entry {
        /// Its name, as in the zip.
        name: String,
        /// The rule that it breaks.
        reason: String,
    },
}

impl ZipError {
    /// Whether the reading failed rather than the zip.
    pub fn is_io(&self) -> bool {
        matches!(self, Self::Io(_))
    }

    /// Whether a size limit was exceeded.
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge(_))
    }

    fn format(reason: impl Into<String>) -> Self {
        Self::Format(reason.into())
    }

    fn entry(name: &str, reason: impl Into<String>) -> Self {
        Self::Entry { name: name.to_owned(), reason: reason.into() }
    }
}

/// Reads a zip of `zip_len` bytes to its end and proves that it is a valid zip of `path` at `version`.
pub fn verify_zip<R: Read + Seek>(
    reader: R,
    zip_len: u64,
    path: &ModulePath,
    version: &Version,
) -> Result<ZipSummary, ZipError> {
    if zip_len > ZIP_BYTES_MAX {
        return Err(ZipError::TooLarge(format!("{zip_len} bytes; limit is {ZIP_BYTES_MAX} bytes")));
    }
    let mut source = Source::new(reader, zip_len);
    let entries = directory::read(&mut source)?;
    let prefix = format!("{path}@{version}/");
    check_entries(&entries, &prefix)?;
    unpack(&mut source, &entries, &prefix, path)
}

/// The rules that need no look into the files.
fn check_entries(entries: &[Entry], prefix: &str) -> Result<(), ZipError> {
    let mut names = Names::default();
    let mut total = 0_u64;
    for entry in entries {
        let refused = |reason: String| ZipError::entry(&entry.name, reason);
        let foreign =
            || ZipError::Foreign { module: prefix.trim_end_matches('/').to_owned(), name: entry.name.to_string() };
        let name = entry.name.strip_prefix(prefix).ok_or_else(foreign)?;
        if name.is_empty() {
            continue;
        }
        let (name, is_dir) = name.strip_suffix('/').map_or((name, false), |dir| (dir, true));
        check_file_path(name).map_err(|e| refused(e.reason().to_owned()))?;
        names.add(name, is_dir).map_err(|e| e.into_zip_error(&entry.name))?;
        if is_dir {
            continue;
        }
        if name.rsplit('/').next().unwrap_or(name).eq_ignore_ascii_case("go.mod") {
            if name.contains('/') {
                return Err(refused("go.mod file not in module root directory".into()));
            }
            if name != "go.mod" {
                return Err(refused("go.mod files must have lowercase names".into()));
            }
        }
        total = total.saturating_add(entry.size);
        if total > ZIP_BYTES_MAX {
            return Err(ZipError::TooLarge(format!("total uncompressed size exceeds {ZIP_BYTES_MAX} bytes")));
        }
        let limit = match name {
            "go.mod" => GOMOD_BYTES_MAX,
            "LICENSE" => LICENSE_BYTES_MAX,
            _ => continue,
        };
        if entry.size > limit {
            return Err(refused(format!("too large (max size is {limit} bytes)")));
        }
    }
    Ok(())
}

/// Unpacks every file into its hash.
fn unpack<R: Read + Seek>(
    source: &mut Source<R>,
    entries: &[Entry],
    prefix: &str,
    path: &ModulePath,
) -> Result<ZipSummary, ZipError> {
    let mut gomod = None;
    let mut files = 0;
    let mut hashes: Vec<(&str, [u8; 32])> = Vec::with_capacity(entries.len());
    let mut dirs: HashMap<&str, &Entry> = HashMap::new();
    for entry in entries {
        if entry.name.ends_with('/') {
            // Go's listing has a line for each directory entry, and looks at the last one of a name.
            dirs.insert(&entry.name, entry);
            hashes.push((&entry.name, Sha256::digest(b"").into()));
            continue;
        }
        files += 1;
        let mut hash = Sha256::new();
        if entry.name.strip_prefix(prefix) == Some("go.mod") {
            let mut content = Vec::new();
            body::unpack(source, entry, |chunk| content.extend_from_slice(chunk))?;
            hash.update(&content);
            gomod = Some(Bytes::from(content));
        } else {
            body::unpack(source, entry, |chunk| hash.update(chunk))?;
        }
        hashes.push((&entry.name, hash.finalize().into()));
    }
    for entry in dirs.into_values() {
        body::check_directory(source, entry)?;
    }
    hashes.sort_unstable_by_key(|&(name, _)| name);
    let gomod_h1 = match &gomod {
        Some(content) => h1::hash1_gomod(content),
        None => h1::hash1_gomod(gomod::synthesized(path).as_bytes()),
    };
    let irregular = entries.iter().find(|entry| entry.irregular).map(|entry| entry.name.to_string());
    Ok(ZipSummary { h1: h1::hash1(hashes), gomod, gomod_h1, files, irregular })
}

#[cfg(test)]
mod tests;
