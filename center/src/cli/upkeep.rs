//! `modtier-center gc` and `verify`: upkeep of a running center's storage, asked for through its administration interface.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use shared::progress::Progress;

use super::client::{Client, Credential};
use super::doctor::local_center;

/// Where the center is.
#[derive(Debug, Args)]
pub(crate) struct Whereabouts {
    /// The center; default: the one that the configuration would start on this machine
    #[arg(long, value_name = "URL")]
    center: Option<String>,
    #[command(flatten)]
    credential: Credential,
}

impl Whereabouts {
    fn client(&self, config: Option<&Path>) -> anyhow::Result<Client> {
        let center = self.center.clone().map_or_else(|| local_center(config), Ok)?;
        Client::new(&center, &self.credential)
    }
}

/// What to collect.
#[derive(Debug, Args)]
pub(crate) struct Collect {
    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// How long a body must have been without a reference
    #[arg(long, value_name = "PERIOD", default_value = "1h")]
    grace: String,
    /// Apply the rules of retention first
    #[arg(long)]
    retention: bool,
    #[command(flatten)]
    whereabouts: Whereabouts,
}

/// What to verify.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Take wrong bytes out of service, and fetch again what can be had again
    #[arg(long)]
    heal: bool,
    #[command(flatten)]
    whereabouts: Whereabouts,
}

/// A version that retention lets go.
#[derive(Deserialize)]
struct Leaving {
    repository: String,
    module: String,
    version: String,
    bytes: u64,
    reason: String,
}

impl Collect {
    /// Does it; returns what went, or would go.
    pub(super) async fn run(self, config: Option<&Path>) -> anyhow::Result<String> {
        let client = self.whereabouts.client(config)?;
        let flag = self.dry_run.to_string();
        let mut printed = String::new();
        if self.retention {
            let request = client.request(Method::POST, "api/v1/retention")?.query(&[("dry_run", &flag)]);
            let text = client.send(request).await?.text().await.context("the center's answer")?;
            let answer: Value = serde_json::from_str(&text).context("the center's answer")?;
            let versions = Vec::<Leaving>::deserialize(&answer["versions"]).context("the center's answer")?;
            for Leaving { repository, module, version, bytes, reason } in &versions {
                writeln!(printed, "{repository} {module}@{version} {bytes} bytes: {reason}")?;
            }
            writeln!(printed, "retention: {} versions, {} bytes", versions.len(), answer["bytes"])?;
        }
        let query = [("dry_run", &flag), ("grace", &self.grace)];
        let request = client.request(Method::POST, "api/v1/gc")?.query(&query);
        let text = client.send(request).await?.text().await.context("the center's answer")?;
        let found: Value = serde_json::from_str(&text).context("the center's answer")?;
        let done = if self.dry_run { "would be removed" } else { "removed" };
        writeln!(
            printed,
            "bodies: {} referenced, {} without a reference, {} {done} ({} bytes)",
            found["referenced"], found["condemned"], found["removed"], found["removed_bytes"]
        )?;
        Ok(printed)
    }
}

impl Verify {
    /// Does it; returns what was found, and whether everything is (or is again) what is recorded.
    pub(super) async fn run(self, config: Option<&Path>) -> anyhow::Result<(String, bool)> {
        let client = self.whereabouts.client(config)?;
        let request = client.request(Method::POST, "api/v1/verify")?.query(&[("heal", self.heal)]);
        let mut response = client.send(request).await?;
        let (mut pending, mut progress, mut seen) = (Vec::new(), None, 0);
        while let Some(chunk) = response.chunk().await.context("the center's answer broke off")? {
            pending.extend_from_slice(&chunk);
            while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                let line: Value = serde_json::from_slice(&line).context("the center's answer")?;
                if let Some(error) = line["error"].as_str() {
                    bail!("verifying failed: {error}");
                }
                if let Some(findings) = line["findings"].as_array() {
                    return report(findings);
                }
                let (done, all) = (line["done"].as_u64().unwrap_or(0), line["all"].as_u64().unwrap_or(0));
                let all = usize::try_from(all).unwrap_or(usize::MAX);
                let shown: &Progress = progress.get_or_insert_with(|| Progress::start(all, "bodies"));
                for _ in seen..done {
                    shown.step();
                }
                seen = seen.max(done);
            }
        }
        bail!("the center's answer ended early")
    }
}

fn report(findings: &[Value]) -> anyhow::Result<(String, bool)> {
    let mut printed = String::new();
    let mut is_well = true;
    for finding in findings {
        let text = |key: &str| finding[key].as_str().unwrap_or_default();
        let (outcome, healed) = match &finding["outcome"] {
            Value::String(word) => (word.clone(), word == "healed"),
            other => (other["lost"].as_str().map_or_else(|| other.to_string(), |why| format!("lost: {why}")), false),
        };
        is_well &= healed;
        let (repository, module, name) = (text("repository"), text("module"), text("name"));
        writeln!(printed, "{repository} {module}/{name}: {}: {outcome}", finding["damage"])?;
    }
    writeln!(printed, "{} damaged", findings.len())?;
    Ok((printed, is_well))
}
