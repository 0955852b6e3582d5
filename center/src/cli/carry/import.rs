//! `modtier-center import`: into a running center out of a bundle, a module cache, or another proxy.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use http::header::CONTENT_LENGTH;
use reqwest::{Body, Method};
use shared::module::{ModulePath, Version};
use shared::progress::Progress;
use tempfile::{NamedTempFile, TempDir};
use tokio_util::io::ReaderStream;

use super::bundle::{GO_SUM, unpack};
use super::export::{download, root_of};
use super::tree::{Artefacts, Tree};
use super::wanted::{Sums, Wanted, catalog, read_list};
use crate::cli::client::{Client, Credential};

/// Failures that are told one by one.
const FAILURES_TOLD_MAX: usize = 50;

/// What to import, and where to.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// A bundle, or the folder of a module cache (GOMODCACHE)
    #[arg(value_name = "BUNDLE|FOLDER", required_unless_present = "from", conflicts_with = "from")]
    source: Option<PathBuf>,
    /// Another proxy: Athens, or any GOPROXY
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Everything in the other proxy's catalog (Athens, Modtier)
    #[arg(long, requires = "from")]
    catalog: bool,
    /// A list of module@version to take from the other proxy, one a line
    #[arg(long, value_name = "FILE", requires = "from")]
    modules: Vec<PathBuf>,
    /// A go.sum: sums that must hold, and what to take from another proxy
    #[arg(long, value_name = "FILE")]
    go_sum: Vec<PathBuf>,
    /// The local or remote repository, such as <https://center.example/api/go/golang-remote>
    #[arg(long, value_name = "URL")]
    to: String,
    #[command(flatten)]
    credential: Credential,
}

/// Where files come from.
enum Source {
    /// Files; the folder of a bundle goes when this is dropped.
    Tree(Tree, Option<TempDir>),
    Proxy(Client, Wanted),
}

/// What came of it.
#[derive(Default)]
struct Tally {
    taken: usize,
    held: usize,
    failed: usize,
}

impl Import {
    /// Does it. What fails does not keep the rest from being imported, but the whole has failed then.
    pub(crate) async fn run(self) -> anyhow::Result<String> {
        let (root, repository) = root_of(&self.to)?;
        ensure!(!repository.contains('/'), "--to {}: the repository's name is the end of the URL", self.to);
        let target = Client::new(&format!("{root}/api/v1/repos/{repository}/import"), &self.credential)?;
        let mut sums = self.go_sum.clone();
        let source = self.source(&mut sums).await?;
        let sums = Sums::read(&sums)?;
        let importer = Importer { target, sums };
        let tally = match source {
            Source::Tree(tree, _folder) => importer.tree(&tree).await?,
            Source::Proxy(proxy, mut wanted) => {
                // Of another proxy a go.sum also names what to take.
                importer.sums.want(&mut wanted);
                ensure!(!wanted.is_empty(), "nothing to import: name it by --catalog, --modules or --go-sum");
                importer.proxy(&proxy, &wanted).await?
            }
        };
        let text = format!("{} imported, {} held before, {} failed\n", tally.taken, tally.held, tally.failed);
        if tally.failed > 0 {
            bail!("{}", text.trim_end());
        }
        Ok(text)
    }

    async fn source(&self, sums: &mut Vec<PathBuf>) -> anyhow::Result<Source> {
        if let Some(url) = &self.from {
            // The credential is for the center; what another host wants is in .netrc.
            let proxy = Client::new(url, &Credential::of_netrc())?;
            let mut wanted = Wanted::new();
            for file in &self.modules {
                read_list(file, &mut wanted)?;
            }
            if self.catalog {
                let (root, repository) = root_of(url).unwrap_or((url, ""));
                catalog(&Client::new(root, &Credential::of_netrc())?, repository, &mut wanted).await?;
            }
            return Ok(Source::Proxy(proxy, wanted));
        }
        let Some(path) = &self.source else { bail!("what to import is missing") };
        if path.is_dir() {
            return Ok(Source::Tree(Tree::read(path)?, None));
        }
        let folder = tokio::task::block_in_place(|| unpack(path))?;
        sums.push(folder.path().join(GO_SUM));
        Ok(Source::Tree(Tree::read(folder.path())?, Some(folder)))
    }
}

