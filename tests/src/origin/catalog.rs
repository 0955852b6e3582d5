//! What an origin serves.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::face::CHANGE_HEAD;
use crate::BuiltModule;
use crate::module_zip::escape;

/// Bodies by their path below the base.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    bodies: HashMap<String, Body>,
    lists: BTreeMap<String, Vec<String>>,
}

/// A body with its entity tag.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) etag: String,
    /// The header lines by which a center proves it.
    pub(super) proof: String,
}

impl Catalog {
    pub(super) fn add(&mut self, module: &BuiltModule, listed: bool) {
        for (extension, bytes) in [("info", &module.info), ("mod", &module.go_mod), ("zip", &module.zip)] {
            self.set(&module.at(extension), bytes.clone());
        }
        let list = self.lists.entry(escape(&module.path)).or_default();
        if listed && !list.contains(&module.version) {
            list.push(module.version.clone());
        }
        let text = list.join("\n") + if list.is_empty() { "" } else { "\n" };
        self.set(&format!("{}/@v/list", escape(&module.path)), text.into());
    }

    pub(super) fn point(&mut self, query: &str, module: &BuiltModule) {
        self.set(&format!("{}/@v/{}.info", escape(&module.path), escape(query)), module.info.clone());
    }

    pub(super) fn set_latest(&mut self, module: &BuiltModule) {
        self.set(&format!("{}/@latest", escape(&module.path)), module.info.clone());
    }

    pub(super) fn set(&mut self, path: &str, bytes: Bytes) {
        let digest = Sha256::digest(&bytes);
        let etag = format!("\"{}\"", hex::encode(digest));
        let proof = format!("Repr-Digest: sha-256=:{}:\r\nX-Change-Id: {CHANGE_HEAD}\r\n", STANDARD.encode(digest));
        self.bodies.insert(path.to_owned(), Body { bytes, etag, proof });
    }

    pub(super) fn get(&self, path: &str) -> Option<Body> {
        self.bodies.get(path).cloned()
    }
}
