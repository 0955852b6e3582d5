//! The `go` command as fetcher: it knows every host and system, and the zip is byte for byte what Go makes.
//!
//! One fetch: a turn in the pool → a pass of the egress proxy → a sealed home → `go list -m` or `go mod download` → its JSON.

mod clones;
mod home;
mod hosts;
mod subversion;
mod verdict;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::module::{ModulePath, Version};
use tempfile::TempDir;

use self::clones::Clones;
use self::home::{FETCH_PREFIX, Home};
use self::hosts::Hosts;
use super::command::{Limits, RunError, Said, Sealed};
use super::fetcher::{Download, Fetcher, Listing, Metadata};
use super::incidents::unavailable;
use super::pool::Pool;
use super::settings::{FetcherSettings, HostSettings};
use crate::egress::{Egress, Pass};
use crate::repository::RepoError;
use crate::sealed::{Confinement, can_confine};

/// Largest `.info` and `.mod` that are read back from the module cache, in bytes.
const SMALL_BYTES_MAX: u64 = shared::module::zip::GOMOD_BYTES_MAX;

/// Why a center does not start, and what to do about it.
const UNCONFINED: &str = "this kernel cannot keep `go` from connecting past the egress proxy, to which a page that redirects to \
    a loopback address would lead it: run Linux 6.7 or later with Landlock enabled (`landlock` in \
    /sys/kernel/security/lsm, the system calls not filtered by the container), or let the host's firewall see to it and set \
    egress.confinement: best-effort";

/// The `go` command, and all that it needs.
pub(super) struct Go {
    program: PathBuf,
    vcs: String,
    hosts: BTreeMap<String, HostSettings>,
    limits: Limits,
    folder: PathBuf,
    clones: Arc<Clones>,
    pool: Pool,
    egress: Arc<Egress>,
}

/// What `go list -m -json` and `go mod download -json` say; each fills its own part.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    version: String,
    time: Option<String>,
    versions: Vec<String>,
    retracted: Option<Vec<String>>,
    origin: Option<Value>,
    error: Option<Value>,
    info: Option<PathBuf>,
    go_mod: Option<PathBuf>,
    zip: Option<PathBuf>,
    sum: Option<String>,
}

