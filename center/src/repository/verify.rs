//! What is asked of a checksum database, and what it may say: the seam between remote repositories and [`crate::sumdb`].

use async_trait::async_trait;
use shared::module::{ModulePath, Version};

/// The module of which Go's toolchains are versions. Whoever downloads one runs it, so it is proven whatever else is not.
pub(crate) const TOOLCHAIN: &str = "golang.org/toolchain";

/// What a checksum database is asked about a version.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Proof<'a> {
    /// The hash of the zip.
    Zip {
        /// `h1:…`
        h1: &'a str,
    },
    /// The hash of the go.mod.
    Mod {
        /// `h1:…`
        h1: &'a str,
    },
}

/// What a checksum database says, if it does not contradict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The database has this hash.
    Verified,
    /// No database speaks for this module.
    NotCovered,
    /// The database cannot be asked, and this may be served all the same, but not kept.
    Unverified,
}

/// Why a hash could not be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VerifyError {
    /// The database has another hash. The text says which.
    #[error("{0}")]
    Mismatch(String),
    /// The database could not be asked.
    #[error("{0}")]
    Unavailable(String),
    /// No database that could ever be asked is configured, and without one this is not served.
    #[error("{0}")]
    Impossible(String),
}

/// The seam between remote repositories and the checksum database.
#[async_trait]
pub(crate) trait Verifier: Send + Sync {
    /// Checks one hash of one version.
    async fn check(&self, module: &ModulePath, version: &Version, what: Proof<'_>) -> Result<Verdict, VerifyError>;

    /// Whether a check of this version would come to [`Verdict::Unverified`] now: known before there is a hash.
    async fn is_away(&self, module: &ModulePath, version: &Version) -> bool;
}
