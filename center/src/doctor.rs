//! What happens to a request for a version, step by step: who may answer by the rules, which member does, whether its
//! upstream takes our credential and can be reached, whether the version is there, whether its hashes are the recorded and
//! proven ones. It asks as a client's request would, so what it finds is what a client meets.

use serde::Serialize;
use shared::artefact::Artefact;
use shared::module::{ModulePath, Version};
use shared::request::ModuleRequest;

use crate::app::App;
use crate::repository::{Answer, Body, FetchOptions, RepoError, Repository};

/// How often an answer may turn out to be filling again after its fill is done.
const FILL_ROUNDS: usize = 3;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    module: String,
    /// As asked, or the latest one.
    version: Option<String>,
    repository: String,
    steps: Vec<Step>,
    verdict: Verdict,
}

/// One step of the way.
#[derive(Debug, Serialize)]
struct Step {
    #[serde(rename = "step")]
    stage: Stage,
    ok: bool,
    detail: String,
}

/// The steps, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    /// Who may answer.
    Rule,
    /// Who does.
    Member,
    /// Whether its upstream can be asked.
    Upstream,
    /// Whether the upstream takes our credential.
    Credentials,
    /// Whether it has the version.
    Version,
    /// Whether the bytes are the right ones.
    Checksum,
}

/// Where it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// It does not.
    Well,
    /// A rule, here or at the upstream.
    BlockedRule,
    /// The upstream wants another credential.
    WrongCredential,
    /// Somebody who must be asked cannot be.
    UnreachableHost,
    /// The upstream's answer is malformed.
    WrongAnswer,
    /// Bytes that are not the recorded or proven ones.
    ChecksumMismatch,
    /// Nobody has it.
    MissingVersion,
    /// An administrator removed it.
    Removed,
    /// The center's own disk or database.
    Storage,
}

/// Examines the way of a request through a repository.
pub(crate) async fn examine(
    app: &App,
    repository: &Repository,
    module: &ModulePath,
    version: Option<Version>,
) -> Report {
    let mut walk = Walk { app, module, version, steps: Vec::new() };
    let verdict = walk.through(repository).await;
    let version = walk.version.map(|version| version.to_string());
    Report { module: module.to_string(), version, repository: repository.name().to_owned(), steps: walk.steps, verdict }
}

struct Walk<'a> {
    app: &'a App,
    module: &'a ModulePath,
    version: Option<Version>,
    steps: Vec<Step>,
}

