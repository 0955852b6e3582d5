//! A bundle: a tar of `bundle.json`, the files below a GOPROXY, a `go.sum`, and at its end `manifest.sha256` with the SHA-256
//! of every other file, in the form that `sha256sum --check` reads.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};
use tempfile::{NamedTempFile, TempDir};

/// The form described here.
const FORMAT: u64 = 1;
const ABOUT: &str = "bundle.json";
const MANIFEST: &str = "manifest.sha256";
/// The sums of everything in it.
pub(super) const GO_SUM: &str = "go.sum";
/// What is copied at once, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// A bundle that is being written, beside where it is to be.
pub(super) struct BundleWriter {
    tar: Builder<NamedTempFile>,
    target: PathBuf,
    sums: BTreeMap<String, String>,
    created_s: u64,
}

impl BundleWriter {
    /// Begins one. `source` is where its content comes from.
    pub(super) fn create(target: &Path, source: &str, created: &str, created_s: u64) -> anyhow::Result<Self> {
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = NamedTempFile::new_in(folder).with_context(|| folder.display().to_string())?;
        let mut writer = Self { tar: Builder::new(file), target: target.to_owned(), sums: BTreeMap::new(), created_s };
        let about = serde_json::json!({ "format": FORMAT, "created": created, "source": source });
        writer.add_bytes(ABOUT, format!("{about}\n").as_bytes())?;
        Ok(writer)
    }

    /// Adds a file.
    pub(super) fn add_bytes(&mut self, name: &str, body: &[u8]) -> anyhow::Result<()> {
        self.add(name, body.len() as u64, body)
    }

    /// Adds a file that lies on disk.
    pub(super) fn add_file(&mut self, name: &str, path: &Path) -> anyhow::Result<()> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let len = file.metadata()?.len();
        self.add(name, len, file)
    }

    fn add(&mut self, name: &str, len: u64, body: impl Read) -> anyhow::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(len);
        header.set_mode(0o644);
        header.set_mtime(self.created_s);
        let mut hashing = Hashing { inner: body, hash: Sha256::new() };
        self.tar.append_data(&mut header, name, &mut hashing).with_context(|| name.to_owned())?;
        self.sums.insert(name.to_owned(), hex::encode(hashing.hash.finalize()));
        Ok(())
    }

    /// Writes the manifest and puts the bundle where it is to be, on disk.
    pub(super) fn finish(mut self) -> anyhow::Result<usize> {
        let count = self.sums.len();
        let mut manifest = String::new();
        for (name, sum) in &self.sums {
            writeln!(manifest, "{sum}  {name}")?;
        }
        self.add_bytes(MANIFEST, manifest.as_bytes())?;
        let mut file = self.tar.into_inner().context("the bundle")?;
        file.flush().and_then(|()| file.as_file().sync_all()).context("the bundle")?;
        file.persist(&self.target).with_context(|| self.target.display().to_string())?;
        Ok(count)
    }
}

/// Hashes what is read.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// Unpacks a bundle into a folder of its own, once every file is the one of the manifest and none is missing or too many.
pub(super) fn unpack(bundle: &Path) -> anyhow::Result<TempDir> {
    let file = File::open(bundle).with_context(|| bundle.display().to_string())?;
    let folder = tempfile::tempdir().context("a temporary directory")?;
    let mut found = BTreeMap::new();
    let mut manifest = None;
    for entry in tar::Archive::new(io::BufReader::new(file)).entries().context("not a bundle")? {
        let mut entry = entry.context("the bundle is damaged")?;
        ensure!(manifest.is_none(), "the bundle goes on behind its manifest");
        ensure!(entry.header().entry_type() == EntryType::Regular, "the bundle holds what is no file");
        let path = entry.path().context("the bundle is damaged")?.into_owned();
        let name = path.to_str().context("the bundle has a name that is not UTF-8")?.to_owned();
        ensure!(is_below(&path), "the bundle has a file outside of it: {name:?}");
        if name == MANIFEST {
            let mut text = String::new();
            entry.read_to_string(&mut text).context("the bundle is damaged")?;
            manifest = Some(text);
            continue;
        }
        let place = folder.path().join(&path);
        std::fs::create_dir_all(place.parent().unwrap_or(folder.path()))?;
        let mut hashing = Hashing { inner: &mut entry, hash: Sha256::new() };
        let mut out = File::create_new(&place).with_context(|| format!("the bundle has {name} twice"))?;
        io::copy(&mut io::BufReader::with_capacity(CHUNK_BYTES, &mut hashing), &mut out)
            .context("the bundle is damaged")?;
        found.insert(name, hex::encode(hashing.hash.finalize()));
    }
    let manifest = manifest.context("the bundle has no manifest: it is not complete")?;
    let mut listed = BTreeMap::new();
    for line in manifest.lines() {
        let (sum, name) = line.split_once("  ").context("the bundle's manifest is malformed")?;
        listed.insert(name.to_owned(), sum.to_owned());
    }
    for (name, sum) in &listed {
        match found.get(name) {
            Some(found) if found == sum => {}
            Some(_) => bail!("{name} is not the file of the bundle's manifest"),
            None => bail!("the bundle lacks {name}"),
        }
    }
    if let Some(name) = found.keys().find(|name| !listed.contains_key(*name)) {
        bail!("{name} is not in the bundle's manifest");
    }
    let about = std::fs::read(folder.path().join(ABOUT)).context("the bundle lacks bundle.json")?;
    let about: serde_json::Value = serde_json::from_slice(&about).context("bundle.json")?;
    ensure!(about["format"] == FORMAT, "the bundle has format {}, this program reads {FORMAT}", about["format"]);
    Ok(folder)
}

