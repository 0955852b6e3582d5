//! What must be true of an upstream's bytes before they are kept: the recorded identity, then the checksum database.

use shared::fill::Spooled;
use shared::module::{ModulePath, Version};

use super::Remote;
use crate::repository::answer::RETRY_AFTER;
use crate::repository::figures::Refusal;
use crate::repository::publish::blocking;
use crate::repository::{Proof, RepoError, TOOLCHAIN, Verdict, VerifyError};

impl Remote {
    /// Checks a hash against the record and, unless the record already has it, against the checksum database.
    pub(super) async fn prove(
        &self,
        module: &ModulePath,
        version: &Version,
        what: Proof<'_>,
    ) -> Result<Verdict, RepoError> {
        let identity = self.store.identity(module.as_str(), version.as_str()).await?;
        let recorded = match what {
            Proof::Zip { .. } => identity.zip_h1,
            Proof::Mod { .. } => identity.mod_h1,
        };
        self.same_identity(module, version, recorded.as_deref(), what)?;
        // The name of what belongs to a repository here is not told to a public database; a toolchain is proven all the same.
        if module.as_str() != TOOLCHAIN && self.owners.owner_of(module).is_some() {
            return Ok(Verdict::NotCovered);
        }
        match self.verifier.check(module, version, what).await {
            Ok(verdict) => Ok(verdict),
            Err(VerifyError::Mismatch(detail)) => {
                let name = format!("{module}@{version}");
                self.figures.refused(&self.name, &name, Refusal::ChecksumDatabase, &detail);
                Err(RepoError::Integrity(format!(
                    "{name}: the upstream's {} is not the one in the checksum database",
                    part(what)
                )))
            }
            Err(VerifyError::Unavailable(detail)) => {
                tracing::warn!(%module, %version, detail, "the checksum database cannot be asked");
                Err(Self::database_away(module, version))
            }
            Err(VerifyError::Impossible(why)) => Err(RepoError::Blocked(why)),
        }
    }

    /// Keeps bytes that were refused for what they are, for an operator to look at. `part` is `zip` or `mod`.
    pub(super) async fn put_aside(&self, what: String, part: &'static str, spooled: Spooled, error: &RepoError) {
        if !matches!(error, RepoError::Integrity(_)) {
            return;
        }
        let quarantine = self.quarantine.clone();
        let kept = blocking(move || {
            quarantine.keep(&what, part, &spooled);
            Ok::<_, RepoError>(())
        });
        if let Err(error) = kept.await {
            tracing::warn!(%error, "refused bytes could not be put aside");
        }
    }

    /// Nothing can be verified at present.
    pub(super) fn database_away(module: &ModulePath, version: &Version) -> RepoError {
        let msg = format!("{module}@{version}: the checksum database cannot be asked");
        RepoError::Unavailable { msg, retry_after: RETRY_AFTER }
    }

    /// Refuses a hash that is not the recorded one.
    pub(super) fn same_identity(
        &self,
        module: &ModulePath,
        version: &Version,
        recorded: Option<&str>,
        what: Proof<'_>,
    ) -> Result<(), RepoError> {
        let (Proof::Zip { h1 } | Proof::Mod { h1 }) = what;
        match recorded {
            Some(recorded) if recorded != h1 => {
                let name = format!("{module}@{version}");
                let detail = format!("{} {h1}, recorded {recorded}", part(what));
                self.figures.refused(&self.name, &name, Refusal::Identity, &detail);
                Err(RepoError::Integrity(format!("{name}: the upstream's {} is not the one recorded", part(what))))
            }
            _ => Ok(()),
        }
    }
}

const fn part(what: Proof<'_>) -> &'static str {
    match what {
        Proof::Zip { .. } => "zip",
        Proof::Mod { .. } => "go.mod",
    }
}
