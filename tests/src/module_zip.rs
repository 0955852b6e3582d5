//! Modules built in the test: the zip as `golang.org/x/mod/zip` lays it out, go.mod, info and the hashes `go` computes.

use std::io::{Cursor, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::Seed;

/// A module being put together.
#[derive(Debug, Clone)]
pub struct Module {
    path: String,
    version: String,
    go_mod: String,
    time: String,
    files: Vec<(String, Vec<u8>)>,
}

/// A finished module: what a GOPROXY server serves of it.
#[derive(Debug, Clone)]
pub struct BuiltModule {
    /// The module path, not escaped.
    pub path: String,
    /// The version.
    pub version: String,
    /// The bytes of `.info`.
    pub info: Bytes,
    /// The bytes of `.mod`.
    pub go_mod: Bytes,
    /// The bytes of `.zip`.
    pub zip: Bytes,
    /// The zip's `h1:`.
    pub h1: String,
}

impl Module {
    /// A module with nothing but its go.mod.
    pub fn new(path: &str, version: &str) -> Self {
        Self {
            path: path.to_owned(),
            version: version.to_owned(),
            go_mod: format!("module {path}\n\ngo 1.21\n"),
            time: "2024-05-06T07:08:09Z".to_owned(),
            files: Vec::new(),
        }
    }

    /// Replaces the whole go.mod.
    #[must_use]
    pub fn go_mod(mut self, text: &str) -> Self {
        text.clone_into(&mut self.go_mod);
        self
    }

    /// Adds a line to the go.mod, such as `retract v1.0.1`.
    #[must_use]
    pub fn directive(mut self, line: &str) -> Self {
        self.go_mod.push_str(line);
        self.go_mod.push('\n');
        self
    }

    /// Sets the time in `.info` (RFC 3339).
    #[must_use]
    pub fn time(mut self, time: &str) -> Self {
        time.clone_into(&mut self.time);
        self
    }

    /// Adds a file, its name below the module's root.
    #[must_use]
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// Adds a Go package named as the last element of the module path.
    #[must_use]
    pub fn package(self) -> Self {
        let name = self.path.rsplit('/').find(|part| !is_major(part)).unwrap_or("a");
        let name = name.split(['.', '-']).next().unwrap_or("a").to_lowercase();
        self.file("lib.go", format!("package {name}\n"))
    }

    /// Adds `len` bytes that do not compress; equal seeds give equal bytes.
    #[must_use]
    pub fn ballast(self, len: usize, seed: u64) -> Self {
        self.file("ballast.bin", Seed::of(seed).bytes(len))
    }

    /// The finished module.
    pub fn build(&self) -> BuiltModule {
        let mut files = self.files.clone();
        if !files.iter().any(|(name, _)| name == "go.mod") && !self.version.ends_with("+incompatible") {
            files.push(("go.mod".to_owned(), self.go_mod.clone().into_bytes()));
        }
        let prefix = format!("{}@{}/", self.path, self.version);
        let files: Vec<_> = files.into_iter().map(|(name, content)| (prefix.clone() + &name, content)).collect();
        BuiltModule {
            path: self.path.clone(),
            version: self.version.clone(),
            info: format!("{{\"Version\":\"{}\",\"Time\":\"{}\"}}", self.version, self.time).into(),
            go_mod: self.go_mod.clone().into(),
            h1: hash1(&files),
            zip: zip_of(&files),
        }
    }
}

impl BuiltModule {
    /// The path of a file of this version below a GOPROXY base, such as `example.com/a/@v/v1.0.0.zip`.
    pub fn at(&self, extension: &str) -> String {
        format!("{}/@v/{}.{extension}", escape(&self.path), escape(&self.version))
    }

    /// The zip's path below a GOPROXY base.
    pub fn zip_path(&self) -> String {
        self.at("zip")
    }

    /// Its two lines of a go.sum.
    pub fn go_sum(&self) -> String {
        let go_mod = hash1(&[("go.mod".to_owned(), self.go_mod.to_vec())]);
        format!("{0} {1} {2}\n{0} {1}/go.mod {go_mod}\n", self.path, self.version, self.h1)
    }

    /// `path@version`, as the `go` command takes it.
    pub fn query(&self) -> String {
        format!("{}@{}", self.path, self.version)
    }
}

/// Bytes of a zip with exactly these names: also ones that no module may have.
pub(crate) fn zip_of(files: &[(String, Vec<u8>)]) -> Bytes {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, content) in files {
        writer.start_file(name.as_str(), options).expect("the name fits into a zip");
        writer.write_all(content).expect("memory takes all bytes");
    }
    writer.finish().expect("memory takes all bytes").into_inner().into()
}

/// `h1:` of these files, computed here and not with the code under test (dirhash.Hash1).
pub fn hash1(files: &[(String, Vec<u8>)]) -> String {
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    let mut summary = Sha256::new();
    for (name, content) in files {
        summary.update(format!("{}  {name}\n", hex::encode(Sha256::digest(content))));
    }
    format!("h1:{}", STANDARD.encode(summary.finalize()))
}

/// A pseudo-version of a commit.
pub fn pseudo_version(base: &str, time: &str, commit: &str) -> String {
    format!("{base}-{time}-{}", &commit[..12])
}

/// `!b` for `B`.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        if letter.is_ascii_uppercase() {
            out.push('!');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

fn is_major(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}
