//! A fetcher of the operator's, for systems that we do not know: an HTTP endpoint, or a program.
//!
//! Three operations, as docs/private-repositories.md describes them: `list`, `query` and `download`. The zip is all that a
//! version consists of; its `.mod` is taken out of it, its `.info` from the query.

mod http;
mod program;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::module::{ModulePath, Version};

use self::http::Http;
use self::program::Program;
use super::fetcher::{Download, Fetcher, Listing, Metadata};
use super::pool::Pool;
use super::settings::FetcherSettings;
use crate::egress::Egress;
use crate::repository::RepoError;

/// What a fetcher is asked.
#[derive(Debug, Serialize)]
struct Question<'a> {
    operation: &'static str,
    module: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    /// Where a program is to write the zip.
    #[serde(skip_serializing_if = "Option::is_none")]
    zip_file: Option<&'a Path>,
}

#[derive(Debug, Deserialize)]
struct ListAnswer {
    versions: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct QueryAnswer {
    version: String,
    time: Option<String>,
    origin: Option<Value>,
}

/// How it is asked.
pub(super) enum Transport {
    /// By HTTP.
    Http(Http),
    /// By starting it.
    Program(Program),
}

impl Transport {
    /// The endpoint of `fetcher.url`.
    pub(super) fn http(settings: &FetcherSettings) -> Result<Self, String> {
        Http::new(settings).map(Self::Http)
    }

    /// The program of `fetcher.command`; it leaves by the egress proxy like everything else that is started here.
    pub(super) fn command(settings: &FetcherSettings, egress: Arc<Egress>) -> Result<Self, String> {
        Program::new(settings, egress).map(Self::Program)
    }

    async fn ask(&self, what: &str, question: &Question<'_>) -> Result<Bytes, RepoError> {
        match self {
            Self::Http(http) => http.ask(what, question).await,
            Self::Program(program) => program.ask(what, question).await,
        }
    }

    /// Writes the zip to `zip`.
    async fn download(&self, what: &str, question: Question<'_>, zip: &Path) -> Result<(), RepoError> {
        match self {
            Self::Http(http) => http.download(what, &question, zip).await,
            Self::Program(program) => {
                program.ask(what, &Question { zip_file: Some(zip), ..question }).await.map(|_| ())
            }
        }
    }
}

/// The fetcher.
pub(super) struct External {
    transport: Transport,
    pool: Pool,
    spool: PathBuf,
}

impl External {
    pub(super) fn new(settings: &FetcherSettings, transport: Transport, spool: &Path) -> Self {
        Self { transport, pool: Pool::new(settings.workers, settings.queue_max), spool: spool.to_owned() }
    }

    async fn ask<T: for<'de> Deserialize<'de>>(&self, what: &str, question: &Question<'_>) -> Result<T, RepoError> {
        let _turn = self.pool.turn().await?;
        let answer = self.transport.ask(what, question).await?;
        serde_json::from_slice(&answer).map_err(|error| {
            tracing::warn!(what, %error, "the external fetcher's answer is malformed");
            RepoError::Upstream(format!("{what}: the external fetcher's answer is malformed"))
        })
    }
}

fn question<'a>(operation: &'static str, module: &'a ModulePath) -> Question<'a> {
    Question { operation, module: module.as_str(), query: None, version: None, zip_file: None }
}

#[async_trait]
impl Fetcher for External {
    fn is_busy(&self) -> bool {
        self.pool.is_busy()
    }

    async fn listing(&self, module: &ModulePath) -> Result<Listing, RepoError> {
        let answer: ListAnswer = self.ask(module.as_str(), &question("list", module)).await?;
        let versions = answer.versions.iter().filter_map(|version| Version::new(module, version).ok()).collect();
        let latest = match self.query(module, "latest").await {
            Ok(info) => Some(info),
            Err(error) if error.is_absent() => None,
            Err(error) => return Err(error),
        };
        Ok(Listing { versions, latest })
    }

    async fn query(&self, module: &ModulePath, query: &str) -> Result<Bytes, RepoError> {
        let asked = Question { query: Some(query), ..question("query", module) };
        let answer: QueryAnswer = self.ask(&format!("{module}@{query}"), &asked).await?;
        let mut info = json!({ "Version": answer.version });
        for (name, value) in [("Time", answer.time.map(Value::String)), ("Origin", answer.origin)] {
            if let Some(value) = value {
                info[name] = value;
            }
        }
        Ok(info.to_string().into())
    }

    async fn metadata(&self, _: &ModulePath, _: &Version) -> Result<Option<Metadata>, RepoError> {
        Ok(None)
    }

    async fn download(&self, module: &ModulePath, version: &Version) -> Result<Download, RepoError> {
        let info = self.query(module, version.as_str()).await?;
        let folder = tempfile::Builder::new().prefix("external-").tempdir_in(&self.spool).map_err(|error| {
            tracing::error!(%error, "the spool cannot be written to");
            RepoError::Storage("the center's storage failed; see its log".to_owned())
        })?;
        let zip = folder.path().join("module.zip");
        let asked = Question { version: Some(version.as_str()), ..question("download", module) };
        let _turn = self.pool.turn().await?;
        self.transport.download(&format!("{module}@{version}"), asked, &zip).await?;
        Ok(Download { info, gomod: None, zip, h1: None, folder })
    }
}

/// The first line of what a fetcher says about an absence, without control characters.
fn reason(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line: String = text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect();
    if line.trim().is_empty() { "the external fetcher does not have it".to_owned() } else { line.trim().to_owned() }
}