impl Go {
    /// Keeps its clones below `folder`, which is this repository's alone.
    pub(super) fn new(settings: &FetcherSettings, folder: &Path, egress: Arc<Egress>) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        match egress.confinement() {
            Confinement::Required if !can_confine() => return Err(UNCONFINED.to_owned()),
            Confinement::BestEffort if !can_confine() => {
                tracing::warn!("the kernel cannot keep `go` to the egress proxy; the host's firewall must");
            }
            Confinement::Required | Confinement::BestEffort => {}
        }
        // What is missing is said now, though each fetch reads anew: tokens are renewed.
        Hosts::new(&settings.hosts)?;
        let time = settings.timeout.get();
        let clones = Clones::new(folder.join("vcs"), settings.cache_size_max.bytes(), time).map_err(failed)?;
        clones::remove_abandoned(folder, FETCH_PREFIX, time + Duration::from_hours(1)).map_err(failed)?;
        Ok(Self {
            program: settings.program.clone(),
            vcs: settings.vcs.clone(),
            hosts: settings.hosts.clone(),
            limits: Limits {
                time,
                memory_bytes: settings.memory_max.bytes(),
                file_bytes: settings.file_size_max.bytes(),
            },
            clones: Arc::new(clones),
            folder: std::path::absolute(folder).map_err(failed)?,
            pool: Pool::new(settings.workers, settings.queue_max),
            egress,
        })
    }

    /// Runs `go` with these arguments about a module. `wanted` is `module@query`.
    async fn ask(&self, module: &ModulePath, arguments: &[&str], wanted: &str) -> Result<(Answer, TempDir), RepoError> {
        let _turn = self.pool.turn().await?;
        let pass = self.egress.pass();
        // A dozen small files: not worth a task, but other requests shall not wait for the disk.
        let (hosts, home) = tokio::task::block_in_place(|| self.home(module, &pass))?;
        let words = arguments.iter().copied().chain(["--", wanted]);
        let sealed = Sealed {
            program: self.program.clone().into_os_string(),
            arguments: words.map(OsString::from).collect(),
            environment: home.environment.clone(),
            folder: home.work(),
            input: Bytes::new(),
            way_out: Some((pass.address().port(), self.egress.confinement())),
            limits: self.limits,
        };
        let begun = tokio::time::Instant::now();
        let said = sealed.run().await;
        if let Ok(said) = &said {
            self.clones.note_use(&said.errors);
        }
        let result = judge(wanted, said, &hosts, &pass);
        tracing::info!(
            what = wanted,
            seconds = begun.elapsed().as_secs_f64(),
            ok = result.is_ok(),
            "asked version control"
        );
        self.trim();
        match result {
            Ok(answer) => Ok((answer, home.folder)),
            Err(error) => {
                remove(home.folder);
                Err(error)
            }
        }
    }

    fn home(&self, module: &ModulePath, pass: &Pass) -> Result<(Hosts, Home), RepoError> {
        let hosts = Hosts::new(&self.hosts).map_err(|error| {
            tracing::error!(%error, "a credential cannot be read");
            unavailable(format!("{module}: a credential of the center's cannot be read"))
        })?;
        let host = module.as_str().split('/').next().unwrap_or_default();
        let home = absolute(self.clones.folder())
            .and_then(|clones| Home::new(&self.folder, &clones, &hosts, host, pass, &self.vcs))
            .map_err(|error| storage(&error))?;
        Ok((hosts, home))
    }

    /// Makes room for clones, behind the answer.
    fn trim(&self) {
        let clones = Arc::clone(&self.clones);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = clones.trim() {
                tracing::warn!(%error, "clones cannot be removed");
            }
        });
    }

    async fn info(&self, module: &ModulePath, query: &str) -> Result<(Answer, TempDir), RepoError> {
        let wanted = format!("{module}@{query}");
        self.ask(module, &["list", "-m", "-x", "-json"], &wanted).await
    }
}

#[async_trait]
impl Fetcher for Go {
    fn is_busy(&self) -> bool {
        self.pool.is_busy()
    }

    async fn listing(&self, module: &ModulePath) -> Result<Listing, RepoError> {
        let wanted = format!("{module}@latest");
        // Retracted versions belong in the list; which of the others is the latest is then asked once more.
        let arguments = ["list", "-m", "-x", "-json", "-versions", "-retracted"];
        let (answer, folder) = self.ask(module, &arguments, &wanted).await?;
        remove(folder);
        let versions = answer.versions.iter().filter_map(|version| Version::new(module, version).ok()).collect();
        let latest = if answer.retracted.is_some() {
            match self.info(module, "latest").await {
                Ok((answer, folder)) => {
                    remove(folder);
                    Some(info_of(&answer))
                }
                Err(error) if error.is_absent() => None,
                Err(error) => return Err(error),
            }
        } else {
            Some(info_of(&answer))
        };
        Ok(Listing { versions, latest })
    }

    async fn query(&self, module: &ModulePath, query: &str) -> Result<Bytes, RepoError> {
        let (answer, folder) = self.info(module, query).await?;
        remove(folder);
        Ok(info_of(&answer))
    }

    async fn metadata(&self, module: &ModulePath, version: &Version) -> Result<Option<Metadata>, RepoError> {
        let (answer, folder) = self.info(module, version.as_str()).await?;
        let gomod = answer.go_mod.as_deref().ok_or_else(|| incomplete(module, version))?;
        // Beside the go.mod; with what only this file says of where it comes from.
        let info = gomod.with_extension("info");
        let metadata = Metadata { info: read(folder.path(), &info).await?, gomod: read(folder.path(), gomod).await? };
        remove(folder);
        Ok(Some(metadata))
    }

