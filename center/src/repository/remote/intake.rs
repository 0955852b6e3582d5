//! What an administrator brings from elsewhere: a bundle, a module cache, another proxy. It is proven and committed exactly as
//! what an upstream sends; only the upstream is spared.

use std::sync::Arc;

use bytes::Bytes;
use shared::artefact::Artefact;
use shared::module::{ModulePath, Version, h1};
use shared::request::ModuleRequest;

use super::{Remote, tombstoned};
use crate::repository::latest::version_of_info;
use crate::repository::publish::verify;
use crate::repository::{Brought, Proof, RepoError, Upload};
use crate::store::{NewBody, now_ms};

impl Remote {
    /// Takes a part of a version. Whether it was new.
    pub(in crate::repository) async fn take_in(
        self: &Arc<Self>,
        module: &ModulePath,
        version: &Version,
        part: Brought,
    ) -> Result<bool, RepoError> {
        if let Some(owner) = self.owners.owner_of(module).filter(|owner| *owner != self.name) {
            return Err(RepoError::Blocked(format!("{module} belongs to repository {owner:?}")));
        }
        let record = self.store.version(&self.name, module.as_str(), version.as_str()).await?.unwrap_or_default();
        if record.tombstone.is_some() {
            return Err(tombstoned(module, version));
        }
        match part {
            Brought::Info(_) if record.info.is_some() => Ok(false),
            Brought::Info(body) => self.take_info(module, version, body).await,
            Brought::Mod(body) => self.take_mod(module, version, body, record.gomod.is_some()).await,
            Brought::Zip(upload) => self.take_zip(module, version, upload, record.zip.is_some()).await,
        }
    }

    async fn take_info(
        self: &Arc<Self>,
        module: &ModulePath,
        version: &Version,
        body: Bytes,
    ) -> Result<bool, RepoError> {
        if version_of_info(module, &body).as_ref() != Some(version) {
            return Err(RepoError::BadModule(format!("{module}@{version}: the .info is not about this version")));
        }
        let placed = self.store.place(NewBody::Memory(body), now_ms()).await?;
        let request = ModuleRequest { module: module.clone(), artefact: Artefact::Info(version.clone()) };
        self.commit_part(&request, version, placed, |draft, placed| {
            draft.record.info = Some(placed.stored);
            Ok(())
        })
        .await?;
        Ok(true)
    }

    async fn take_mod(
        self: &Arc<Self>,
        module: &ModulePath,
        version: &Version,
        body: Bytes,
        is_held: bool,
    ) -> Result<bool, RepoError> {
        let mod_h1 = h1::hash1_gomod(&body);
        self.prove(module, version, Proof::Mod { h1: &mod_h1 }).await?;
        if is_held {
            return Ok(false);
        }
        let placed = self.store.place(NewBody::Memory(body), now_ms()).await?;
        let request = ModuleRequest { module: module.clone(), artefact: Artefact::Mod(version.clone()) };
        self.commit_part(&request, version, placed, |draft, placed| {
            let recorded = draft.identity.mod_h1.as_deref();
            self.same_identity(module, version, recorded, Proof::Mod { h1: &mod_h1 })?;
            draft.identity.mod_h1 = Some(mod_h1.clone());
            draft.record.gomod = Some(placed.stored);
            Ok(())
        })
        .await?;
        Ok(true)
    }

    async fn take_zip(
        self: &Arc<Self>,
        module: &ModulePath,
        version: &Version,
        upload: Upload,
        is_held: bool,
    ) -> Result<bool, RepoError> {
        let summary = verify(module, version, &upload).await?;
        self.prove(module, version, Proof::Zip { h1: &summary.h1 }).await?;
        self.prove(module, version, Proof::Mod { h1: &summary.gomod_h1 }).await?;
        if is_held {
            return Ok(false);
        }
        let body = NewBody::File { path: upload.path, len: upload.len, digest: upload.sha256 };
        let placed = self.store.place(body, now_ms()).await?;
        let request = ModuleRequest { module: module.clone(), artefact: Artefact::Zip(version.clone()) };
        self.commit_part(&request, version, placed, |draft, placed| {
            let recorded = draft.identity.zip_h1.as_deref();
            self.same_identity(module, version, recorded, Proof::Zip { h1: &summary.h1 })?;
            draft.identity.zip_h1 = Some(summary.h1.clone());
            draft.record.zip = Some(placed.stored);
            Ok(())
        })
        .await?;
        Ok(true)
    }
}
