//! The parts that clients made for Artifactory send beside a zip: a `.mod` and an `.info`, in any order.
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
use super::{Part, RepoError};

/// What of an `.info` must be right.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    version: String,
    time: Option<String>,
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
