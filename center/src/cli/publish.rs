//! `modtier-center publish`: packs a module and sends it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, Url};
use serde::Deserialize;
use shared::change::ChangeId;
use shared::config::Period;
use tokio_util::io::ReaderStream;

use super::client::{Client, Credential};
use super::visible;
use crate::pack::{Order, Packed, Revision, pack};

/// What is read of the file at once, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// What to publish, and where to.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The module's folder, where its go.mod is
    dir: PathBuf,
    /// The version, such as v1.2.3
    version: String,
    /// The repository, such as <https://center.example/api/go/golang-local>
    #[arg(long, value_name = "URL", required_unless_present = "dry_run")]
    to: Option<String>,
    /// Take what git holds at the version's tag (v1.2.3; sub/v1.2.3 for a module in sub) and not what lies in the folder
    #[arg(long)]
    tag: bool,
    /// Take what git holds at this revision
    #[arg(long, value_name = "REVISION", conflicts_with = "tag")]
    rev: Option<String>,
    /// The module path, for a module without a go.mod
    #[arg(long, value_name = "PATH")]
    module: Option<String>,
    /// Pack, check and print the hashes, but send nothing
    #[arg(long)]
    dry_run: bool,
    /// Keep the zip in this file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Then wait, for this long at most, until every edge has it; exit with 3 if not all have
    #[arg(long, value_name = "TIME", conflicts_with = "dry_run")]
    wait_edges: Option<Period>,
    /// The syncer's administration, which knows the edges
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9093", requires = "wait_edges")]
    syncer: Url,
    /// Say what was left out, and why
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    credential: Credential,
}

/// What the center says of a published version.
#[derive(Deserialize)]
struct Receipt {
    h1: String,
    sha256: String,
    repository: String,
    /// By repository whose log tells of it, the change to wait for.
    #[serde(default)]
    changes: BTreeMap<String, ChangeId>,
}

impl Publish {
    /// Does it; returns the two lines that the version has in a go.sum, and whether it is visible wherever that was waited for.
    pub(super) async fn run(self) -> anyhow::Result<(String, bool)> {
        // Before the work: what cannot be sent need not be packed.
        let client = self.to.as_deref().map(|to| self.client(to)).transpose()?;
        let revision = match &self.rev {
            Some(name) => Some(Revision::Named(name)),
            None => self.tag.then_some(Revision::Tag),
        };
        let order = Order { dir: &self.dir, version: &self.version, module: self.module.as_deref(), revision };
        let packed = tokio::task::block_in_place(|| pack(&order))?;
        if self.verbose {
            packed.omitted.iter().for_each(|(name, reason)| eprintln!("left out: {name}: {reason}"));
        }
        if let Some(output) = &self.output {
            std::fs::copy(packed.file.path(), output).with_context(|| output.display().to_string())?;
        }
        let size = format!("{} files, {} bytes", packed.summary.files, packed.len);
        let mut is_visible = true;
        if let Some(client) = client.filter(|_| !self.dry_run) {
            let (receipt, created) = send(&client, &packed).await?;
            let outcome = if created { "published to" } else { "was already in" };
            eprintln!("{}@{} {outcome} {} ({size})", packed.module, packed.version, receipt.repository);
            is_visible = self.is_visible(&receipt.changes).await;
        } else {
            eprintln!("{}@{} would be published ({size})", packed.module, packed.version);
        }
        let Packed { module, version, summary, .. } = &packed;
        Ok((format!("{module} {version} {}\n{module} {version}/go.mod {}\n", summary.h1, summary.gomod_h1), is_visible))
    }

    /// Waits, if that is wanted. What is published is published, whatever comes of it here.
    async fn is_visible(&self, changes: &BTreeMap<String, ChangeId>) -> bool {
        let Some(limit) = self.wait_edges else { return true };
        match visible::wait(&self.syncer, changes, limit.get()).await {
            Ok(visible) => {
                eprintln!("{visible}");
                visible.is_everywhere()
            }
            Err(error) => {
                eprintln!("published, but it is not known on which edges it is visible: {error:#}");
                false
            }
        }
    }

    fn client(&self, to: &str) -> anyhow::Result<Client> {
        let client = Client::new(to, &self.credential)?;
        ensure!(client.base().path() != "/", "--to {to}: which repository? Its URL ends in /api/go/<repository>");
        Ok(client)
    }
}

/// Sends the zip; whether the version is new.
async fn send(client: &Client, packed: &Packed) -> anyhow::Result<(Receipt, bool)> {
    let file = tokio::fs::File::open(packed.file.path()).await.context("the zip")?;
    let path = format!("{}/@v/{}.zip", packed.module.escaped(), packed.version.escaped());
    let request = client
        .request(Method::PUT, &path)?
        .header(CONTENT_LENGTH, packed.len)
        .header(CONTENT_TYPE, "application/zip")
        .header("x-checksum-sha256", packed.sha256.hex())
        .body(Body::wrap_stream(ReaderStream::with_capacity(file, CHUNK_BYTES)));
    let response = client.send(request).await?;
    let created = response.status() == http::StatusCode::CREATED;
    let text = response.text().await.context("the center's answer")?;
    let receipt: Receipt = serde_json::from_str(&text).context("the center's answer")?;
    ensure!(receipt.sha256 == packed.sha256.hex(), "the center has other bytes: {}", receipt.sha256);
    ensure!(receipt.h1 == packed.summary.h1, "the center computed another hash: {}", receipt.h1);
    Ok((receipt, created))
}
