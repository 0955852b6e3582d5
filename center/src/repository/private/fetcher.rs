//! The seam between a private repository and what fetches for it.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use shared::module::{ModulePath, Version};
use tempfile::TempDir;

use crate::repository::RepoError;

/// What fetches: the `go` command, or a fetcher of the operator's.
///
/// [`RepoError::NotFound`] means that the source was asked and has no such thing. Whatever leaves that open, a refused
/// credential and a repository that a host does not show among it, is another error.
#[async_trait]
pub(super) trait Fetcher: Send + Sync {
    /// Whether so many fetches wait that what can be done later should be.
    fn is_busy(&self) -> bool;

    /// The tagged versions and what `latest` stands for.
    async fn listing(&self, module: &ModulePath) -> Result<Listing, RepoError>;

    /// The `.info` of what a branch, a commit or a prefix stands for.
    async fn query(&self, module: &ModulePath, query: &str) -> Result<Bytes, RepoError>;

    /// `.info` and `.mod` of a version; none if they are only to be had together with the zip.
    async fn metadata(&self, module: &ModulePath, version: &Version) -> Result<Option<Metadata>, RepoError>;

    /// Everything of a version.
    async fn download(&self, module: &ModulePath, version: &Version) -> Result<Download, RepoError>;
}

/// What a module has.
#[derive(Debug)]
pub(super) struct Listing {
    /// The tagged versions, retracted ones too.
    pub(super) versions: Vec<Version>,
    /// The `.info` of the latest; none if there is nothing that could be called so.
    pub(super) latest: Option<Bytes>,
}

/// A version without its files.
#[derive(Debug)]
pub(super) struct Metadata {
    /// The `.info`.
    pub(super) info: Bytes,
    /// The `.mod`.
    pub(super) gomod: Bytes,
}

/// A version with its files.
#[derive(Debug)]
pub(super) struct Download {
    /// The `.info`.
    pub(super) info: Bytes,
    /// The `.mod`; none if it is to be taken from the zip.
    pub(super) gomod: Option<Bytes>,
    /// The zip.
    pub(super) zip: PathBuf,
    /// What the fetcher says the zip's `h1:` is.
    pub(super) h1: Option<String>,
    /// Where the zip lies; gone when this is dropped.
    pub(super) folder: TempDir,
}
