//! The proof of what an edge sent, against the hashes of the go.sum.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Seek as _};

use serde::Deserialize;
use shared::go_sum::Entry;
use shared::module::h1::hash1_gomod;
use shared::module::zip::verify_zip;
use shared::module::{ModulePath, Version};

#[derive(Deserialize)]
struct Info {
    #[serde(rename = "Version")]
    version: String,
}

/// An `.info` must be JSON and name the version that was asked for.
pub(crate) fn info(body: &[u8], entry: &Entry) -> Result<(), String> {
    let info: Info =
        serde_json::from_slice(body).map_err(|error| format!("the info is not what it must be: {error}"))?;
    if info.version == entry.version.as_str() {
        Ok(())
    } else {
        Err(format!("the info is of version {:?}", info.version))
    }
}

/// The version that an `.info` or `@latest` names, which must be one of the module's.
pub(crate) fn version(body: &[u8], module: &ModulePath) -> Result<Version, String> {
    let info: Info =
        serde_json::from_slice(body).map_err(|error| format!("the info is not what it must be: {error}"))?;
    Version::new(module, &info.version).map_err(|error| error.to_string())
}

/// A go.mod must have an accepted hash, where one is known.
pub(crate) fn gomod(body: &[u8], entry: &Entry) -> Result<(), String> {
    if entry.gomod.is_empty() { Ok(()) } else { accepted(&hash1_gomod(body), &entry.gomod) }
}

/// A zip must keep the rules of module zips and have an accepted hash, where one is known. Reads the file from its beginning; blocks.
pub(crate) fn zip(mut file: File, len: u64, entry: &Entry) -> Result<(), String> {
    file.rewind().map_err(|error| format!("temporary file: {error}"))?;
    let summary =
        verify_zip(BufReader::new(file), len, &entry.module, &entry.version).map_err(|error| error.to_string())?;
    if entry.zip.is_empty() { Ok(()) } else { accepted(&summary.h1, &entry.zip) }
}

fn accepted(hash: &str, known: &BTreeSet<String>) -> Result<(), String> {
    if known.contains(hash) {
        return Ok(());
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Err(format!("its hash is {hash}, but the go.sum has {}", known.join(" or ")))
}
