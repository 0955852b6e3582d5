//! `modtier-center doctor`: asks a running center to walk the steps of a request, and prints them.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::client::{Client, Credential};
use crate::BINARY;
use crate::config::{ALIASES, Config};

/// What to examine.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// MODULE or MODULE@VERSION; without a version the latest
    #[arg(value_name = "MODULE[@VERSION]")]
    subject: String,
    /// The center; default: the one that the configuration would start on this machine
    #[arg(long, value_name = "URL")]
    center: Option<String>,
    /// The repository; default: the virtual one
    #[arg(long, value_name = "NAME")]
    repo: Option<String>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    credential: Credential,
}

impl Doctor {
    /// Does it; returns what is to be printed, and whether all is well.
    pub(super) async fn run(self, config: Option<&Path>) -> anyhow::Result<(String, bool)> {
        let center = match self.center {
            Some(url) => url,
            None => local_center(config)?,
        };
        let client = Client::new(&center, &self.credential)?;
        let (module, version) = self.subject.split_once('@').unwrap_or((&self.subject, ""));
        let mut request = client.request(Method::GET, "api/v1/doctor")?.query(&[("module", module)]);
        for (name, value) in [("version", Some(version)), ("repo", self.repo.as_deref())] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                request = request.query(&[(name, value)]);
            }
        }
        let text = client.send(request).await?.text().await.context("the center's answer")?;
        let report: Value = serde_json::from_str(&text).context("the center's answer")?;
        let Some(verdict) = report["verdict"].as_str() else { bail!("the center's answer has no verdict") };
        let is_well = verdict == "well";
        if self.json {
            return Ok((text, is_well));
        }
        let mut printed = String::new();
        for step in report["steps"].as_array().into_iter().flatten() {
            let mark = if step["ok"].as_bool() == Some(true) { "ok" } else { "STOP" };
            let (name, detail) = (step["step"].as_str().unwrap_or("?"), step["detail"].as_str().unwrap_or_default());
            // Writing to a string cannot fail.
            let _ = writeln!(printed, "{name:<12} {mark:<5} {detail}");
        }
        let _ = writeln!(printed, "verdict: {verdict}");
        Ok((printed, is_well))
    }
}

/// Where the center of this configuration is reached from this machine.
pub(super) fn local_center(config: Option<&Path>) -> anyhow::Result<String> {
    let config: Config = shared::config::load(BINARY, config, &ALIASES)?;
    let address = match config.listen.rsplit_once(':') {
        Some(("0.0.0.0" | "", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => config.listen.clone(),
    };
    Ok(format!("http://{address}"))
}
