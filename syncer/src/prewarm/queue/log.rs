//! What pre-warming did, one line each: to be searched by module and by cause.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::prewarm::wanted::{Cause, Key};

/// The file's name in the folder of the state; the one before it has `.1` at its end.
const NAME: &str = "prewarm.log";

/// A log of this size becomes the one before, and that one goes.
const LOG_BYTES_MAX: u64 = 32 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// RFC 3339, UTC.
    pub(crate) time: String,
    /// Which edge.
    pub(crate) edge: String,
    /// Which version.
    pub(crate) key: Key,
    /// Why.
    pub(crate) causes: Vec<Cause>,
    /// `held`: the edge lacked nothing; `filled`: it fetched what it lacked; `failed`: it is tried again; `dead`: it is not.
    pub(crate) result: String,
    /// Which artefacts, such as `info mod zip`.
    pub(crate) artefacts: String,
    /// Bytes that the edge fetched.
    pub(crate) bytes: u64,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// What is searched for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    /// A part of the module's path.
    pub(crate) module: Option<String>,
    /// A part of a cause, such as `project` or a file's name.
    pub(crate) cause: Option<String>,
}

impl Search {
    /// Whether it is meant.
    pub(crate) fn finds(&self, key: &Key, causes: &[Cause]) -> bool {
        self.module.as_ref().is_none_or(|module| key.to_string().contains(module.as_str()))
            && self
                .cause
                .as_ref()
                .is_none_or(|part| causes.iter().any(|cause| cause.to_string().contains(part.as_str())))
    }
}

/// The open log; without a folder, nothing is kept.
#[derive(Debug, Default)]
pub(crate) struct Log {
    open: Option<(PathBuf, File, u64)>,
}

impl Log {
    /// Opens the log in the folder of the state.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(NAME);
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let len = file.metadata()?.len();
        Ok(Self { open: Some((path, file, len)) })
    }

    /// Adds lines.
    pub(crate) fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let Some((path, file, len)) = &mut self.open else { return Ok(()) };
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        file.write_all(&text)?;
        *len += text.len() as u64;
        if *len > LOG_BYTES_MAX {
            std::fs::rename(&path, older(path))?;
            *file = OpenOptions::new().append(true).create(true).open(&path)?;
            *len = 0;
        }
        Ok(())
    }
}

/// The lines that a search finds, the oldest first.
///
/// # Errors
/// When a log is there and cannot be read.
pub(crate) fn search(folder: &Path, search: &Search) -> io::Result<Vec<Line>> {
    let path = folder.join(NAME);
    let mut found = Vec::new();
    for path in [older(&path), path] {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).split(b'\n') {
            // The last line may just be written.
            if let Ok(line) = serde_json::from_slice::<Line>(&line?)
                && search.finds(&line.key, &line.causes)
            {
                found.push(line);
            }
        }
    }
    Ok(found)
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_module_and_by_cause() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path()).unwrap();
        let line = |name: &str, cause: &str| Line {
            time: "2026-01-01T00:00:00Z".into(),
            edge: "e".into(),
            key: format!("example.com/{name}@v1.0.0").parse().unwrap(),
            causes: vec![cause.parse().unwrap()],
            result: "filled".into(),
            artefacts: "mod".into(),
            bytes: 1,
            error: None,
        };
        let (first, second) = (line("a", "project:/srv/x/go.mod"), line("b", "list:y"));
        log.write(std::slice::from_ref(&first)).unwrap();
        std::fs::rename(folder.path().join(NAME), folder.path().join("prewarm.log.1")).unwrap();
        Log::open(folder.path()).unwrap().write(std::slice::from_ref(&second)).unwrap();
        let find = |module: Option<&str>, cause: Option<&str>| {
            let asked = Search { module: module.map(str::to_owned), cause: cause.map(str::to_owned) };
            search(folder.path(), &asked).unwrap()
        };
        assert_eq!(find(None, None), [first.clone(), second.clone()], "the older file first");
        assert_eq!(find(Some("com/a"), None), std::slice::from_ref(&first));
        assert_eq!(find(None, Some("list")), [second]);
        assert_eq!(find(None, Some("/srv/x")), [first]);
        assert_eq!(find(Some("com/a"), Some("list")), []);
    }
}