fn is_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path) -> PathBuf {
        let target = folder.join("b.tar");
        let mut writer = BundleWriter::create(&target, "test", "2026-01-01T00:00:00Z", 1).unwrap();
        writer.add_bytes("a.test/a/@v/v1.0.0.info", b"{}").unwrap();
        writer.add_bytes(GO_SUM, b"").unwrap();
        assert_eq!(writer.finish().unwrap(), 3);
        target
    }

    /// The bundle with each entry as `change` has it; none leaves it out.
    fn changed(bundle: &Path, change: impl Fn(&str, Vec<u8>) -> Vec<(String, Vec<u8>)>) -> PathBuf {
        let mut archive = tar::Archive::new(File::open(bundle).unwrap());
        let target = bundle.with_extension("changed");
        let mut builder = Builder::new(File::create(&target).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut body = Vec::new();
            entry.read_to_end(&mut body).unwrap();
            for (name, body) in change(&name, body) {
                let mut header = Header::new_gnu();
                header.set_size(body.len() as u64);
                header.set_mode(0o644);
                // `set_path` would refuse what a liar writes.
                header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
                header.set_cksum();
                builder.append(&header, body.as_slice()).unwrap();
            }
        }
        builder.finish().unwrap();
        target
    }

    #[test]
    fn what_was_written_is_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let unpacked = unpack(&written(folder.path())).unwrap();
        assert_eq!(std::fs::read(unpacked.path().join("a.test/a/@v/v1.0.0.info")).unwrap(), b"{}");
    }

    /// What becomes of an entry.
    type Change = fn(&str, Vec<u8>) -> Vec<(String, Vec<u8>)>;

    const INFO: &str = "a.test/a/@v/v1.0.0.info";

    #[test]
    fn a_bundle_that_was_tampered_with_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = written(folder.path());
        let same = |name: &str, body: Vec<u8>| vec![(name.to_owned(), body)];
        assert!(unpack(&changed(&bundle, same)).is_ok());
        let cases: [(&str, Change); 7] = [
            ("is not the file of", |name, body| {
                let body = if name == INFO { b"{ }".to_vec() } else { body };
                vec![(name.to_owned(), body)]
            }),
            ("lacks", |name, body| if name == INFO { vec![] } else { vec![(name.to_owned(), body)] }),
            ("no manifest", |name, body| if name == MANIFEST { vec![] } else { vec![(name.to_owned(), body)] }),
            ("is not in the bundle's manifest", |name, body| {
                let mut all = vec![(name.to_owned(), body)];
                if name == GO_SUM {
                    all.push(("more".to_owned(), b"x".to_vec()));
                }
                all
            }),
            ("twice", |name, body| vec![(name.to_owned(), body.clone()), (name.to_owned(), body)]),
            ("outside", |name, body| {
                let name = if name == GO_SUM { "../go.sum" } else { name };
                vec![(name.to_owned(), body)]
            }),
            ("goes on behind", |name, body| {
                let mut all = vec![(name.to_owned(), body)];
                if name == MANIFEST {
                    all.push(("more".to_owned(), b"x".to_vec()));
                }
                all
            }),
        ];
        for (why, change) in cases {
            let error = unpack(&changed(&bundle, change)).expect_err(why).to_string();
            assert!(error.contains(why), "{why}: {error}");
        }
        let whole = std::fs::read(&bundle).unwrap();
        std::fs::write(&bundle, &whole[..1200]).unwrap();
        assert!(unpack(&bundle).is_err());
    }
}
