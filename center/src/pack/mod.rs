//! Packing: from a directory or a git tag to the module zip that the `go` command would make of it.
//!
//! [`tree`] and [`git`] find the files, [`rules`] says which of them belong (`golang.org/x/mod/zip`: `CreateFromDir`, and
//! `Create` over what `git archive` holds), and what was written is proven by the reader that the center proves uploads
//! with, so that nothing is sent which would be refused.

mod git;
mod rules;
mod tree;

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use shared::digest::Digest;
use shared::module::zip::{ZipSummary, verify_zip};
use shared::module::{ModulePath, Version, gomod, split_path_version};
use tempfile::NamedTempFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

pub(crate) use self::git::Revision;
use self::rules::Selection;

/// What to pack.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    /// The folder of the module.
    pub(crate) dir: &'a Path,
    /// The version to be.
    pub(crate) version: &'a str,
    /// The module path, where there is no go.mod that says it.
    pub(crate) module: Option<&'a str>,
    /// Take what git holds and not what lies in the folder.
    pub(crate) revision: Option<Revision<'a>>,
}

/// A finished module zip in a temporary file.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Whose it is.
    pub(crate) module: ModulePath,
    /// Its version.
    pub(crate) version: Version,
    /// The zip.
    pub(crate) file: NamedTempFile,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// Its SHA-256.
    pub(crate) sha256: Digest,
    /// Its hashes, as the center will compute them.
    pub(crate) summary: ZipSummary,
    /// What was left out, and why.
    pub(crate) omitted: Vec<(String, &'static str)>,
}

/// A file that may belong to the module.
struct Found {
    /// Below the module's root, with slashes.
    name: String,
    /// What it is.
    kind: Kind,
    /// Its length in bytes.
    size: u64,
    content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Regular,
    Symlink,
    Other,
}

enum Content {
    File(PathBuf),
    /// An entry of the archive that git made.
    Entry(usize),
    Memory(Bytes),
}

/// What was found, before the rules.
struct Source {
    files: Vec<Found>,
    omitted: Vec<(String, &'static str)>,
    /// The go.mod at the module's root, if it has one.
    gomod: Option<Bytes>,
    archive: Option<ZipArchive<File>>,
}

/// Packs a module as the `go` command would.
pub(crate) fn pack(order: &Order<'_>) -> anyhow::Result<Packed> {
    let mut source = match &order.revision {
        Some(revision) => git::read(order, *revision)?,
        None => tree::read(order.dir)?,
    };
    let (module, version) = name(order, source.gomod.as_deref())?;
    let language = match &source.gomod {
        Some(body) => gomod::language(body).map_err(|why| anyhow::anyhow!("go.mod: {why}"))?,
        None => None,
    };
    let Selection { chosen, omitted } = rules::select(&source.files, language)?;
    source.omitted.extend(omitted);
    let file = write(&mut source, &chosen, &format!("{module}@{version}/"))?;
    let len = file.as_file().metadata().context("the zip")?.len();
    let summary = verify_zip(file.reopen().context("the zip")?, len, &module, &version)?;
    let sha256 = digest_of(file.reopen().context("the zip")?).context("the zip")?;
    Ok(Packed { module, version, file, len, sha256, summary, omitted: source.omitted })
}

/// Module and version, which must fit each other and the go.mod.
fn name(order: &Order<'_>, body: Option<&[u8]>) -> anyhow::Result<(ModulePath, Version)> {
    let path = match (body, order.module) {
        (Some(body), wanted) => {
            let named = gomod::module_path_of(body).context("the go.mod names no module")?;
            if let Some(wanted) = wanted {
                ensure!(named == wanted, "the go.mod names module {named:?}, not {wanted:?}");
            }
            named
        }
        (None, Some(wanted)) => wanted.to_owned(),
        (None, None) => bail!("{}: there is no go.mod; say with --module which module it is", order.dir.display()),
    };
    let module = ModulePath::new(&path)?;
    let version = Version::new(&module, order.version)?;
    let major = split_path_version(module.as_str()).map_or("", |(_, major)| major);
    ensure!(body.is_some() || !major.starts_with('/'), "{module}: a module path that ends in {major} needs a go.mod");
    ensure!(
        body.is_none() || !version.is_incompatible(),
        "{module}@{version}: a module with a go.mod cannot be +incompatible; its path must end in the major version"
    );
    Ok((module, version))
}

fn write(source: &mut Source, chosen: &[usize], prefix: &str) -> anyhow::Result<NamedTempFile> {
    let file = NamedTempFile::new().context("a temporary file for the zip")?;
    let mut writer = ZipWriter::new(io::BufWriter::new(file.reopen().context("the zip")?));
    // No time and no mode of the files: equal trees make equal zips.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o644);
    for found in chosen.iter().filter_map(|&index| source.files.get(index)) {
        writer.start_file(format!("{prefix}{}", found.name), options).context("the zip")?;
        let copied = match &found.content {
            Content::File(path) => copy(File::open(path), found.size, &mut writer),
            Content::Memory(bytes) => copy(Ok(bytes.as_ref()), found.size, &mut writer),
            Content::Entry(index) => {
                let archive = source.archive.as_mut().context("an entry is of an archive")?;
                copy(archive.by_index(*index).map_err(io::Error::other), found.size, &mut writer)
            }
        };
        copied.with_context(|| found.name.clone())?;
    }
    writer.finish().and_then(|mut buffered| Ok(buffered.flush()?)).context("the zip")?;
    Ok(file)
}

fn digest_of(mut file: File) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(Digest::from_bytes(hash.finalize().into())),
            count => hash.update(&chunk[..count]),
        }
    }
}

/// Copies a file that has not grown since it was looked at.
fn copy(from: io::Result<impl Read>, size: u64, to: &mut impl io::Write) -> anyhow::Result<()> {
    let copied = io::copy(&mut from?.take(size + 1), to)?;
    ensure!(copied <= size, "it grew while it was read");
    Ok(())
}
