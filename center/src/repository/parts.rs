//! The parts of a version that come one by one: what clients made for Artifactory send, and what an administrator brings.
//!
//! Beside a zip come a `.mod` and an `.info`, in any order.
//!
//! A version is visible once its zip is in, and everything that is served of it is in that one commit. So a part that comes
//! first waits among the version's properties; an `.info` that comes later stays there.

use bytes::Bytes;
use serde::Deserialize;
use shared::digest::Digest;
use shared::module::{ModulePath, Version, gomod};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::local::Local;
use super::{Claiming, Inner, RepoError, Repository, Upload};

/// What clients made for Artifactory send beside the zip, in any order.
#[derive(Debug)]
pub(crate) enum Part {
    /// The `.info`: served if it came before the zip, otherwise only kept.
    Info(Bytes),
    /// The `.mod`, which must be the zip's.
    Mod(Bytes),
}

/// A part of a version that an administrator brings from elsewhere.
#[derive(Debug)]
pub(crate) enum Brought {
    /// The `.info`.
    Info(Bytes),
    /// The `.mod`.
    Mod(Bytes),
    /// The zip.
    Zip(Upload),
}

/// What of an `.info` must be right.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    version: String,
    time: Option<String>,
}

impl Repository {
    /// Takes a part that belongs to a module zip, which was or will be published. Returns once it is on disk.
    pub(crate) async fn attach(
        &self,
        module: &ModulePath,
        version: &Version,
        part: Part,
        claiming: Claiming,
    ) -> Result<(), RepoError> {
        self.require_claimable(module, claiming)?;
        self.deployment()?.attach(module, version, part).await
    }

    /// Takes a part of a version that was brought from elsewhere, under the same proofs as if it had been published or fetched here.
    /// Whether it was new. A local repository takes the parts as publishing does; a virtual one takes nothing, as it would
    /// have to guess whose it is.
    pub(crate) async fn take_in(
        &self,
        module: &ModulePath,
        version: &Version,
        part: Brought,
        claiming: Claiming,
    ) -> Result<bool, RepoError> {
        self.require_in_scope(module)?;
        if matches!(self.inner, Inner::Local(_)) {
            self.require_claimable(module, claiming)?;
        }
        match (&self.inner, part) {
            (Inner::Remote(remote), part) => remote.take_in(module, version, part).await,
            (Inner::Local(local), Brought::Info(body)) => {
                local.attach(module, version, Part::Info(body)).await.map(|()| true)
            }
            (Inner::Local(local), Brought::Mod(body)) => {
                local.attach(module, version, Part::Mod(body)).await.map(|()| true)
            }
            (Inner::Local(_), Brought::Zip(upload)) => {
                self.publish(module, version, upload, None, claiming).await.map(|published| published.created)
            }
            (Inner::Private(_), _) => Err(RepoError::NotWritable(format!(
                "repository {:?} is a private one; what it has comes from version control",
                self.name
            ))),
            (Inner::Virtual(_), _) => Err(RepoError::NotWritable(format!(
                "repository {:?} is a virtual one; name the member that is to hold it",
                self.name
            ))),
        }
    }

    /// The name of the local repository that takes what is published here.
    pub(crate) fn deployment_name(&self) -> Result<&str, RepoError> {
        Ok(&self.deployment()?.name)
    }
}

impl Local {
    /// Takes a part. See [`super::Repository::attach`].
    pub(super) async fn attach(&self, module: &ModulePath, version: &Version, part: Part) -> Result<(), RepoError> {
        let what = format!("{module}@{version}");
        let record = self.store.version(&self.name, module.as_str(), version.as_str()).await?.unwrap_or_default();
        if record.tombstone.is_some() {
            return Err(RepoError::Conflict(format!("{what} was removed; restore it instead")));
        }
        match part {
            Part::Info(body) => {
                let text = check_info(version, &body)?;
                let (name, module, version) = (&self.name, module.as_str(), version.as_str());
                self.store.change_properties(name, module, version, |now| now.info = Some(text.clone())).await?;
            }
            Part::Mod(body) => {
                check_module(module, &body)?;
                let digest = Digest::of(&body);
                match record.gomod {
                    Some(served) if served.digest == digest => {}
                    Some(_) => return Err(RepoError::Conflict(format!("{what} exists with another go.mod"))),
                    None => {
                        let (name, module, version) = (&self.name, module.as_str(), version.as_str());
                        self.store.change_properties(name, module, version, |now| now.gomod = Some(digest)).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The `.info` that was sent before the zip, if there is one. A `.mod` that was sent must be the zip's.
    pub(super) async fn sent_before(
        &self,
        module: &ModulePath,
        version: &Version,
        gomod: &[u8],
    ) -> Result<Option<Bytes>, RepoError> {
        let sent = self.store.properties(&self.name, module.as_str(), version.as_str()).await?;
        if sent.gomod.is_some_and(|digest| digest != Digest::of(gomod)) {
            return Err(RepoError::BadModule("the .mod that was sent before is not the zip's go.mod".to_owned()));
        }
        Ok(sent.info.map(Bytes::from))
    }
}

fn check_info(version: &Version, body: &[u8]) -> Result<String, RepoError> {
    let bad = |why: String| RepoError::BadModule(format!("the .info: {why}"));
    let info: Info = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    if info.version != version.as_str() {
        return Err(bad(format!("its version is {:?}", info.version)));
    }
    if let Some(time) = info.time {
        OffsetDateTime::parse(&time, &Rfc3339).map_err(|_| bad(format!("{time:?} is not a time")))?;
    }
    String::from_utf8(body.to_owned()).map_err(|_| bad("not UTF-8".to_owned()))
}

fn check_module(module: &ModulePath, body: &[u8]) -> Result<(), RepoError> {
    match gomod::module_path_of(body) {
        Some(named) if named == module.as_str() => Ok(()),
        Some(named) => Err(RepoError::BadModule(format!("the .mod names module {named:?}, not {module:?}"))),
        None => Err(RepoError::BadModule("the .mod names no module".to_owned())),
    }
}
