//! `modtier-syncer once`: a single pass over everything that the daemon does, for cron.
//!
//! ```text
//! relay      what the center's feed has and the stream has not          (where there is Redis)
//! watch      new versions of the modules that edges are asked for most  (where edges tell)
//! pre-warm   the configured sources, what is new, and a go.sum          (where there are any)
//! ```

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use shared::cli::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE};
use shared::sync::{Pass, PassError, Relay};

use super::print;
use crate::config::Config;
use crate::daemon::Parties;
use crate::error::SyncerError;
use crate::metrics::Metrics;
use crate::popularity::NobodyTold;
use crate::prewarm::{self, Prewarm};
use crate::stream::Store;
use crate::watch::{Looks, NewVersion, Watcher, warm};

/// What beside the configuration decides what is done.
#[derive(Debug, clap::Args)]
pub(crate) struct Once {
    /// Warm everything that this go.sum names
    #[arg(long, value_name = "FILE")]
    pub(crate) go_sum: Option<PathBuf>,
    /// GOPROXY URLs to warm through, instead of the configured ones
    #[arg(long, value_name = "URL", num_args = 1.., requires = "go_sum")]
    pub(crate) through: Vec<String>,
    /// Modules that are fetched at one time, instead of the configured number
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<usize>,
    /// Only warm: neither relay nor look upstream
    #[arg(long, requires = "go_sum")]
    pub(crate) only_warm: bool,
}

impl Once {
    /// Does it, and prints a line for each part. 0: all of it; 1: some of it; 2: nothing.
    pub(crate) async fn run(&self, config: &Config) -> Result<u8, SyncerError> {
        let mut codes = Vec::new();
        if !self.only_warm && self.through.is_empty() {
            let parties = Parties::new(config)?;
            codes.extend(relay(config, &parties).await);
            let looked = look_upstream(config, &parties).await;
            let new = looked.as_ref().map(|looked| looked.new.clone()).unwrap_or_default();
            codes.extend(looked.map(|looked| looked.code));
            codes.extend(warm_sources(config, &parties, &new).await);
        }
        if let Some(file) = &self.go_sum {
            codes.push(match prewarm::run(config, file).await {
                Ok(code) => code,
                Err(error) => failed("pre-warm", &error),
            });
        }
        if codes.is_empty() {
            print("nothing to do: neither Redis, nor edges to watch for, nor anything to warm is configured\n");
        }
        Ok(together(&codes))
    }
}

/// All done, some done, or nothing done.
fn together(codes: &[u8]) -> u8 {
    if codes.iter().all(|code| *code == EXIT_DONE) {
        EXIT_DONE
    } else if codes.iter().all(|code| *code == EXIT_USAGE) {
        EXIT_USAGE
    } else {
        EXIT_FAILED
    }
}

fn failed(part: &str, error: &dyn std::fmt::Display) -> u8 {
    let _ = writeln!(std::io::stderr().lock(), "modtier-syncer: {part}: failed: {error}");
    EXIT_USAGE
}

async fn relay(config: &Config, parties: &Parties) -> Option<u8> {
    let redis = parties.redis.clone()?;
    let settings = config.trimming.relay();
    let store = Store::new(redis, &config.repository, settings.keep.entries_max);
    let relay = Relay::new(parties.feed.clone(), store, settings, |_| {});
    Some(match relay.once().await {
        Ok(Pass::Published(published)) => {
            print(&format!("relay: {published} records published\n"));
            EXIT_DONE
        }
        Ok(Pass::Led { by }) => {
            print(&format!("relay: {by} leads, and does this all the time\n"));
            EXIT_DONE
        }
        Err(PassError::Interrupted(why)) => failed("relay", &why),
        Err(PassError::Fatal(end)) => failed("relay", &SyncerError::from(end)),
    })
}

/// What came of looking upstream.
struct Looked {
    code: u8,
    new: Vec<NewVersion>,
}

async fn look_upstream(config: &Config, parties: &Parties) -> Option<Looked> {
    let has_edges = parties.redis.is_some() || !config.edges.is_empty();
    if config.watch.modules == 0 || !has_edges {
        return None;
    }
    let mut watcher = Watcher::new(Arc::clone(&parties.fleet), config, Metrics::new());
    let Some(Looks { asked, failed: missed, new }) = watcher.once().await else {
        return Some(Looked { code: failed("watch", &NobodyTold), new: Vec::new() });
    };
    print(&format!("watch: {asked} modules asked, {missed} failed, {} new versions\n", new.len()));
    for new in &new {
        print(&format!("watch: new: {}@{}\n", new.module, new.version));
    }
    let code = match missed {
        0 => EXIT_DONE,
        missed if missed == asked => EXIT_USAGE,
        _ => EXIT_FAILED,
    };
    Some(Looked { code, new })
}

/// Warms the configured sources and what is new; without sources only that.
async fn warm_sources(config: &Config, parties: &Parties, new: &[NewVersion]) -> Option<u8> {
    match Prewarm::of(config) {
        Ok(Some(prewarm)) => {
            let (code, said) = prewarm.once(new).await;
            print(&format!("pre-warm: {said}\n"));
            Some(code)
        }
        Ok(None) if new.is_empty() => None,
        Ok(None) => {
            let missed = warm(&parties.fleet, new).await;
            if missed == 0 {
                return Some(EXIT_DONE);
            }
            print(&format!("pre-warm: {missed} edges could not fetch all new versions\n"));
            Some(EXIT_FAILED)
        }
        Err(error) => Some(failed("pre-warm", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_of_all_parts_together() {
        for (codes, code) in [
            (&[][..], EXIT_DONE),
            (&[0, 0], EXIT_DONE),
            (&[0, 2], EXIT_FAILED),
            (&[1], EXIT_FAILED),
            (&[2, 2], EXIT_USAGE),
        ] {
            assert_eq!(together(codes), code, "{codes:?}");
        }
    }
}
