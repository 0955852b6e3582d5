//! Verifying everything at rest, and healing what can be had again.
//!
//! What came from an upstream is fetched from there once more, by the one way in which everything is fetched: it must have the
//! recorded hash. What was published here nobody else has; it is reported.

use serde::Serialize;
use shared::artefact::Artefact;
use shared::module::ModulePath;
use shared::request::{ModuleRequest, Request};

use super::{Body, FetchOptions, RepoError, Repositories, RepositoryKind};
use crate::store::{Damage, Damaged, Referrer, Store, Stored, VersionRecord};

/// One reference to a body that was not what is recorded.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    /// The repository.
    pub(crate) repository: String,
    /// The module path.
    pub(crate) module: String,
    /// The artefact's file name.
    pub(crate) name: String,
    /// The recorded SHA-256.
    pub(crate) sha256: String,
    /// What was wrong.
    pub(crate) damage: Damage,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// What became of a damaged body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Nothing was tried.
    Reported,
    /// It was fetched again, or written anew by somebody else.
    Healed,
    /// It could not be had again: the reason.
    Lost(String),
}

impl Repositories {
    /// Reads and hashes every body. With `heal`, wrong bytes are taken out of service, and what can be had again is fetched.
    /// `progress` is told after each body how many of how many are done.
    pub(crate) async fn verify(
        &self,
        store: &Store,
        heal: bool,
        progress: impl FnMut(u64, u64) + Send,
    ) -> Result<Vec<Finding>, RepoError> {
        let mut findings = Vec::new();
        for damaged in store.verify(progress).await? {
            // Finding all of them takes hours, in which a publish or a fill may have written this one anew.
            let is_whole = heal
                && (store.examine(&damaged.stored).await?.is_none() || store.mend_from_memory(&damaged.stored).await?);
            if heal && !is_whole {
                store.withdraw(&damaged).await?;
            }
            for referrer in &damaged.referrers {
                let outcome = match (heal, is_whole) {
                    (false, _) => Outcome::Reported,
                    (true, true) => Outcome::Healed,
                    (true, false) => self.heal(store, &damaged, referrer).await?,
                };
                let Referrer { repository, module, name } = referrer.clone();
                tracing::error!(
                    target: "audit", repository, module, name, sha256 = %damaged.stored.digest, damage = ?damaged.damage, ?outcome,
                    "a body at rest is not what is recorded"
                );
                let (sha256, damage) = (damaged.stored.digest.hex(), damaged.damage);
                findings.push(Finding { repository, module, name, sha256, damage, outcome });
            }
        }
        Ok(findings)
    }

    async fn heal(&self, store: &Store, damaged: &Damaged, referrer: &Referrer) -> Result<Outcome, RepoError> {
        let lost = |why: &str| Ok(Outcome::Lost(why.to_owned()));
        let Some(repository) = self.get(&referrer.repository) else { return lost("its repository is not configured") };
        if repository.kind() == RepositoryKind::Local {
            return lost("it was published here; publish the same zip again");
        }
        let Some(request) = request_for(referrer) else { return lost("its record names no artefact") };
        let healed = async {
            let answer = repository.fetch(&request, &FetchOptions::default()).await?;
            if let Body::Filling(fill) = &answer.body {
                fill.done().await?;
            }
            Ok::<_, RepoError>(())
        };
        if let Err(error) = healed.await {
            return Ok(Outcome::Lost(error.to_string()));
        }
        // An honest mirror may have packed the same files otherwise: then the record names other bytes now.
        let is_recorded = is_recorded(store, damaged, &referrer.repository, &request).await?;
        match store.examine(&damaged.stored).await? {
            Some(_) if is_recorded => lost("what its source has now is not what is recorded"),
            Some(_) | None => Ok(Outcome::Healed),
        }
    }
}

/// Whether a version's record still names the damaged bytes.
async fn is_recorded(
    store: &Store,
    damaged: &Damaged,
    repository: &str,
    request: &ModuleRequest,
) -> Result<bool, RepoError> {
    let (version, part): (_, fn(&VersionRecord) -> Option<Stored>) = match &request.artefact {
        Artefact::Info(version) => (version, |record| record.info),
        Artefact::Mod(version) => (version, |record| record.gomod),
        Artefact::Zip(version) => (version, |record| record.zip),
        Artefact::List | Artefact::Latest | Artefact::Query(_) => return Ok(false),
    };
    let record = store.version(repository, request.module.as_str(), version.as_str()).await?;
    let stored = record.as_ref().and_then(part);
    Ok(stored.is_some_and(|stored| stored.digest == damaged.stored.digest))
}

