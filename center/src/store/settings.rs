//! What an operator says of the storage.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::ByteSize;

use super::StoreError;
use super::blob::check_location;
use super::engine::Address;

/// Where metadata and bodies are kept. By default everything lies in the data directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StorageSettings {
    /// `rocksdb`, or the URL of a PostgreSQL database that several centers share:
    /// `postgres://user@host:5432/database?sslmode=verify-full`.
    pub(crate) metadata: String,
    /// File with the password of the database; without it `PGPASSWORD` and `.pgpass` are looked at.
    pub(crate) metadata_password_file: Option<PathBuf>,
    /// Connections to the database that may be open.
    pub(crate) metadata_connections_max: u32,
    /// Memory for bodies of at most 32 KiB that were asked for of late.
    pub(crate) memory: ByteSize,
    /// Where bodies above 32 KiB are kept.
    pub(crate) blobs: BlobSettings,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self {
            metadata: "rocksdb".to_owned(),
            metadata_password_file: None,
            metadata_connections_max: 16,
            memory: ByteSize::mib(64),
            blobs: BlobSettings::default(),
        }
    }
}

/// The object store of larger bodies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BlobSettings {
    /// `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, `file:///directory` or `memory:`; empty: `blobs` in the
    /// data directory. Credentials are taken from the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`).
    pub(crate) url: String,
    /// Further options of the object store by their names there, such as `endpoint`, `region`, `allow_http`.
    pub(crate) options: BTreeMap<String, String>,
    /// File of such options, `name=value` a line: for credentials that do not stand in the environment.
    pub(crate) options_file: Option<PathBuf>,
}

impl StorageSettings {
    /// What the types cannot say. The message names the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.metadata != "rocksdb" && !self.is_shared() {
            return Err(format!("metadata: {:?} is neither \"rocksdb\" nor postgres://…", scheme(&self.metadata)));
        }
        if self.metadata_connections_max == 0 {
            return Err("metadata_connections_max: must be at least 1".to_owned());
        }
        check_location(&self.blobs).map_err(|why| format!("blobs: {why}"))
    }

    /// Whether the metadata lie where other centers may use them too.
    pub(crate) fn is_shared(&self) -> bool {
        ["postgres", "postgresql"].contains(&scheme(&self.metadata))
    }

    /// How the database is reached.
    pub(super) fn address(&self) -> Result<Address, StoreError> {
        let password = self.metadata_password_file.as_ref().map(|path| {
            let read = std::fs::read_to_string(path).map(|password| password.trim_end_matches(['\r', '\n']).to_owned());
            let name = path.display();
            read.map_err(|error| StoreError::Unusable(format!("storage.metadata_password_file {name}: {error}")))
        });
        let connections_max = self.metadata_connections_max;
        Ok(Address { url: self.metadata.clone(), password: password.transpose()?, connections_max })
    }
}

impl BlobSettings {
    /// The options, those of the file last.
    pub(super) fn all_options(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let mut options = self.options.clone();
        let Some(path) = &self.options_file else { return Ok(options) };
        let wrong = |why: String| StoreError::Unusable(format!("storage.blobs.options_file {}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        for (number, line) in lines.enumerate() {
            let (name, value) = line.split_once('=').ok_or_else(|| wrong(format!("entry {}: no `=`", number + 1)))?;
            options.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        Ok(options)
    }
}

/// What stands before the first colon: enough to say in a message, for the rest may hold a password.
fn scheme(url: &str) -> &str {
    url.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(metadata: &str, blobs: &str) -> StorageSettings {
        let blobs = BlobSettings { url: blobs.to_owned(), ..BlobSettings::default() };
        StorageSettings { metadata: metadata.to_owned(), blobs, ..StorageSettings::default() }
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_telling_a_password() {
        for url in ["", "s3://bucket/prefix", "gs://bucket", "az://container/a/b", "file:///srv/blobs", "memory:"] {
            with("postgres://user:secret@host/database", url).check().unwrap();
        }
        for (metadata, blobs, key) in [
            ("mysql://user:secret@host/x", "", "metadata"),
            ("rocksdb", "ftp://host/x", "blobs: url"),
            ("rocksdb", "s3://", "blobs: url"),
            ("rocksdb", "nonsense", "blobs: url"),
        ] {
            let refused = with(metadata, blobs).check().unwrap_err();
            assert!(refused.starts_with(key) && !refused.contains("secret"), "{refused}");
        }
        let mut unknown = with("rocksdb", "s3://bucket");
        unknown.blobs.options.insert("no_such_option".to_owned(), String::new());
        assert!(unknown.check().unwrap_err().contains("no_such_option"));
    }
}
