//! `modtier-syncer hot`: the modules that are asked for most, over all edges.

use serde_json::json;
use shared::cli::{EXIT_DONE, EXIT_USAGE, fail};
use shared::table::{table, text};

use super::print;
use crate::BINARY;
use crate::config::Config;
use crate::daemon::Parties;
use crate::error::SyncerError;
use crate::popularity::{HotModule, hottest};

/// How it is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Hot {
    /// How many
    #[arg(short, default_value_t = 20)]
    n: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Hot {
    /// Shows it. 0: done; 2: nobody tells.
    pub(crate) async fn run(&self, config: &Config) -> Result<u8, SyncerError> {
        match hottest(&Parties::new(config)?.fleet, self.n).await {
            Ok(modules) if self.json => print(&format!("{}\n", json!({ "modules": modules }))),
            Ok(modules) => print(&shown(&modules)),
            Err(error) => {
                fail(BINARY, EXIT_USAGE, &error);
                return Ok(EXIT_USAGE);
            }
        }
        Ok(EXIT_DONE)
    }
}

fn shown(modules: &[HotModule]) -> String {
    let row = |hot: &HotModule| {
        let region =
            |(name, requests): (&String, &u64)| format!("{} {requests}", if name.is_empty() { "-" } else { name });
        let regions: Vec<String> = hot.regions.iter().map(region).collect();
        let at_least = hot.requests.saturating_sub(hot.overcount);
        vec![text(&json!(hot.module)), hot.requests.to_string(), at_least.to_string(), text(&json!(regions.join(", ")))]
    };
    table(&["MODULE", "REQUESTS", "AT LEAST", "REGIONS"], &modules.iter().map(row).collect::<Vec<_>>())
}