fn request_for(referrer: &Referrer) -> Option<ModuleRequest> {
    let module = ModulePath::new(&referrer.module).ok()?;
    match Request::parse(&format!("{}/{}", module.escaped(), referrer.name)).ok()? {
        Request::Module(request) => Some(request),
        Request::Sumdb(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use shared::digest::Digest;

    use super::*;
    use crate::repository::testing::{Origin, Setup, filler, module_zip};

    #[tokio::test]
    async fn what_came_from_an_upstream_is_fetched_again_and_what_was_published_is_reported() {
        let origin = Origin::start().await;
        let setup = Setup::over(&origin).await;
        let zip = module_zip("example.com/a", "v1.0.0", "module example.com/a\n", &filler(100_000));
        origin.serve("example.com/a", "v1.0.0", "module example.com/a\n");
        origin.set("example.com/a/@v/v1.0.0.zip", crate::repository::testing::Reply::ok(zip.clone()));
        setup.get("remote", "example.com/a/@v/v1.0.0.zip").await.unwrap();
        let own = module_zip("example.com/own", "v1.0.0", "module example.com/own\n", &filler(90_000));
        setup.publish("example.com/own", "v1.0.0", &own).await.unwrap();
        for body in [&zip, &own] {
            let hex = Digest::of(body).hex();
            let path = setup.directory.path().join("data/blobs").join(&hex[..2]).join(&hex);
            let mut bytes = body.to_vec();
            bytes[50_000] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }
        let verify = async |heal| {
            let mut found = setup.repositories.verify(&setup.store, heal, |_, _| {}).await.unwrap();
            found.sort_by(|a, b| a.module.cmp(&b.module));
            found.into_iter().map(|finding| (finding.module, finding.damage, finding.outcome)).collect::<Vec<_>>()
        };
        let only_told = verify(false).await;
        assert!(
            only_told.iter().all(|(_, damage, outcome)| *damage == Damage::Corrupt && *outcome == Outcome::Reported)
        );
        let healed = verify(true).await;
        assert_eq!(healed[0], ("example.com/a".to_owned(), Damage::Corrupt, Outcome::Healed));
        assert!(matches!(&healed[1].2, Outcome::Lost(why) if why.contains("published here")), "{healed:?}");
        assert_eq!(setup.get("virtual", "example.com/a/@v/v1.0.0.zip").await.unwrap(), zip);
        // Wrong bytes are not served; the same zip published again is.
        assert!(matches!(setup.get("virtual", "example.com/own/@v/v1.0.0.zip").await, Err(RepoError::Storage(_))));
        setup.publish("example.com/own", "v1.0.0", &own).await.unwrap();
        assert_eq!(setup.get("virtual", "example.com/own/@v/v1.0.0.zip").await.unwrap(), own);
        assert_eq!(verify(true).await, []);
    }

    #[tokio::test]
    async fn what_was_written_anew_since_it_was_found_is_kept() {
        let origin = Origin::start().await;
        let setup = Setup::over(&origin).await;
        let own = module_zip("example.com/own", "v1.0.0", "module example.com/own\n", &filler(90_000));
        setup.publish("example.com/own", "v1.0.0", &own).await.unwrap();
        let hex = Digest::of(&own).hex();
        let path = setup.directory.path().join("data/blobs").join(&hex[..2]).join(&hex);
        let mut bytes = own.to_vec();
        bytes[50_000] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let write_anew = |done: u64, all: u64| {
            if done == all {
                std::fs::write(&path, &own).unwrap();
            }
        };
        let found = setup.repositories.verify(&setup.store, true, write_anew).await.unwrap();
        let outcomes: Vec<_> = found.into_iter().map(|finding| finding.outcome).collect();
        assert_eq!(outcomes, [Outcome::Healed]);
        assert_eq!(setup.get("local", "example.com/own/@v/v1.0.0.zip").await.unwrap(), own);
    }
}