impl Walk<'_> {
    async fn through(&mut self, repository: &Repository) -> Verdict {
        let leaves = repository.leaves();
        let may = |leaf: &&String| repository.lets_answer(leaf, self.module.as_str());
        let (answering, silent): (Vec<&String>, Vec<&String>) = leaves.iter().partition(may);
        // Also one that the asked repository does not stand for.
        let owner = self.app.repositories.iter().find_map(|other| other.owner_of(self.module));
        let whose = owner.map_or_else(|| "nobody owns it".to_owned(), |owner| format!("{owner} owns it"));
        if answering.is_empty() {
            self.note(Stage::Rule, false, format!("{whose}; none of {} may answer", listed(&silent)));
            return Verdict::BlockedRule;
        }
        self.note(Stage::Rule, true, format!("{whose}; to be asked: {}", listed(&answering)));
        let mut worst = Verdict::MissingVersion;
        for leaf in answering {
            match self.member(leaf).await {
                Verdict::Well => return Verdict::Well,
                // The next member may have it.
                Verdict::MissingVersion => {}
                // Whoever is asked after one that could not answer may have another idea of the version.
                verdict if worst == Verdict::MissingVersion => worst = verdict,
                _ => {}
            }
        }
        worst
    }

    async fn member(&mut self, name: &str) -> Verdict {
        let Ok(leaf) = self.app.repository(name) else { return Verdict::MissingVersion };
        let kind = leaf.kind().as_str();
        if self.version.is_none() {
            match self.latest(leaf).await {
                Ok(version) => self.version = Some(version),
                Err(error) => {
                    self.note(Stage::Member, true, format!("{name} ({kind}) is asked for its latest version"));
                    return self.judge(Stage::Version, name, &error);
                }
            }
        }
        let Some(version) = self.version.clone() else { return Verdict::MissingVersion };
        let record = self.app.store.version(name, self.module.as_str(), version.as_str()).await;
        let record = match record {
            Ok(record) => record.unwrap_or_default(),
            Err(error) => return self.judge(Stage::Member, name, &error.into()),
        };
        if record.tombstone.is_some() {
            self.note(Stage::Member, false, format!("{name} ({kind}): an administrator removed {version}"));
            return Verdict::Removed;
        }
        let parts = [("info", record.info.is_some()), ("mod", record.gomod.is_some()), ("zip", record.zip.is_some())];
        let held: Vec<&str> = parts.iter().filter(|(_, held)| *held).map(|(part, _)| *part).collect();
        let holds = if held.is_empty() { "nothing of it".to_owned() } else { held.join(", ") };
        self.note(Stage::Member, true, format!("{name} ({kind}) holds {holds}"));
        if let Err(error) = self.fetch(leaf, Artefact::Info(version.clone())).await {
            return self.judge(Stage::Version, name, &error);
        }
        self.note(Stage::Version, true, format!("{name} has {version}"));
        for artefact in [Artefact::Mod(version.clone()), Artefact::Zip(version.clone())] {
            let what = artefact.kind().as_str();
            if let Err(error) = self.fetch(leaf, artefact).await {
                return self.judge(Stage::Checksum, name, &error);
            }
            self.note(Stage::Checksum, true, format!("{what}: the hash is the recorded one"));
        }
        Verdict::Well
    }

    async fn latest(&self, leaf: &Repository) -> Result<Version, RepoError> {
        let answer = self.fetch(leaf, Artefact::Latest).await?;
        let Body::Bytes(body) = answer.body else {
            return Err(RepoError::Upstream("a latest of this size".to_owned()));
        };
        let info: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| RepoError::Upstream(format!("the latest: {error}")))?;
        let version = info["Version"].as_str().unwrap_or_default();
        Version::new(self.module, version).map_err(|error| RepoError::Upstream(format!("the latest: {error}")))
    }

    /// Fetches to the end: a body is judged when it is complete.
    async fn fetch(&self, leaf: &Repository, artefact: Artefact) -> Result<Answer, RepoError> {
        let request = ModuleRequest { module: self.module.clone(), artefact };
        for _ in 0..FILL_ROUNDS {
            let answer = leaf.fetch(&request, &FetchOptions::default()).await?;
            match &answer.body {
                Body::Filling(fill) => fill.done().await?,
                Body::Bytes(_) | Body::Blob(_) => return Ok(answer),
            }
        }
        Err(RepoError::Storage("what was fetched is not held".to_owned()))
    }

    /// What an error says about the step, and about the steps that must have gone well before it.
    fn judge(&mut self, stage: Stage, name: &str, error: &RepoError) -> Verdict {
        let (stage, verdict) = match error {
            RepoError::NotFound(_) | RepoError::Gone(_) => (Stage::Version, Verdict::MissingVersion),
            RepoError::Blocked(_) => (Stage::Rule, Verdict::BlockedRule),
            RepoError::Credential(_) => (Stage::Credentials, Verdict::WrongCredential),
            RepoError::Integrity(_) => (Stage::Checksum, Verdict::ChecksumMismatch),
            RepoError::Unavailable { .. } | RepoError::Timeout(_) if stage == Stage::Checksum => {
                (Stage::Checksum, Verdict::UnreachableHost)
            }
            RepoError::Unavailable { .. } | RepoError::Timeout(_) => (Stage::Upstream, Verdict::UnreachableHost),
            RepoError::Upstream(_) | RepoError::TooLarge(_) => (Stage::Upstream, Verdict::WrongAnswer),
            RepoError::BadModule(_) | RepoError::Conflict(_) | RepoError::NotWritable(_) | RepoError::Storage(_) => {
                (stage, Verdict::Storage)
            }
        };
        let hint = match verdict {
            Verdict::UnreachableHost | Verdict::WrongAnswer | Verdict::Storage => "; the center's log has the cause",
            _ => "",
        };
        self.note(stage, false, format!("{name}: {error}{hint}"));
        verdict
    }

    fn note(&mut self, stage: Stage, ok: bool, detail: String) {
        self.steps.push(Step { stage, ok, detail });
    }
}

fn listed(names: &[&String]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}
