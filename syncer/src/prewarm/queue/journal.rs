//! The queue on disk: a file of records, each the whole state of one version at one edge, so that the last one counts.
//!
//! A record that was not written to its end when the machine stopped is cut off at the next start. A record that is lost costs
//! one question to an edge that holds the artefact already.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::lane::{Dead, Job};
use crate::prewarm::wanted::Key;

/// A journal is written anew when it is larger than this and than four times what it was when it was last written anew.
const COMPACT_BYTES: u64 = 8 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum Record {
    /// It waits, or is under way.
    Waits {
        /// The edge.
        edge: String,
        /// All of it.
        job: Job,
    },
    /// Nothing is left to do.
    Done {
        /// The edge.
        edge: String,
        /// The version.
        key: Key,
    },
    /// It was given up.
    Dead {
        /// The edge.
        edge: String,
        /// All of it.
        dead: Dead,
    },
    /// What an edge was made to fetch on one day.
    Spent {
        /// The edge.
        edge: String,
        /// Days since 1970.
        day: u64,
        /// Bytes.
        bytes: u64,
    },
}

/// The open file; without one, nothing is kept.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    file: Option<(PathBuf, File)>,
    bytes: u64,
    bytes_when_new: u64,
    /// What lies behind `bytes` is a part of records that could not be written.
    is_torn: bool,
}

impl Journal {
    /// Opens the file and hands every record to `apply`.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(crate) fn open(path: &Path, mut apply: impl FnMut(Record)) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut whole = 0;
        let mut reader = BufReader::new(&mut file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let len = reader.read_until(b'\n', &mut line)?;
            if len == 0 || !line.ends_with(b"\n") {
                break;
            }
            // A line that an older or newer build wrote is passed over.
            match serde_json::from_slice(&line) {
                Ok(record) => apply(record),
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "a record of the journal is not understood");
                }
            }
            whole += len as u64;
        }
        drop(reader);
        file.set_len(whole)?;
        file.seek(io::SeekFrom::End(0))?;
        Ok(Self { file: Some((path.to_owned(), file)), bytes: whole, bytes_when_new: 0, is_torn: false })
    }

    /// Writes records and waits until the disk has them. Should that fail, none of them is in the file, so that the next is
    /// not appended to half a line.
    pub(crate) fn write(&mut self, records: &[Record]) -> io::Result<()> {
        let text = lines(records)?;
        if text.is_empty() {
            return Ok(());
        }
        self.mend()?;
        let Some((_, file)) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all(&text).and_then(|()| file.sync_data()) {
            self.is_torn = true;
            // If it cannot be done now, it is before anything else is written.
            let _ = self.mend();
            return Err(error);
        }
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Cuts off what could not be written.
    fn mend(&mut self) -> io::Result<()> {
        let Some((_, file)) = self.file.as_mut().filter(|_| self.is_torn) else { return Ok(()) };
        file.set_len(self.bytes)?;
        file.seek(io::SeekFrom::Start(self.bytes))?;
        self.is_torn = false;
        Ok(())
    }

    /// Whether most of the file is history.
    pub(crate) fn is_long(&self) -> bool {
        self.file.is_some() && self.bytes > COMPACT_BYTES.max(self.bytes_when_new * 4)
    }

    /// Writes the file anew with what counts; the old one stays until the new one is whole.
    pub(crate) fn rewrite(&mut self, records: &[Record]) -> io::Result<()> {
        let Some((path, _)) = &self.file else { return Ok(()) };
        let path = path.clone();
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        let text = lines(records)?;
        new.write_all(&text)?;
        new.as_file().sync_all()?;
        let file = new.persist(&path)?;
        File::open(folder)?.sync_all()?;
        let bytes = text.len() as u64;
        *self = Self { file: Some((path, file)), bytes, bytes_when_new: bytes, is_torn: false };
        Ok(())
    }
}

fn lines(records: &[Record]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for record in records {
        serde_json::to_writer(&mut text, record)?;
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(name: &str) -> Record {
        Record::Done { edge: "e".into(), key: format!("example.com/{name}@v1.0.0").parse().unwrap() }
    }

    fn read(path: &Path) -> Vec<Record> {
        let mut found = Vec::new();
        Journal::open(path, |record| found.push(record)).unwrap();
        found
    }

    #[test]
    fn a_torn_end_is_cut_off_wherever_it_tore() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        Journal::open(&path, |_| {}).unwrap().write(&[done("a"), done("b")]).unwrap();
        let text = std::fs::read(&path).unwrap();
        let first = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for len in 0..=text.len() {
            std::fs::write(&path, &text[..len]).unwrap();
            let expected = usize::from(len >= first) + usize::from(len == text.len());
            assert_eq!(read(&path).len(), expected, "{len} bytes");
            let mut journal = Journal::open(&path, |_| {}).unwrap();
            journal.write(&[done("c")]).unwrap();
            assert_eq!(read(&path).last(), Some(&done("c")), "{len} bytes");
        }
    }

    #[test]
    fn after_a_write_that_failed_the_next_begins_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path, |_| {}).unwrap();
        journal.write(&[done("a")]).unwrap();
        // As a full disk leaves it.
        journal.file.as_mut().unwrap().1.write_all(b"{\"state\":\"do").unwrap();
        journal.is_torn = true;
        journal.write(&[done("b")]).unwrap();
        assert_eq!(read(&path), [done("a"), done("b")]);
    }

    #[test]
    fn written_anew_it_holds_what_counts_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path, |_| {}).unwrap();
        journal.write(&[done("a"), done("b")]).unwrap();
        journal.rewrite(&[done("b")]).unwrap();
        journal.write(&[done("c")]).unwrap();
        assert_eq!(read(&path), [done("b"), done("c")]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::write(&path, "{\"state\":\"unheard\"}\n").unwrap();
        assert_eq!(read(&path), []);
    }
}
