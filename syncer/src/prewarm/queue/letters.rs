//! The list of the dead for who only reads, and requests to try again for who does not run.

use std::collections::{BTreeMap, HashSet};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::journal::Record;
use super::lane::{Dead, Job};
use super::log::Search;
use super::{JOURNAL, RETRY};

/// What was given up, by edge, as the journal has it; for who only reads.
///
/// # Errors
/// When the journal is there and cannot be read.
pub(crate) fn dead_letters(folder: &Path) -> io::Result<Vec<(String, Dead)>> {
    let text = match std::fs::read(folder.join(JOURNAL)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut dead = BTreeMap::new();
    for record in text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()) {
        match record {
            Record::Dead { edge, dead: one } => {
                dead.insert((edge, one.job.key.clone()), one);
            }
            Record::Waits { edge, job: Job { key, .. } } | Record::Done { edge, key } => {
                dead.remove(&(edge, key));
            }
            Record::Spent { .. } => {}
        }
    }
    Ok(dead.into_iter().map(|((edge, _), dead)| (edge, dead)).collect())
}

/// Asks whoever has the queue, or will have it, to try again what the search finds.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) fn request_retry(folder: &Path, search: &Search) -> io::Result<()> {
    let folder = folder.join(RETRY);
    std::fs::create_dir_all(&folder)?;
    let mut file = tempfile::Builder::new().suffix(".new").tempfile_in(&folder)?;
    // Who has the queue may be another user.
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    serde_json::to_writer(&mut file, &(&search.module, &search.cause))?;
    let name = file.path().with_extension("json");
    file.persist(name)?;
    Ok(())
}

/// What was asked for, and the files that ask. Of those that cannot be read it is said once; `unreadable` are those.
pub(super) fn requests(folder: &Path, unreadable: &mut HashSet<PathBuf>) -> Vec<(PathBuf, Search)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
    let known = std::mem::take(unreadable);
    let mut found = Vec::new();
    for path in paths {
        match std::fs::read(&path).and_then(|text| Ok(serde_json::from_slice(&text)?)) {
            Ok((module, cause)) => found.push((path, Search { module, cause })),
            Err(error) => {
                if !known.contains(&path) {
                    tracing::warn!(file = %path.display(), %error, "a request to try again cannot be read");
                }
                unreadable.insert(path);
            }
        }
    }
    found
}