    async fn download(&self, module: &ModulePath, version: &Version) -> Result<Download, RepoError> {
        let wanted = format!("{module}@{version}");
        let (answer, folder) = self.ask(module, &["mod", "download", "-x", "-json"], &wanted).await?;
        let (Some(info), Some(gomod), Some(zip)) = (&answer.info, &answer.go_mod, answer.zip) else {
            return Err(incomplete(module, version));
        };
        Ok(Download {
            info: read(folder.path(), info).await?,
            gomod: Some(read(folder.path(), gomod).await?),
            zip,
            h1: answer.sum,
            folder,
        })
    }
}

/// What the command's words mean.
fn judge(what: &str, said: Result<Said, RunError>, hosts: &Hosts, pass: &Pass) -> Result<Answer, RepoError> {
    let incidents = pass.incidents();
    let said = match said {
        Ok(said) => said,
        Err(RunError::Time(limit)) => {
            tracing::warn!(what, ?incidents, "version control takes too long");
            return Err(verdict::too_slow(what, limit, &incidents));
        }
        Err(error @ (RunError::Output | RunError::Io(_))) => {
            tracing::error!(what, %error, "the go command cannot be run");
            return Err(RepoError::Upstream(format!("{what}: the go command failed; see the center's log")));
        }
    };
    let answer: Option<Answer> = serde_json::from_slice(&said.output).ok();
    let stated = answer.as_ref().and_then(|answer| answer.error.as_ref()).map(text_of);
    if let (Some(answer), Some(0), None) = (answer, said.code, &stated) {
        return Ok(answer);
    }
    let text = stated.unwrap_or_else(|| verdict::error_of(&said.errors));
    let error = verdict::judge(what, &text, &said.errors, &incidents);
    let shown = hosts.without_secrets(&text).replace(pass.password(), "***");
    tracing::warn!(what, verdict = %error, ?incidents, said = shown.trim(), "version control gave no answer");
    Err(error)
}

/// An `.info` as `go` writes it.
fn info_of(answer: &Answer) -> Bytes {
    let mut info = json!({ "Version": answer.version });
    if let Some(time) = &answer.time {
        info["Time"] = json!(time);
    }
    if let Some(origin) = &answer.origin {
        info["Origin"] = origin.clone();
    }
    info.to_string().into()
}

/// `go list` has an object with the text, `go mod download` the text alone.
fn text_of(error: &Value) -> String {
    let text = error.as_str().or_else(|| error.get("Err").and_then(Value::as_str));
    text.map_or_else(|| error.to_string(), str::to_owned)
}

/// A small file that `go` says it wrote; only what lies in the fetch's own folder is believed.
async fn read(folder: &Path, file: &Path) -> Result<Bytes, RepoError> {
    let size = tokio::fs::metadata(file).await.map_err(|error| storage(&error))?.len();
    if !file.starts_with(folder) || size > SMALL_BYTES_MAX {
        return Err(RepoError::Upstream("the go command names a file that cannot be taken".to_owned()));
    }
    Ok(tokio::fs::read(file).await.map_err(|error| storage(&error))?.into())
}

/// Removes a folder with all that `go` unpacked, where that may take its time.
fn remove(folder: TempDir) {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = folder.close() {
            tracing::warn!(%error, "the folder of a fetch cannot be removed");
        }
    });
}

fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    std::path::absolute(path)
}

fn incomplete(module: &ModulePath, version: &Version) -> RepoError {
    RepoError::Upstream(format!("{module}@{version}: the go command's answer lacks a file"))
}

fn storage(error: &std::io::Error) -> RepoError {
    tracing::error!(%error, "the folder of a fetch cannot be used");
    RepoError::Storage("the center's storage failed; see its log".to_owned())
}
