//! What must be true of an upstream's bytes before they are kept: the recorded identity, then the checksum database.

use shared::module::{ModulePath, Version};

use super::Remote;
use crate::repository::answer::RETRY_AFTER;
use crate::repository::figures::Refusal;
use crate::repository::{Proof, RepoError, VerifyError};

impl Remote {
    /// Checks a hash against the record and, unless the record already has it, against the checksum database.
    pub(super) async fn prove(&self, module: &ModulePath, version: &Version, what: Proof<'_>) -> Result<(), RepoError> {
        let identity = self.store.identity(module.as_str(), version.as_str()).await?;
        let recorded = match what {
            Proof::Zip { .. } => identity.zip_h1,
            Proof::Mod { .. } => identity.mod_h1,
        };
        self.same_identity(module, version, recorded.as_deref(), what)?;
        match self.verifier.check(module, version, what).await {
            Ok(_) => Ok(()),
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
                let msg = format!("{module}@{version}: the checksum database cannot be asked");
                Err(RepoError::Unavailable { msg, retry_after: RETRY_AFTER })
            }
        }
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
