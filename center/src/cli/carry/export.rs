//! `modtier-center export`: a set of modules out of a center, or any GOPROXY, into a bundle.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use clap::Args;
use reqwest::Method;
use shared::module::{ModulePath, Version};
use shared::progress::Progress;
use tempfile::NamedTempFile;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::AsyncWriteExt as _;

use super::bundle::{BundleWriter, GO_SUM};
use super::proofs;
use super::wanted::{Sums, Wanted, read_list, since};
use crate::cli::client::{Client, Credential};

/// What to export, and where to.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The repository, such as <https://center.example/api/go/golang-virtual>
    #[arg(long, value_name = "URL")]
    from: String,
    /// The bundle
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// A list of module@version, one a line
    #[arg(long, value_name = "FILE")]
    modules: Vec<PathBuf>,
    /// A go.sum: what it names, with these sums
    #[arg(long, value_name = "FILE")]
    go_sum: Vec<PathBuf>,
    /// Everything that came since this time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "all")]
    since: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
    /// The checksum database whose proofs go along; off for none
    #[arg(long, value_name = "NAME", default_value = "sum.golang.org")]
    sumdb: String,
    #[command(flatten)]
    credential: Credential,
}

impl Export {
    /// Does it.
    pub(crate) async fn run(self) -> anyhow::Result<String> {
        let proxy = Client::new(&self.from, &self.credential)?;
        let sums = Sums::read(&self.go_sum)?;
        let mut wanted = Wanted::new();
        sums.want(&mut wanted);
        for file in &self.modules {
            read_list(file, &mut wanted)?;
        }
        if self.all || self.since.is_some() {
            let (root, repository) = root_of(&self.from)?;
            let root = Client::new(root, &self.credential)?;
            since(&root, repository, self.since.as_deref().unwrap_or_default(), &mut wanted).await?;
        }
        ensure!(!wanted.is_empty(), "nothing to export: name it by --modules, --go-sum, --since or --all");
        let now = OffsetDateTime::now_utc().replace_nanosecond(0)?;
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut bundle = BundleWriter::create(&self.output, proxy.base().as_str(), &now.format(&Rfc3339)?, now_s)?;
        let progress = Progress::start(wanted.len(), "versions");
        let mut go_sum = String::new();
        let mut lists: BTreeMap<String, String> = BTreeMap::new();
        for ((module, version), with_zip) in &wanted {
            let lines = export_version(&proxy, &sums, &mut bundle, (module, version), *with_zip).await;
            go_sum.push_str(&lines.with_context(|| format!("{module}@{version}"))?);
            if !version.is_pseudo() {
                writeln!(lists.entry(format!("{}/@v/list", module.escaped())).or_default(), "{version}")?;
            }
            progress.step();
        }
        for (name, list) in lists {
            bundle.add_bytes(&name, list.as_bytes())?;
        }
        let mut proven = 0;
        if self.sumdb != "off" {
            for (name, body) in proofs::gather(&proxy, &self.sumdb, wanted.keys()).await? {
                proven += usize::from(name.contains("/lookup/"));
                bundle.add_bytes(&name, &body)?;
            }
        }
        bundle.add_bytes(GO_SUM, go_sum.as_bytes())?;
        let files = bundle.finish()?;
        progress.finish();
        Ok(format!(
            "{}: {} versions, {proven} with proofs of {}, {files} files\n",
            self.output.display(),
            wanted.len(),
            self.sumdb
        ))
    }
}

/// Adds a version's files; returns its lines of a go.sum.
async fn export_version(
    proxy: &Client,
    sums: &Sums,
    bundle: &mut BundleWriter,
    (module, version): (&ModulePath, &Version),
    with_zip: bool,
) -> anyhow::Result<String> {
    let path = |suffix: &str| format!("{}/@v/{}.{suffix}", module.escaped(), version.escaped());
    for suffix in ["info", "mod"] {
        let response = proxy.send(proxy.request(Method::GET, &path(suffix))?).await?;
        let body = response.bytes().await?;
        if suffix == "mod" {
            sums.check_gomod(module, version, &body)?;
        }
        bundle.add_bytes(&path(suffix), &body)?;
        if suffix == "mod" && !with_zip {
            return Ok(format!("{module} {version}/go.mod {}\n", sums.check_gomod(module, version, &body)?));
        }
    }
    let zip = download(proxy, &path("zip")).await?;
    let h1 = sums.check_zip(module, version, zip.path())?;
    bundle.add_file(&path("zip"), zip.path())?;
    Ok(format!("{module} {version} {h1}\n"))
}

/// Fetches a body into a temporary file.
pub(super) async fn download(proxy: &Client, path: &str) -> anyhow::Result<NamedTempFile> {
    let mut response = proxy.send(proxy.request(Method::GET, path)?).await?;
    let file = NamedTempFile::new().context("a temporary file")?;
    let mut out = tokio::fs::File::from_std(file.reopen()?);
    while let Some(chunk) = response.chunk().await.with_context(|| path.to_owned())? {
        out.write_all(&chunk).await?;
    }
    out.flush().await?;
    Ok(file)
}

/// A repository's URL taken apart into the center's and the repository's name.
pub(super) fn root_of(url: &str) -> anyhow::Result<(&str, &str)> {
    let url = url.trim_end_matches('/');
    let (root, repository) = url.split_once("/api/go/").with_context(|| {
        format!("{url}: which repository? The URL of a center's repository ends in /api/go/<repository>")
    })?;
    Ok((root.trim_end_matches("/artifactory"), repository))
}