struct Importer {
    target: Client,
    sums: Sums,
}

impl Importer {
    async fn tree(&self, tree: &Tree) -> anyhow::Result<Tally> {
        let progress = Progress::start(tree.sumdb.len() + tree.versions.len(), "files and versions");
        let mut tally = Tally::default();
        // The records first: the center may prove the versions by them.
        for (path, file) in &tree.sumdb {
            if let Err(error) = self.send(path, file).await {
                progress.line(&format!("{path}: {error:#}"));
            }
            progress.step();
        }
        for ((module, version), artefacts) in &tree.versions {
            let outcome = self.version(module, version, artefacts).await;
            tally.count(&progress, module, version, outcome);
        }
        progress.finish();
        Ok(tally)
    }

    async fn proxy(&self, proxy: &Client, wanted: &Wanted) -> anyhow::Result<Tally> {
        let progress = Progress::start(wanted.len(), "versions");
        let mut tally = Tally::default();
        for ((module, version), with_zip) in wanted {
            let outcome = self.fetched(proxy, module, version, *with_zip).await;
            tally.count(&progress, module, version, outcome);
        }
        progress.finish();
        Ok(tally)
    }

    async fn fetched(
        &self,
        proxy: &Client,
        module: &ModulePath,
        version: &Version,
        with_zip: bool,
    ) -> anyhow::Result<bool> {
        let path = |suffix: &str| format!("{}/@v/{}.{suffix}", module.escaped(), version.escaped());
        let info = download(proxy, &path("info")).await?;
        let gomod = download(proxy, &path("mod")).await?;
        let zip: Option<NamedTempFile> = if with_zip { Some(download(proxy, &path("zip")).await?) } else { None };
        let file = |file: &NamedTempFile| Some(file.path().to_owned());
        let artefacts = Artefacts { info: file(&info), gomod: file(&gomod), zip: zip.as_ref().and_then(file) };
        self.version(module, version, &artefacts).await
    }

    /// Proves a version against its sums and sends its files. Whether anything of it was new.
    async fn version(&self, module: &ModulePath, version: &Version, artefacts: &Artefacts) -> anyhow::Result<bool> {
        if let Some(file) = &artefacts.gomod {
            self.sums.check_gomod(module, version, &std::fs::read(file)?)?;
        }
        if let Some(file) = &artefacts.zip {
            tokio::task::block_in_place(|| self.sums.check_zip(module, version, file))?;
        }
        let all = [("info", &artefacts.info), ("mod", &artefacts.gomod), ("zip", &artefacts.zip)];
        let mut is_new = false;
        for (suffix, file) in all {
            if let Some(file) = file {
                let path = format!("{}/@v/{}.{suffix}", module.escaped(), version.escaped());
                is_new |= self.send(&path, file).await?;
            }
        }
        Ok(is_new)
    }

    async fn send(&self, path: &str, file: &Path) -> anyhow::Result<bool> {
        let file = tokio::fs::File::open(file).await.with_context(|| file.display().to_string())?;
        let request = self.target.request(Method::PUT, path)?.header(CONTENT_LENGTH, file.metadata().await?.len());
        let response = self.target.send(request.body(Body::wrap_stream(ReaderStream::new(file)))).await?;
        let text = response.text().await.context("the center's answer")?;
        let answer: serde_json::Value = serde_json::from_str(&text).context("the center's answer")?;
        Ok(answer["new"].as_bool().unwrap_or(false))
    }
}

impl Tally {
    fn count(&mut self, progress: &Progress, module: &ModulePath, version: &Version, outcome: anyhow::Result<bool>) {
        match outcome {
            Ok(true) => self.taken += 1,
            Ok(false) => self.held += 1,
            Err(error) => {
                self.failed += 1;
                if self.failed <= FAILURES_TOLD_MAX {
                    progress.line(&format!("failed: {module}@{version}: {error:#}"));
                }
            }
        }
        progress.step();
    }
}
